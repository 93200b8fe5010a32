"""The tasks of a run of `experiments/uses.py`: who judges which solutions, and what searches for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jprm.pipeline.benchmark import Benchmark
from jprm.pipeline.cells import grid_cells
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes
from jprm.uses.baseline import Baseline, Target
from jprm.uses.config import UsesConfig
from jprm.uses.guided import guided, references
from jprm.uses.hindsight import HindsightSet
from jprm.uses.judges import Judge, scored, voted
from jprm.uses.refined import METHODS, critic, dev_critic
from jprm.uses.registered import of_style
from jprm.uses.scores import Scores
from jprm.uses.searched import Searched

# How the generative verifiers are called; the first is what all others are compared with.
STYLES = {"full": "GenPRM", "analysis": "GenPRM without code", "direct": "direct generative PRM"}
HEADS = {"steps": "discriminative PRM", "outcome": "discriminative ORM", "verdict": "generative ORM"}
STYLE_OF = {"genprm": "full", "direct": "direct"}  # of the scorers that a verifier of the grid is


@dataclass(frozen=True)
class Uses:
    """All tasks of a run: what judges the solutions and what searches for them."""

    config: UsesConfig
    main: Verifier

    @classmethod
    def of(cls, config: UsesConfig) -> Uses:
        """With the main verifier of the configured grid."""
        return cls(config, grid_cells(config)[0].votes.verifier)

    @property
    def sets(self) -> tuple[Benchmark, Benchmark]:
        """The balanced solutions for F1, and the candidates."""
        return Benchmark(self.config.evaluate.benchmarks[0], self.main.seed), Benchmark("candidates", self.main.seed)

    def votes(self, style: str) -> tuple[Votes, Votes]:
        """Of the verifier of a style, on both sets."""
        verifier = of_style(self.config, self.main, style)
        execution = "executed" if style in ("full", "code") else "none"
        asked = self.config.verify.n_votes, self.config.evaluate.candidate_votes
        counts = map(self.config.verify.draws, asked)
        first, second = (
            Votes(verifier, of, execution, self.config.verify.mode, n) for of, n in zip(self.sets, counts, strict=True)
        )
        return first, second

    def scores(self, baseline: Baseline, backward: bool = False) -> tuple[Scores, Scores]:
        """Of a baseline, on both sets."""
        first, second = (Scores(baseline, of, backward) for of in self.sets)
        return first, second

    def heads(self) -> list[tuple[str, Baseline]]:
        """The baselines by name."""
        targets: tuple[Any, ...] = tuple(HEADS)
        return [(HEADS[target], self.baseline(target)) for target in targets]

    def baseline(self, target: Target, **other: Any) -> Baseline:
        """One that learns what the main verifier learns from."""
        rate = getattr(self.config.learning_rate, target)
        return Baseline(self.main, target, learning_rate=rate, **other)

    def passes(self) -> list[tuple[Scores, ...]]:
        """Forward, both ways of one that learnt both, forward again, on both sets: for BiPRM."""
        return self._passes(self.sets) if self.config.bidirectional else []

    @property
    def hindsight_sets(self) -> tuple[HindsightSet, HindsightSet]:
        """Whole solutions, and the same ones up to the judged step."""
        split, n = self.config.evaluate.split, self.config.hindsight.problems
        whole = HindsightSet(split, n, self.main.seed)
        return whole, dataclasses.replace(whole, cut=True)

    def hindsight_passes(self) -> list[tuple[Scores, ...]]:
        """As `passes`, of heads that were taught by faults which show later and at once."""
        config = self.config
        if not (config.bidirectional and config.hindsight.problems):
            return []
        taught = HindsightSet("train", config.hindsight.train_problems, self.main.seed)
        return self._passes(self.hindsight_sets, taught)

    def _passes(
        self, sets: Sequence[Benchmark | HindsightSet], taught: HindsightSet | None = None
    ) -> list[tuple[Scores, ...]]:
        forward = self.baseline("steps", taught=taught)
        both = dataclasses.replace(forward, both_ways=True)
        again = dataclasses.replace(forward, replica=1)
        ways = (forward, False), (both, False), (both, True), (again, False)
        return [tuple(Scores(head, of, backward) for of in sets) for head, backward in ways]

    def judging(self) -> list[Task]:
        """Everything that judges stored solutions."""
        tasks: list[Task] = [v for style in STYLES for v in self.votes(style)]
        tasks += [s for _, baseline in self.heads() for s in self.scores(baseline)]
        return tasks + [s for way in self.passes() + self.hindsight_passes() for s in way]

    def searches(self) -> list[Searched]:
        """Everything that searches."""
        config, main = self.config, self.main
        gate = [dev_critic(config, main)] if config.refine.gate_problems else []
        critics = [critic(config, main, control) for control in METHODS.values()]
        asked = self.scorers()
        own = [task for _, task in guided(config, asked)]
        return [*gate, *critics, *own, *references(config, asked).values()]

    def scorers(self) -> dict[str, dict[str, Any]]:
        """Who a scorer of `search.scorers` is: a verifier of the grid, or a registered one."""
        asked: dict[str, dict[str, Any]] = {}
        for name in self.config.search.scorers:
            style = STYLE_OF.get(name)
            verifier = self.votes(style)[0].verifier if style else self.main
            head = self.baseline("steps") if name == "head" else None
            own = "" if style or head else name
            asked[name] = {"verifier": verifier, "head": head, "scorer": own}
        return asked

    def stored(self, lab: Lab, name: str, n_votes: int) -> Judge:
        """What such a verifier of the grid said of the candidates, in its first votes."""
        if name == "head":
            return scored(lab, name, self.scores(self.baseline("steps"))[1:])
        votes = self.votes(STYLE_OF[name])[1]
        return voted(lab, name, [votes], n_votes)


def with_parents(lab: Lab, tasks: Sequence[Task]) -> list[Task]:
    """All tasks that these need, parents first, each once."""
    seen: dict[Task, None] = {}

    def visit(task: Task) -> None:
        if task not in seen:
            for parent in task.parents(lab):
                visit(parent)
            seen.setdefault(task)

    for task in tasks:
        visit(task)
    return list(seen)
