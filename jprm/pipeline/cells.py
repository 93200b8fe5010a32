"""The cells of a sweep: at every point a grid over size, examples and seed, and variants of its main cell."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from jprm.pipeline.axes import Point, points
from jprm.pipeline.benchmark import Benchmark
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes


@dataclass(frozen=True)
class Cell:
    """One row group of the table: a verifier and the way it is asked, under the configuration of its point."""

    votes: Votes
    config: SweepConfig = dataclasses.field(compare=False)
    variant: str = ""  # "" in the grid; else what was changed against the main cell
    values: tuple[tuple[str, Any], ...] = ()  # that the axes set, but for those which name the cell

    @property
    def name(self) -> str:
        """Unique in a sweep: "tiny-0.3m n=1000 full rpe s=0 executed chain policy"."""
        verifier, votes = self.votes.verifier, self.votes
        parts = [verifier.label, votes.execution, votes.mode, votes.benchmark.name]
        return " ".join([*parts, *(f"{key}={value}" for key, value in self.values)])


def code_mode(style: str, execution: str) -> str:
    """What the table's column `code` says: executed, invented or none."""
    return execution if style in ("full", "code") else "none"


def sweep_cells(config: SweepConfig) -> list[Cell]:
    """All cells in the order of the table: the grids of all points, then their variants."""
    return [*grid_cells(config), *ablation_cells(config)]


def grid_cells(config: SweepConfig) -> list[Cell]:
    """Sizes x training examples x seeds, main cell of each seed first, so that the first row comes early."""
    return [cell for point in points(config) for cell in _grid(point)]


def ablation_cells(config: SweepConfig) -> list[Cell]:
    """The main cell of the first seed (largest size, most examples) with one thing changed."""
    return [cell for point in points(config) for cell in _ablations(point)]


def main_cells(config: SweepConfig) -> list[Cell]:
    """The cell that the variants of a configuration without axes are compared with, on each benchmark."""
    return _grid(Point(config))[: len(config.evaluate.benchmarks)]


def candidate_cell(config: SweepConfig) -> Cell | None:
    """The votes that choose among the policy's candidates, by the main cell's verifier."""
    if not config.evaluate.candidates_problems:
        return None
    main = grid_cells(config)[0]
    benchmark = Benchmark("candidates", main.votes.verifier.seed)
    n_votes = main.config.verify.draws(config.evaluate.candidate_votes)
    votes = dataclasses.replace(main.votes, benchmark=benchmark, n_votes=n_votes)
    return dataclasses.replace(main, votes=votes)


def _grid(point: Point) -> list[Cell]:
    grid, cell = point.config.grid, point.config.cell
    cells = []
    for seed in grid.seeds if cell.seed is None else (cell.seed,):
        for size in reversed((cell.size,) if cell.size else grid.sizes):
            for examples in reversed(_examples(point.config)):
                rule = cell.labels or grid.labels
                verifier = Verifier(size, examples, rule, cell.filtered, cell.style, seed)
                cells += [_cell(point, verifier, b) for b in point.config.evaluate.benchmarks]
    return cells


def _ablations(point: Point) -> list[Cell]:
    main = _grid(point)[0].votes.verifier
    changed = {
        "code": dataclasses.replace(main, style="code"),
        "analysis": dataclasses.replace(main, style="analysis"),
        "direct": dataclasses.replace(main, style="direct"),
        "hard": dataclasses.replace(main, labels="hard"),
        "difference": dataclasses.replace(main, labels="difference"),
        "unfiltered": dataclasses.replace(main, filtered=False),
    }
    cells = []
    for variant in point.config.grid.ablations:
        for benchmark in point.config.evaluate.benchmarks:
            cell = _cell(point, changed.get(variant, main), benchmark)
            votes = cell.votes
            if variant == "invented":
                votes = dataclasses.replace(votes, execution="invented")
            if variant == "fork":
                votes = dataclasses.replace(votes, mode="fork")
            cells.append(dataclasses.replace(cell, votes=votes, variant=variant))
    return cells


def _examples(config: SweepConfig) -> tuple[int, ...]:
    chosen = config.cell.train_examples
    return config.grid.train_examples if chosen is None else (chosen,)


def _cell(point: Point, verifier: Verifier, benchmark: str) -> Cell:
    config = point.config
    votes = Votes(
        verifier,
        Benchmark(benchmark, verifier.seed),
        execution=config.cell.code if verifier.style in ("full", "code") else "none",
        mode=config.verify.mode,
        n_votes=config.verify.draws(config.verify.n_votes),
    )
    named = tuple((k, v) for k, v in point.values if not k.startswith("cell."))
    return Cell(votes, config, values=named)
