"""Sweeps that have run: their configuration, their finished cells, their report once more. Nothing is sampled here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jprm.config import overridden
from jprm.errors import UserError
from jprm.pipeline.cells import Cell, candidate_cell, grid_cells, sweep_cells
from jprm.pipeline.config import SweepConfig, require_sweep
from jprm.pipeline.findings import find
from jprm.pipeline.lab import Lab
from jprm.pipeline.report import write_sweep_report
from jprm.pipeline.spending import candidates_at_equal_compute
from jprm.pipeline.table import best_of_candidates, measure


def read_sweep_config(run: Path) -> SweepConfig:
    """The configuration of the sweep in the directory `run`. Raises UserError where there is none."""
    path = run / "config.json"
    require_sweep(run)
    try:
        config = SweepConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: damaged, or of another version; run the sweep again") from None
    return config.model_copy(update={"directory": run.parent, "name": run.name})


def finished_cells(lab: Lab) -> list[Cell]:
    """The cells of a sweep whose votes are there. Raises UserError if there are none."""
    cells = sweep_cells(lab.config)
    done = [cell for cell in cells if lab.at(cell.config).stage(cell.votes).done]
    if not done:
        raise UserError(
            f"{lab.config.directory / lab.config.name}: none of its {len(cells)} cells is finished under this "
            "configuration; a key that decides what is sampled cannot be changed afterwards"
        )
    return done


def rewrite_report(run: Path, overrides: Sequence[str], command: str) -> str:
    """Reduces the stored votes of a sweep anew and writes `report.html`; loads no model.

    overrides: keys that are read when votes are reduced, such as `evaluate.votes_shown`. (The
    read-out is none: it decides where judging a solution stopped.) Returns how many cells are in
    the report. Raises UserError for a run without a finished grid, and for keys that decide what was
    sampled.
    """
    config = overridden(read_sweep_config(run), str(run / "config.json"), overrides)
    lab = Lab(config, None)
    cells = finished_cells(lab)
    expected = len(sweep_cells(config))
    if cells[0] != grid_cells(config)[0]:
        raise UserError(f"{run}: its main cell is not finished; run the sweep again to go on")
    grid = {cell.votes.verifier for cell in cells if not cell.variant}
    if missing := {cell.votes.verifier for cell in grid_cells(config)} - grid:
        raise UserError(
            f"{run}: {len(missing)} cells of its grid are not finished, such as "
            f"{next(iter(missing)).label}; run the sweep again to go on"
        )
    measured = [measure(lab.at(cell.config), cell) for cell in cells]
    candidates = candidate_cell(config)
    best, spent = best_of_candidates(lab, candidates), candidates_at_equal_compute(lab, candidates)
    write_sweep_report(lab, measured, find(lab, measured, best, spent), run, command)
    return f"{len(cells)} of {expected} cells"
