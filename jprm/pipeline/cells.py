"""The cells of a sweep: a grid over size, training examples and seed, and one-change variants of its main cell."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jprm.pipeline.benchmark import Benchmark
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.verifier import Verifier
from jprm.pipeline.votes import Votes


@dataclass(frozen=True)
class Cell:
    """One row group of the table: a verifier and the way it is asked."""

    votes: Votes
    variant: str = ""  # "" in the grid; else what was changed against the main cell

    @property
    def name(self) -> str:
        """Unique in a sweep: "tiny-0.3m n=1000 full rpe s=0 executed chain policy"."""
        verifier, votes = self.votes.verifier, self.votes
        parts = [verifier.label, votes.execution, votes.mode, votes.benchmark.name]
        return " ".join(parts)


def code_mode(style: str, execution: str) -> str:
    """What the table's column `code` says: executed, invented or none."""
    return execution if style in ("full", "code") else "none"


def grid_cells(config: SweepConfig) -> list[Cell]:
    """Sizes x training examples x seeds, main cell of each seed first, so that the first row comes early."""
    grid = config.grid
    cells = []
    for seed in grid.seeds:
        for size in reversed(grid.sizes):
            for examples in reversed(grid.train_examples):
                verifier = Verifier(size, examples, grid.labels, True, "full", seed)
                cells += [_cell(config, verifier, name) for name in config.evaluate.benchmarks]
    return cells


def ablation_cells(config: SweepConfig) -> list[Cell]:
    """The main cell of the first seed (largest size, most examples) with one thing changed."""
    grid = config.grid
    main = Verifier(
        grid.sizes[-1], grid.train_examples[-1], grid.labels, True, "full", grid.seeds[0]
    )
    changed = {
        "code": dataclasses.replace(main, style="code"),
        "analysis": dataclasses.replace(main, style="analysis"),
        "direct": dataclasses.replace(main, style="direct"),
        "hard": dataclasses.replace(main, labels="hard"),
        "difference": dataclasses.replace(main, labels="difference"),
        "unfiltered": dataclasses.replace(main, filtered=False),
    }
    cells = []
    for variant in grid.ablations:
        for name in config.evaluate.benchmarks:
            cell = _cell(config, changed.get(variant, main), name)
            if variant == "invented":
                cell = Cell(dataclasses.replace(cell.votes, execution="invented"))
            if variant == "fork":
                cell = Cell(dataclasses.replace(cell.votes, mode="fork"))
            cells.append(dataclasses.replace(cell, variant=variant))
    return cells


def candidate_votes(config: SweepConfig) -> Votes | None:
    """The votes that choose among the policy's candidates, by the main cell's verifier."""
    if not config.evaluate.candidates_problems:
        return None
    main = grid_cells(config)[0].votes
    seed = config.grid.seeds[0]
    return dataclasses.replace(
        main, benchmark=Benchmark("candidates", seed), n_votes=config.evaluate.candidate_votes
    )


def _cell(config: SweepConfig, verifier: Verifier, benchmark: str) -> Cell:
    return Cell(
        Votes(
            verifier,
            Benchmark(benchmark, verifier.seed),
            execution="executed" if verifier.style in ("full", "code") else "none",
            mode=config.verify.mode,
            n_votes=config.verify.n_votes,
        )
    )
