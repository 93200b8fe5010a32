"""The solutions of a benchmark's file, to the letter, each with its truth and a name of its own."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jprm.digests import file_digest
from jprm.errors import UserError
from jprm.formats import JudgedSolution, benchmark, read_benchmark
from jprm.jobs import Stage, write_rows
from jprm.records import Problem, Solution, stable_id
from jprm.tasks.benchmark import Item, SolutionSet, write_items
from jprm.tasks.resources import Speed, TaskContext


@dataclass(frozen=True)
class BenchmarkRow:
    """A row of a file: its truth, and its problem and solution as records."""

    truth: JudgedSolution
    problem: Problem
    solution: Solution

    @property
    def name(self) -> str:
        """The row's own id, which is unique within its subset."""
        return self.truth.id

    @classmethod
    def of(cls, truth: JudgedSolution) -> BenchmarkRow:
        """The row with these texts.

        The newlines that records end with are taken off again where a protocol joins its texts, so that a model is
        shown the file's characters and no others.
        """
        text = truth.problem + "\n"
        problem = Problem(stable_id(truth.benchmark, text), text, answer="", tier=truth.subset)
        solution = Solution(
            id=stable_id(truth.benchmark, truth.subset, truth.id),
            problem_id=problem.id,
            steps=tuple(step + "\n" for step in truth.steps),
            source=truth.generator or truth.benchmark,
            first_error=truth.first_error,
        )
        return cls(truth, problem, solution)


@dataclass(frozen=True)
class BenchmarkRows:
    """The usable rows of a file in its order, "place: reason" of the others, peculiarities, and the layout's name."""

    rows: tuple[BenchmarkRow, ...]
    rejected: tuple[str, ...]
    notes: tuple[str, ...]
    benchmark: str


def read_rows(path: Path, layout: str = "auto") -> BenchmarkRows:
    """Reads a file. Raises UserError where it cannot be read, its layout is not known, or no row is usable."""
    known = ("auto", *benchmark)
    if layout not in known:
        near = difflib.get_close_matches(layout, known, n=1, cutoff=0.0)[0]
        raise UserError(f"--format {layout}: no such layout; did you mean {near}? known: {', '.join(known)}")
    found = read_benchmark(path, None if layout == "auto" else layout)
    if not found.items:
        first = found.rejected[0] if found.rejected else f"{path}: empty"
        raise UserError(f"{path}: no row can be used; the first: {first}")
    rows = tuple(map(BenchmarkRow.of, found.items))
    return BenchmarkRows(rows, found.rejected, found.notes, found.items[0].benchmark)


@dataclass(frozen=True, eq=False)
class BenchmarkFile(SolutionSet):
    """The solutions of a file in a layout of `jprm.formats`; `contents` reads it at its first use.

    full: judges every step, although the benchmark asks for the first error only. called: the set's name, where it is
    not the benchmark's. most: how many rows are used, chosen by the hash of their ids; None for all.
    """

    kind: ClassVar[str] = "benchmark"
    path: Path
    layout: str = "auto"
    full: bool = False
    seed: int = 0  # nothing is drawn
    called: str = ""
    most: int | None = None

    @functools.cached_property
    def contents(self) -> BenchmarkRows:
        """The rows of the file that are used. Raises UserError as `read_rows`."""
        found = read_rows(self.path, self.layout)
        if self.most is None or self.most >= len(found.rows):
            return found
        chosen = set(sorted(row.solution.id for row in found.rows)[: self.most])  # ids are hashes of the texts
        return dataclasses.replace(found, rows=tuple(row for row in found.rows if row.solution.id in chosen))

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] - it is known once the file is read
        """What the set is called: by default the benchmark's name."""
        return self.called or self.contents.benchmark

    @property
    def label(self) -> str:
        return f"{self.name} ({self.path.name})"

    @property
    def scores_solutions(self) -> bool:
        return self.full or not benchmark[self.contents.benchmark].first_error_only

    @property
    def size(self) -> int:
        return len(self.contents.rows)

    @property
    def steps_each(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride] - it is known once it is read
        """The mean number of steps."""
        return sum(len(row.solution.steps) for row in self.contents.rows) / len(self.contents.rows)

    def seconds(self, speed: Speed) -> float:
        """0: it is read in next to no time."""
        return 0.0

    def inputs(self) -> dict[str, Any]:
        inputs = {"data": file_digest(self.path), "benchmark": self.contents.benchmark}
        plugin = benchmark.digest(self.contents.benchmark)
        return inputs | ({"plugin": plugin} if plugin else {}) | ({} if self.most is None else {"most": self.most})

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Writes the solutions; `rows.jsonl` says which row of the file each of them is."""
        rows = self.contents.rows
        write_items(stage, [Item(row.problem, row.solution) for row in rows])
        names = ({"solution_id": r.solution.id, "subset": r.truth.subset, "id": r.truth.id} for r in rows)
        write_rows(stage.file("rows.jsonl"), names)
        return {"items": len(rows), "rejected": len(self.contents.rejected)}
