"""Solutions for BiPRM (arXiv 2508.01682): faults that only a later step shows, and others.

Two thirds show later, as a fact is withheld: later steps contradict the wrong one, or correct it
(`EmbeddedWorld.withheld`, four solutions of a problem). One third shows at once: references and references with a
planted error that later steps carry on, of twice as many problems. Half of the solutions of each kind are wrong, and
those of one problem are judged at one step, where the wrong ones are wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jprm.errors import UserError
from jprm.jobs import Stage, Task
from jprm.records import Problem
from jprm.seeds import rng_of, seed_of
from jprm.tasks.benchmark import Item, SolutionSet, load_items, write_items
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.resources import Speed, TaskContext
from jprm.worlds.base import Split, make_solution
from jprm.worlds.embedded import EmbeddedWorld

LATER = ("contradicted", "corrected")
KINDS = (*LATER, "at once")


@dataclass(frozen=True, eq=False)
class DelayedEvidence(SolutionSet):
    """A set to judge and to learn from, as a benchmark is; `load_items(stage)` reads it.

    problems: of each kind with a withheld fact. cut: the solutions end with the step that is judged.
    """

    kind: ClassVar[str] = "delayed_evidence"
    world: OpenWorld
    split: Split
    problems: int
    seed: int
    cut: bool = False

    @property
    def name(self) -> str:
        """The name of the set."""
        return f"delayed evidence {self.split}{' cut' if self.cut else ''}"

    @property
    def label(self) -> str:
        return self.name

    @property
    def size(self) -> int:
        return 12 * self.problems

    def parents(self) -> tuple[Task, ...]:
        """The whole set, of one that is cut."""
        return (replace(self, cut=False),) if self.cut else ()

    def inputs(self) -> dict[str, Any]:
        drawn = {"split": self.split, "problems": self.problems, "seed": self.seed, "cut": self.cut}
        return drawn | {"world": self.world.identity}

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Draws the set, or cuts what was drawn."""
        if self.cut:
            whole = load_items(context.stages[replace(self, cut=False)])
            at = judged_steps(whole)
            items = [_cut(item, at[item.problem.id] + 1) for item in whole]
        else:
            items = self._withheld() + self._at_once()
        write_items(stage, items)
        return {"items": len(items), "problems": len({item.problem.id for item in items})}

    def seconds(self, speed: Speed) -> float:
        return 1 + self.problems / 200

    # The seeds keep the word that the sets had before ("hindsight"): another one would draw other problems.

    def _withheld(self) -> list[Item]:
        world, rng = self.world.world, rng_of(self.seed, "hindsight", self.split, "withheld")
        if not isinstance(world, EmbeddedWorld):
            raise UserError(
                f"{self.name}: only the embedded world can withhold a fact; set delayed_evidence.problems = 0"
            )
        found: dict[str, tuple[Item, ...]] = {}
        for number, kind in enumerate(LATER, 1):
            for problem in self._drawn(kind):
                if len(found) == number * self.problems:
                    break
                withheld = world.withheld(problem, rng, corrected=kind == "corrected")
                if withheld and withheld[0].id not in found:
                    shown, solutions = withheld
                    found[shown.id] = tuple(Item(shown, solution) for solution in solutions)
        return [item for items in found.values() for item in items]

    def _at_once(self) -> list[Item]:
        world, rng = self.world.world, rng_of(self.seed, "hindsight", self.split, "at once")
        items = []
        for problem in self._drawn("at once"):
            if len(items) == 4 * self.problems:
                break
            if planted := world.planted(problem, rng):
                items += [Item(problem, world.reference(problem), True), Item(problem, planted, False)]
        return items

    def _drawn(self, kind: str) -> Iterator[Problem]:
        """Problems of the split, more and more. Raises UserError when too few of them would do."""
        seed, seen = seed_of(self.seed, "hindsight", kind), 0
        for n in (self.problems * many for many in (4, 16, 64)):
            yield from self.world.world.problems(self.split, n, seed)[seen:]  # prefix-stable
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
