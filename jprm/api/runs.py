"""A sweep's run directory as typed objects: its cells, their rows, and the votes below them. Nothing is sampled."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jprm.evaluate import Interval, VoteCurve
    from jprm.experiments.sweep.cells import Cell
    from jprm.experiments.sweep.config import SweepConfig
    from jprm.experiments.sweep.table import Measured
    from jprm.jobs import Stages
    from jprm.records import Rationale
    from jprm.tasks.benchmark import Item

FRAMES = ("pandas", "polars")  # the packages of data frames, in the order in which they are looked for
RESULTS = "results.jsonl"


@dataclass(frozen=True)
class CellRow:
    """The numbers of a cell at one number of votes.

    f1: first-error F1, with its interval over problems; None where the set has right or wrong solutions only.
    error_acc, correct_acc: the accuracies on wrong and on right solutions, of which F1 is the harmonic mean.
    columns: all of the row as it stands in results.jsonl.
    """

    n_votes: int
    f1: Interval | None
    error_acc: float | None
    correct_acc: float | None
    columns: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class RunCell:
    """One verifier with one way of asking it, on one set of solutions.

    size: the verifier's model. train_examples: the labelled solutions that it learnt from, before the filter. labels:
    the rule that labelled them. code: whether code was executed or its output invented. mode: chain or fork. variant:
    "" in the grid, else what was changed against the main cell. values: what the axes set, by key.
    """

    name: str
    size: str
    train_examples: int
    seed: int
    style: str
    labels: str
    filtered: bool
    code: str
    mode: str
    variant: str
    benchmark: str
    n_votes: int
    values: Mapping[str, Any]
    _cell: Cell = field(repr=False, compare=False)
    _stages: Stages = field(repr=False, compare=False)

    @classmethod
    def of(cls, cell: Cell, stages: Stages) -> RunCell:
        """The cell of a sweep whose results lie in `stages`."""
        verifier, sampling = cell.verifier, cell.sampling
        return cls(
            name=cell.name,
            size=verifier.size,
            train_examples=verifier.examples,
            seed=verifier.seed,
            style=verifier.style,
            labels=verifier.rule,
            filtered=verifier.filtered,
            code=sampling.execution,
            mode=sampling.mode,
            variant=cell.variant,
            benchmark=cell.votes.benchmark.name,
            n_votes=cell.votes.n_votes,
            values=dict(cell.values),
            _cell=cell,
            _stages=stages,
        )

    @property
    def finished(self) -> bool:
        """Whether all of its votes are there."""
        return self._stages[self._cell.votes].done

    @property
    def rows(self) -> tuple[CellRow, ...]:
        """Its numbers at every number of votes that is shown; () where it is not finished."""
        from jprm.evaluate import interval_of

        return tuple(
            CellRow(row["n_votes"], interval_of(row, "f1"), row["error_acc"], row["correct_acc"], row)
            for row in (self._measured.rows if self.finished else ())
        )

    def curve(self) -> VoteCurve:
        """Its vote curve: `curve.f1(k)` for every k of `curve.ks`. Raises UserError where it is not finished."""
        return self._measured.curve

    def votes(self) -> dict[str, np.ndarray]:
        """The reward of every vote [steps, n_votes] by solution id; nan where a vote has no verdict.

        A solution has no steps behind the first one that all votes call wrong. Raises UserError where it is not
        finished.
        """
        from jprm.tasks.vote_store import RATIONALES, stream_rewards

        votes = self._done()
        return dict(stream_rewards(self._stages[votes].file(RATIONALES), votes.n_votes, votes.sampling.readout))

    def rationales(self) -> dict[str, list[Rationale]]:
        """What the votes wrote, by solution id, by step and then vote. Raises UserError where it is not finished."""
        from jprm.tasks.votes import load_rationales

        return load_rationales(self._stages[self._done()])

    def solutions(self) -> dict[str, Item]:
        """The judged solutions by id, each with its `.problem`. Raises UserError where it is not finished."""
        from jprm.tasks.benchmark import load_items

        return {item.solution.id: item for item in load_items(self._stages[self._done().benchmark])}

    def _done(self) -> Any:
        if not self.finished:
            raise UserError(f"{self._stages.root}: {self.name} is not finished; run the sweep again to go on")
        return self._cell.votes

    @functools.cached_property
    def _measured(self) -> Measured:
        from jprm.experiments.sweep.table import measure

        self._done()
        return measure(self._stages, self._cell)


@dataclass(frozen=True)
class Run:
    """A sweep in its run directory, finished or under way; `open_run` makes it.

    cells: in the order of its table, the main one first, those that are not finished included.
    """

    path: Path
    config: SweepConfig = field(repr=False)
    cells: tuple[RunCell, ...] = field(repr=False)

    @property
    def main(self) -> RunCell:
        """The cell that ablations and comparisons refer to."""
        return self.cells[0]

    @property
    def finished(self) -> bool:
        """Whether all cells are finished."""
        return all(cell.finished for cell in self.cells)

    @property
    def failures(self) -> dict[str, str]:
        """The reason of each cell that failed, by name, as of the last time that the sweep concluded."""
        from jprm.records import read_jsonl

        rows = read_jsonl(self.path / RESULTS)
        unfinished = {cell.name for cell in self.cells if not cell.finished}
        return {row["cell"]: row["reason"] for row in rows if row.get("reason") and row["cell"] in unfinished}

    def cell(self, part: str) -> RunCell:
        """The cell of that name, or the one of whose name it is a part. Raises UserError for none or several."""
        found = [c for c in self.cells if c.name == part] or [c for c in self.cells if part in c.name]
        if len(found) != 1:
            said = "is in no name of a cell" if not found else f"is in {len(found)} names of cells"
            raise UserError(f"{self.path}: {part!r} {said}: {'; '.join(c.name for c in found or self.cells)}")
        return found[0]

    def frame(self, package: str | None = None) -> Any:
        """A row for each finished cell and number of votes, with the columns of results.jsonl, as a data frame.

        A value of an axis that is a list or a table is its JSON, so that columns can be grouped by. package: pandas or
        polars; by default the one that is installed, pandas if both are. Raises UserError where neither is.
        """
        return frame_of([row.columns for cell in self.cells for row in cell.rows], package)


def frame_of(rows: Sequence[Mapping[str, Any]], package: str | None = None) -> Any:
    """Rows as a data frame of the package, as `Run.frame` says. Raises UserError where it is not installed."""
    plain = [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
    for name in FRAMES if package is None else (package,):
        try:
            frames = importlib.import_module(name)
        except ImportError:
            continue
        # Polars would take the types of the first hundred rows, in which a column may have nulls or whole numbers only.
        return frames.DataFrame(plain, infer_schema_length=None) if name == "polars" else frames.DataFrame(plain)
    wanted = " or ".join(FRAMES) if package is None else package
    raise UserError(f"a data frame needs {wanted}, which is not installed: pip install {package or FRAMES[0]}")


def open_run(path: str | Path) -> Run:
    """Opens the run directory of a sweep, to read what is there; no model is loaded.

    Raises UserError where there is no sweep, and where what its configuration names (a world's files, a plugin, a
    checkpoint) is gone.
    """
    from jprm.experiments.sweep.cells import Sweep
    from jprm.experiments.sweep.finished import read_sweep_config
    from jprm.jobs import Stages

    path = Path(path)
    config = read_sweep_config(path)
    stages = Stages(path)
    return Run(path, config, tuple(RunCell.of(cell, stages) for cell in Sweep(config).cells))
