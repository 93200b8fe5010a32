"""Sweeps that have run: their configuration, their finished cells, their report once more. Nothing is sampled here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jprm.config import overridden
from jprm.errors import UserError
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.experiments.sweep.config import SweepConfig, require_sweep
from jprm.experiments.sweep.findings import find
from jprm.experiments.sweep.report import write_sweep_report
from jprm.experiments.sweep.report_tables import print_tables
from jprm.experiments.sweep.table import measure
from jprm.jobs import Stages, Task
from jprm.tasks.policy import Policy
from jprm.tasks.verifier import TrainedVerifier

C = TypeVar("C", bound=SweepConfig)
T = TypeVar("T", bound=Task)


def read_sweep_config(run: Path, kind: type[C] = SweepConfig) -> C:
    """The configuration of the sweep in the directory `run`. Raises UserError where there is none."""
    path = run / "config.json"
    require_sweep(run)
    try:
        config = kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: damaged, or of another version; run it again") from None
    return config.model_copy(update={"directory": run.parent, "name": run.name})


def trained_verifier(run: Path, sweep: Sweep, stages: Stages) -> TrainedVerifier:
    """The main verifier of a run. Raises UserError where it is not trained yet."""
    return _trained(run, stages, sweep.main.verifier)


def trained_policy(run: Path, sweep: Sweep, stages: Stages) -> Policy:
    """The policy of the main verifier's seed. Raises UserError where it is not trained yet."""
    policy = sweep.tasks_of(sweep.main.config).policy(sweep.main.verifier.seed)
    _trained(run, stages, policy.model)
    return policy


def _trained(run: Path, stages: Stages, task: T) -> T:
    if not stages[task].done:
        raise UserError(f"{run}: {task.label} is not trained yet; run: python experiments/sweep.py")
    return task


def finished_cells(sweep: Sweep, stages: Stages) -> list[Cell]:
    """The cells of a sweep whose votes are there. Raises UserError if there are none."""
    done = [cell for cell in sweep.cells if stages[cell.votes].done]
    if not done:
        raise UserError(
            f"{sweep.config.path}: none of its {len(sweep.cells)} cells is finished under this configuration; "
            "a key that decides what is sampled cannot be changed afterwards"
        )
    return done


def rewrite_report(run: Path, overrides: Sequence[str], command: str, tables: bool = False) -> str:
    """Reduces the stored votes of a sweep anew and writes `report.html`; loads no model.

    overrides: keys that are read when votes are reduced, such as `evaluate.votes_shown`. (The read-out is none: it
    decides where judging a solution stopped.) tables: prints all tables, too.
    Returns how many cells are in the report. Raises UserError for a run
    without a finished grid, and for keys that decide what was sampled.
    """
    config = overridden(read_sweep_config(run), str(run / "config.json"), overrides)
    sweep, stages = Sweep(config), Stages(run)
    cells = finished_cells(sweep, stages)
    if cells[0] != sweep.main:
        raise UserError(f"{run}: its main cell is not finished; run the sweep again to go on")
    if missing := {cell.verifier for cell in sweep.grid} - {cell.verifier for cell in cells if not cell.variant}:
        raise UserError(
            f"{run}: {len(missing)} cells of its grid are not finished, such as "
            f"{next(iter(missing)).label}; run the sweep again to go on"
        )
    measured = [measure(stages, cell) for cell in cells]
    findings = find(sweep, stages, measured)
    write_sweep_report(config, measured, findings, run, command)
    if tables:
        print_tables(measured, findings)
    return f"{len(cells)} of {len(sweep.cells)} cells"
