"""The main job: compute what is missing, print the table, write the results and the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.pipeline.cells import Cell
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.console import print_table
from jprm.pipeline.findings import find
from jprm.pipeline.jobs import Job, check_versions, jobs_of
from jprm.pipeline.lab import Failure, Lab, StageFailed
from jprm.pipeline.report import write_sweep_report
from jprm.pipeline.spending import candidates_at_equal_compute
from jprm.pipeline.table import Measured, best_of_candidates, f1_of, failed_row, measure
from jprm.preemption import stop_on_sigterm
from jprm.progress import Progress
from jprm.runs import RunDirectory, unique_suffix, write_atomic
from jprm.terminal import say


def run_sweep(config: SweepConfig, command: str, mix_versions: bool = False) -> int:
    """Computes the sweep in its run directory, resuming what is there; the exit code, see `conclude`.

    Raises UserError for the user's mistakes, Preempted on SIGTERM.
    """
    path = config.directory / config.name
    with RunDirectory(path) as run, Lab(config, run) as lab:
        write_config(path, config)
        cells, candidates, jobs = jobs_of(lab, config)
        check_versions(jobs, mix_versions)
        lab.progress = progress_of(jobs, len(cells))
        with stop_on_sigterm(lab.progress):
            lab.progress.show(f"{len(cells)} cells, {len(jobs)} stages, run directory {path}", force=True)
            measured = [_compute(lab, cell) for cell in cells]
            if candidates:
                _ensure(lab, candidates)
        lab.count_reused(jobs)
        lab.progress.close()  # what follows is printed below it
        return conclude(lab, cells, candidates, command, measured)


def write_config(path: Path, config: SweepConfig) -> None:
    """Leaves the configuration in the run directory, for `score`, `export` and readers."""
    write_atomic(path / "config.json", config.model_dump_json(indent=1), unique_suffix())


def progress_of(jobs: list[Job], n_cells: int) -> Progress:
    """The progress of what is not done yet."""
    missing = [(view, task) for view, task in jobs if not view.stage(task).done]
    return Progress(sum(task.work(view) for view, task in missing), cells=n_cells)


def conclude(
    lab: Lab, cells: list[Cell], candidates: Cell | None, command: str, known: Sequence[Measured | None] = ()
) -> int:
    """Table, findings, report and `results.jsonl` from what is finished.

    A cell without a result is a row with the reason; 3 where there is one, or where rows of a benchmark were rejected,
    else 0. `known` are the cells that have been measured already, None for others. Raises UserError where all cells
    failed by the user's mistake.
    """
    path = lab.config.directory / lab.config.name
    measured, rows = [], []
    failures: dict[str, Failure] = {}
    for i, cell in enumerate(cells):
        view = lab.at(cell.config)
        if failure := failure_below(view, cell):
            failures[cell.name] = failure
            rows.append(failed_row(cell, failure))
        else:
            measured.append((known[i] if known else None) or measure(view, cell))
            rows += measured[-1].rows
    if failures and not measured and all(f.user_error for f in failures.values()):
        raise UserError(next(iter(failures.values())).reason)
    if failures:  # one set of columns for all rows
        rows = [{"status": "ok", "reason": ""} | row for row in rows]
    _write_results(path / "results.jsonl", rows)
    if measured:
        spent = candidates_at_equal_compute(lab, candidates)
        findings = find(lab, measured, best_of_candidates(lab, candidates), spent)
        write_sweep_report(lab, measured, findings, path, command)
        print_table(measured, findings)
    for name, failure in failures.items():
        say(f"{failure.status}: {name}: {failure.reason}")
    rejected = rows_rejected(measured)
    for benchmark, n in rejected.items():
        print(f"rejected in reading: {n} rows of {benchmark}")
    report = f"   report: {path / 'report.html'}" if measured else ""
    say(f"results: {path / 'results.jsonl'}{report}")
    counts = f"computed {lab.run.computed}, reused {lab.run.reused}" if lab.run else ""
    print(counts + (f", {len(failures)} of {len(cells)} cells failed" if failures else ""))
    return INCOMPLETE if failures or rejected else 0


def rows_rejected(measured: Sequence[Measured]) -> dict[str, int]:
    """The rows of each benchmark that could not be read, where there are any."""
    found = {}
    for m in measured:
        benchmark = m.cell.votes.benchmark
        if n := m.lab.stage(benchmark).summary.get("rejected", 0):
            found[f"{benchmark.name} (seed {benchmark.seed})"] = n
    return found


def failure_below(lab: Lab, cell: Cell) -> Failure | None:
    """Why a cell has no result: the failure of its votes or of what they build on; None where it has one."""
    if lab.stage(cell.votes).look():
        return None

    def search(task: Any) -> Failure | None:
        stage = lab.stage(task)
        if stage.look():
            return None
        for parent in task.parents(lab):
            if found := search(parent):
                return found
        return lab.failures.get(stage.key)

    return search(cell.votes) or Failure("missing", "not computed yet; run the command again")


def _ensure(lab: Lab, cell: Cell) -> bool:
    """Computes the votes of a cell; False, and a word about it, where that failed. The table has the reason."""
    try:
        lab.at(cell.config).ensure(cell.votes)
    except StageFailed as error:
        lab.progress.note(f"{error.failure.status}: {cell.name}: {error.failure.reason}")
        return False
    return True


def _compute(lab: Lab, cell: Cell) -> Measured | None:
    """Computes a cell and says its row at once."""
    view = lab.at(cell.config)
    fresh = not view.stage(cell.votes).done
    measured = measure(view, cell) if _ensure(lab, cell) else None
    if measured and fresh:
        lab.progress.note(f"finished {cell.name}: {_short(measured)}")
    lab.progress.cell_done()
    return measured


def _short(measured: Measured) -> str:
    row = measured.rows[-1]
    return f"F1 {f1_of(row)} at {row['n_votes']} votes"


def _write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
