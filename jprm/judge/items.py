"""The rows of a benchmark as the verifier reads them: to the letter, each with a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jprm.errors import UserError
from jprm.formats import BENCHMARKS, JudgedSolution, read_benchmark
from jprm.records import Problem, Solution, stable_id

ALIASES = {"socratic": "socratic-prmbench", "mrmath": "mr-math"}
FORMATS = ("auto", "processbench", "prmbench", "socratic", "mrmath")


@dataclass(frozen=True)
class Item:
    """A row: its truth, and its problem and solution as records."""

    truth: JudgedSolution
    problem: Problem
    solution: Solution

    @property
    def name(self) -> str:
        """The row's own id, which is unique within its subset."""
        return self.truth.id


@dataclass(frozen=True)
class Items:
    """The usable rows in the file's order, "place: reason" of the others, and the layout's name."""

    items: tuple[Item, ...]
    rejected: tuple[str, ...]
    notes: tuple[str, ...]
    benchmark: str


def read_items(path: Path, layout: str) -> Items:
    """The usable rows of a file, and the others.

    Raises UserError where the file cannot be read, its layout is not known, or no row is usable.
    """
    name = ALIASES.get(layout, layout)
    if name not in ("auto", *BENCHMARKS):
        raise UserError(f"--format {layout}: no such layout; known: {', '.join(FORMATS)}")
    found = read_benchmark(path, None if name == "auto" else name)
    if not found.items:
        first = found.rejected[0] if found.rejected else f"{path}: empty"
        raise UserError(f"{path}: no row can be used; the first: {first}")
    items = tuple(_item(truth) for truth in found.items)
    return Items(items, found.rejected, found.notes, found.items[0].benchmark)


def _item(truth: JudgedSolution) -> Item:
    # The newlines that records end with are taken off again where a protocol joins its texts, so
    # that the model is shown the file's characters and no other.
    text = truth.problem + "\n"
    problem = Problem(stable_id(truth.benchmark, text), text, answer="", tier=truth.subset)
    return Item(
        truth,
        problem,
        Solution(
            id=stable_id(truth.benchmark, truth.subset, truth.id),
            problem_id=problem.id,
            steps=tuple(step + "\n" for step in truth.steps),
            source=truth.generator or truth.benchmark,
            first_error=truth.first_error,
        ),
    )
