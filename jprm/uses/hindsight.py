"""Solutions for BiPRM (arXiv 2508.01682): faults that only a later step shows, and others.

Two thirds show later, as a fact is withheld: later steps contradict the wrong one, or correct it
(`EmbeddedWorld.withheld`, four solutions of a problem). One third shows at once: references and
references with a planted error that later steps carry on, of twice as many problems. Half of the
solutions of each kind are wrong, and those of one problem are judged at one step, where the wrong
ones are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jprm.errors import UserError
from jprm.pipeline.benchmark import Item, load_items, write_items
from jprm.pipeline.lab import Lab, Task
from jprm.records import Problem
from jprm.runs import Stage
from jprm.seeds import rng_of, seed_of
from jprm.worlds.base import Split, make_solution
from jprm.worlds.embedded import EmbeddedWorld

LATER = ("contradicted", "corrected")
KINDS = (*LATER, "at once")


@dataclass(frozen=True)
class HindsightSet:
    """Judged and learnt from as a benchmark is; `load_items(stage)` reads it.

    problems: of each kind with a withheld fact. cut: the solutions end with the step that is judged.
    """

    kind: ClassVar[str] = "hindsight"
    version: ClassVar[int] = 1
    split: Split
    problems: int
    seed: int
    cut: bool = False

    @property
    def name(self) -> str:
        """How the progress line calls it."""
        return f"hindsight {self.split}{' cut' if self.cut else ''}"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """Of a set that is cut, the whole one."""
        return (replace(self, cut=False),) if self.cut else ()

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """What decides the draw."""
        return {
            "split": self.split,
            "problems": self.problems,
            "seed": self.seed,
            "cut": self.cut,
            "world": lab.world_identity,
        }

    def size(self, lab: Lab) -> int:
        """The number of solutions."""
        return 12 * self.problems

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Draws, or cuts what was drawn."""
        if self.cut:
            whole = load_items(lab.stage(replace(self, cut=False)))
            at = judged_steps(whole)
            items = [_cut(item, at[item.problem.id] + 1) for item in whole]
        else:
            items = self._withheld(lab) + self._at_once(lab)
        write_items(stage, items)
        return {"items": len(items), "problems": len({item.problem.id for item in items})}

    def flops(self, lab: Lab) -> float:
        """No model writes these."""
        return 0.0

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 1 + self.problems / 200

    def _withheld(self, lab: Lab) -> list[Item]:
        world, rng = lab.world, rng_of(self.seed, "hindsight", self.split, "withheld")
        if not isinstance(world, EmbeddedWorld):
            raise UserError(f"{self.name}: only the embedded world can withhold a fact; set hindsight.problems = 0")
        found: dict[str, tuple[Item, ...]] = {}
        for number, kind in enumerate(LATER, 1):
            for problem in self._drawn(lab, kind):
                if len(found) == number * self.problems:
                    break
                withheld = world.withheld(problem, rng, corrected=kind == "corrected")
                if withheld and withheld[0].id not in found:
                    shown, solutions = withheld
                    found[shown.id] = tuple(Item(shown, solution) for solution in solutions)
        return [item for items in found.values() for item in items]

    def _at_once(self, lab: Lab) -> list[Item]:
        world, rng = lab.world, rng_of(self.seed, "hindsight", self.split, "at once")
        items = []
        for problem in self._drawn(lab, "at once"):
            if len(items) == 4 * self.problems:
                break
            if planted := world.planted(problem, rng):
                right = world.reference(problem)
                items += [Item(problem, right, True), Item(problem, planted, False)]
        return items

    def _drawn(self, lab: Lab, kind: str) -> Iterator[Problem]:
        """Problems of the split, more and more. Raises UserError when too few of them would do."""
        seed, seen = seed_of(self.seed, "hindsight", kind), 0
        for n in (self.problems * many for many in (4, 16, 64)):
            yield from lab.world.problems(self.split, n, seed)[seen:]  # prefix-stable
            seen = n
        raise UserError(
            f"{self.name}: fewer than {self.problems} of {seen} problems will do; "
            "more steps have more facts to withhold (world.settings.difficulty)"
        )


def judged_steps(items: Sequence[Item]) -> dict[str, int]:
    """The step that is judged, by the id of the problem: where its wrong solutions are wrong."""
    found = {}
    for item in items:
        if item.solution.first_error is not None and item.solution.first_error >= 0:
            found[item.problem.id] = item.solution.first_error
    return found


def kinds(items: Sequence[Item]) -> dict[str, str]:
    """How the fault of its wrong solutions shows, by the id of the problem: one of `KINDS`."""
    wrong = (item for item in items if item.solution.error_kind)
    return {i.problem.id: i.solution.error_kind if i.solution.error_kind in LATER else "at once" for i in wrong}


def _cut(item: Item, end: int) -> Item:
    solution = item.solution
    shorter = make_solution(
        item.problem, solution.steps[:end], solution.source, solution.first_error, solution.error_kind
    )
    return Item(item.problem, shorter)
