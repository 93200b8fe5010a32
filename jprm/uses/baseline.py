"""Verifiers to compare GenPRM with: the same base model, examples, filter, recipe and trained tokens.

What differs is what is learnt: a step head on every step (discriminative PRM), a head on the last
step with the grade of the answer (discriminative ORM), or Yes and No about the whole solution with
that grade (generative ORM). Multi-RM (arXiv 2510.00492) compares these with rationales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jprm.errors import UserError
from jprm.label import Counts, filter_conversations
from jprm.pipeline.base import Base, training_flops, training_summary
from jprm.pipeline.benchmark import Item, load_items
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.labels import Example, Labels
from jprm.pipeline.verifier import Verifier, balance
from jprm.records import Problem
from jprm.runs import Stage
from jprm.seeds import seed_of
from jprm.uses.hindsight import HindsightSet

Target = Literal["steps", "outcome", "verdict"]


@dataclass(frozen=True)
class Baseline:
    """A verifier that learns what `like` learns from, but another target.

    target: "steps", a head at each step up to the first error; "outcome", a head at the last step;
        "verdict", the word Yes or No behind the whole solution. The latter two learn the grade.
    both_ways: half of the documents have their steps in reverse order (BiPRM).
    replica: another order of the data, with all else equal.
    learning_rate: the verifier's where it is None; what is best differs between targets.
    taught: learns from this set by its exact labels instead, with all else as in `like`.
    """

    kind: ClassVar[str] = "baseline"
    version: ClassVar[int] = 1
    like: Verifier
    target: Target
    both_ways: bool = False
    replica: int = 0
    learning_rate: float | None = None
    taught: HindsightSet | None = None

    @property
    def label(self) -> str:
        """A short name: what makes it different."""
        ways = " both ways" if self.both_ways else ""
        learnt = f"n={self.like.examples}" if self.taught is None else self.taught.name
        return f"{self.like.size} {learnt} {self.target}{ways} r={self.replica}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """Those of the verifier that it is compared with, or the set in place of its labels."""
        learnt = Labels(self.like.seed) if self.taught is None else self.taught
        return Base(self.like.size, self.like.seed), learnt

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """Those of the verifier, which decide on the filter, and the target."""
        own = {"target": self.target, "both_ways": self.both_ways, "replica": self.replica}
        own |= {"learning_rate": self.learning_rate}
        return {"like": self.like.inputs(lab)} | own

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Filters as the verifier does, balances, trains."""
        from jprm.train import fit, load_params, save_params

        kept = balance(self._kept(lab), lambda e: self._flawed(lab, e))
        if not kept:
            raise UserError(f"{self.label}: nothing left to learn from; raise labels.problems")
        documents = [self.document(lab, e.problem, e.solution.steps, self._targets(lab, e)) for e in kept]
        if self.both_ways:
            documents += [
                self.document(lab, e.problem, e.solution.steps[::-1], self._targets(lab, e)[::-1]) for e in kept
            ]
        objective = "tokens" if self.target == "verdict" else "step_head"
        config = lab.config.train.model_copy(update={"objective": objective})
        if self.learning_rate is not None:
            config = config.model_copy(update={"learning_rate": self.learning_rate})
        size, seed = self.like.size, self.like.seed
        params, _ = load_params(lab.stage(Base(size, seed)).file("weights"))
        result = fit(
            lab.model(size),
            params,
            documents,
            config,
            seed_of(seed, "baseline", size, self.replica),
            stage.file("checkpoints"),
            on_step=lambda step, metrics: lab.progress.show(
                f"baseline {self.label}: step {step} of {config.steps}, loss {metrics['loss']:.3f}"
            ),
        )
        save_params(stage.file("weights"), result.params, {"size": size})
        return training_summary(lab, size, result) | {"documents": len(documents)}

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        return training_flops(lab, self.like.size, lab.config.train)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 3 + self.flops(lab) / lab.rates.train

    def params(self, lab: Lab) -> dict:
        """The trained weights."""
        from jprm.train import load_params

        return load_params(lab.stage(self).file("weights"))[0]

    def document(self, lab: Lab, problem: Problem, steps: Sequence[str], targets: Sequence[float | None]):
        """The text that is judged, with its labels: one per step, or one for all of them."""
        from jprm.data import Soft, render, render_steps

        quote = lab.tokenizer.quote
        asked, steps = quote(problem.text), [quote(step) for step in steps]
        if self.target == "steps":
            pieces = [(asked, None), *zip(steps, targets, strict=True)]
            return render_steps(pieces, lab.tokenizer)
        [target] = {t for t in targets if t is not None}
        whole = "".join(steps)
        if self.target == "outcome":
            return render_steps([(asked, None), (whole, target)], lab.tokenizer)
        template = lab.template
        asked += whole + template.openings["direct"]
        return render([(asked, False), (template.yes, Soft(template.no, target))], lab.tokenizer)

    def _kept(self, lab: Lab) -> Sequence[Example | Item]:
        """The examples that the verifier's filter keeps, or all of the set."""
        if self.taught is not None:
            return load_items(lab.stage(self.taught))
        examples = self.like.chosen(lab)
        written = self.like.conversations(lab, examples)
        kept = filter_conversations(written, Counts(), consensus=self.like.filtered)
        ids = {c.solution_id for c in kept}
        return [example for example in examples if example.solution.id in ids]

    def _first_error(self, lab: Lab, example: Example | Item) -> int:
        if isinstance(example, Example):
            return self.like.first_error(lab, example)
        assert example.solution.first_error is not None, "the labels of a set are exact"
        return example.solution.first_error

    def _flawed(self, lab: Lab, example: Example | Item) -> bool:
        if self.target == "steps":
            return self._first_error(lab, example) >= 0
        return not lab.world.is_correct(example.problem, example.solution.steps)

    def _targets(self, lab: Lab, example: Example | Item) -> list[float | None]:
        """Per step: 1 before the first error, 0 at it, nothing behind it; or the grade at the last."""
        n = len(example.solution.steps)
        if self.target != "steps":
            return [None] * (n - 1) + [float(not self._flawed(lab, example))]
        first = self._first_error(lab, example)
        if first < 0:
            return [1.0] * n
        return [1.0] * first + [0.0] + [None] * (n - first - 1)
