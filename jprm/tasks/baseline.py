"""Verifiers to compare GenPRM with: the same base model, examples, filter, recipe and trained tokens.

What differs is what is learnt: a step head on every step (discriminative PRM), a head on the last step with the grade
of the answer (discriminative ORM), or Yes and No about the whole solution with that grade (generative ORM). Multi-RM
(arXiv 2510.00492) compares these with rationales.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jprm.errors import UserError
from jprm.jobs import Stage, Task
from jprm.label import Counts, filter_conversations
from jprm.records import Problem
from jprm.seeds import seed_of
from jprm.tasks.base import train_model, training_flops
from jprm.tasks.benchmark import Item, load_items
from jprm.tasks.delayed_evidence import DelayedEvidence
from jprm.tasks.labels import Example
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.verifier import TrainedVerifier, balance
from jprm.verify import EMBEDDED

Target = Literal["steps", "outcome", "verdict"]


@dataclass(frozen=True, eq=False)
class Baseline(Task):
    """A verifier that learns what `like` learns from, but another target.

    target: "steps", a head at each step up to the first error; "outcome", a head at the last step; "verdict", the word
        Yes or No behind the whole solution. The latter two learn the grade.
    both_ways: half of the documents have their steps in reverse order (BiPRM).
    replica: another order of the data, with all else equal.
    learning_rate: the verifier's where it is None; what is best differs between targets.
    taught: it learns from this set by its exact labels instead, with all else as in `like`.
    """

    kind: ClassVar[str] = "baseline"
    like: TrainedVerifier
    target: Target
    both_ways: bool = False
    replica: int = 0
    learning_rate: float | None = None
    taught: DelayedEvidence | None = None

    @property
    def label(self) -> str:
        ways = " both ways" if self.both_ways else ""
        learnt = f"n={self.like.examples}" if self.taught is None else self.taught.name
        return f"{self.like.size} {learnt} {self.target}{ways} r={self.replica}"

    def parents(self) -> tuple[Task, ...]:
        return self.like.base, self.like.labels if self.taught is None else self.taught

    def inputs(self) -> dict[str, Any]:
        """The inputs of the verifier, which decide on the filter, and the target."""
        own = {"target": self.target, "both_ways": self.both_ways, "replica": self.replica}
        return {"like": self.like.inputs(), "learning_rate": self.learning_rate} | own

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Filters as the verifier does, balances, trains."""
        kept = balance(self._kept(context), self._flawed)
        if not kept:
            raise UserError(f"{self.label}: nothing left to learn from; raise labels.problems")
        documents = [self.document(e.problem, e.solution.steps, self._targets(e)) for e in kept]
        if self.both_ways:
            documents += [self.document(e.problem, e.solution.steps[::-1], self._targets(e)[::-1]) for e in kept]
        changes: dict[str, Any] = {"objective": "tokens" if self.target == "verdict" else "step_head"}
        if self.learning_rate is not None:
            changes["learning_rate"] = self.learning_rate
        like = self.like
        summary = train_model(
            stage,
            context,
            f"baseline {self.label}",
            like.base,
            like.base.params(context.stages),
            documents,
            like.recipe.model_copy(update=changes),
            seed_of(like.seed, "baseline", like.size, self.replica),
        )
        return summary | {"documents": len(documents)}

    def flops(self) -> float:
        return training_flops(self.like.base, self.like.recipe)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.train

    def document(self, problem: Problem, steps: Sequence[str], targets: Sequence[float | None]):
        """The text that is judged, with its labels: one per step, or one for all of them."""
        from jprm.data import Soft, render, render_steps

        tokenizer = self.like.base.tokenizer
        asked, steps = tokenizer.quote(problem.text), [tokenizer.quote(step) for step in steps]
        if self.target == "steps":
            return render_steps([(asked, None), *zip(steps, targets, strict=True)], tokenizer)
        [target] = {t for t in targets if t is not None}
        whole = "".join(steps)
        if self.target == "outcome":
            return render_steps([(asked, None), (whole, target)], tokenizer)
        asked += whole + EMBEDDED.openings["direct"]
        return render([(asked, False), (EMBEDDED.yes, Soft(EMBEDDED.no, target))], tokenizer)

    def _kept(self, context: TaskContext) -> Sequence[Example | Item]:
        """The examples that the verifier's filter keeps, or all of the set."""
        if self.taught is not None:
            return load_items(context.stages[self.taught])
        examples = self.like.chosen(context.stages)
        written = self.like.conversations(context, examples)
        kept = filter_conversations(written, Counts(), consensus=self.like.filtered)
        ids = {c.solution_id for c in kept}
        return [example for example in examples if example.solution.id in ids]

    def _first_error(self, example: Example | Item) -> int:
        if isinstance(example, Example):
            return self.like.first_error(example)
        assert example.solution.first_error is not None, "the labels of a set are exact"
        return example.solution.first_error

    def _flawed(self, example: Example | Item) -> bool:
        if self.target == "steps":
            return self._first_error(example) >= 0
        return not self.like.world.world.is_correct(example.problem, example.solution.steps)

    def _targets(self, example: Example | Item) -> list[float | None]:
        """Per step: 1 before the first error, 0 at it, nothing behind it; or the grade at the last."""
        n = len(example.solution.steps)
        if self.target != "steps":
            return [None] * (n - 1) + [float(not self._flawed(example))]
        first = self._first_error(example)
        return [1.0] * n if first < 0 else [1.0] * first + [0.0] + [None] * (n - first - 1)
