"""Runs a sweep: computes what is missing, alone or together with other workers, and concludes with table and page."""

import functools
from collections.abc import Sequence
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.experiments.sweep.config import FREE_KEYS, SweepConfig
from jprm.experiments.sweep.findings import find
from jprm.experiments.sweep.machine_speed import stored_speed
from jprm.experiments.sweep.plan import check_possible
from jprm.experiments.sweep.report import write_sweep_report
from jprm.experiments.sweep.screen import print_screen
from jprm.experiments.sweep.table import Measured, best_of_n_rows, f1_of, failed_row, measure
from jprm.jobs import (
    Failure,
    RunDirectory,
    Runner,
    StageFailed,
    Stages,
    Worker,
    claim_directory,
    open_run,
    run_workers,
    write_rows,
)
from jprm.tasks.resources import Resources, Speed
from jprm.terminal import say


def run_sweep(
    config: SweepConfig,
    command: str,
    *,
    worker: bool = False,
    launcher: str = "",
    parallel: int = 2,
    arguments: Sequence[str] = (),
    replace: bool = False,
    mix_versions: bool = False,
) -> int:
    """Computes a sweep in its run directory, resuming what is there; returns the exit code, see `conclude`.

    worker: other workers share the directory. launcher: starts `parallel` workers, which get `arguments`, and watches
    them. replace: the results of another configuration in the directory may be replaced. Raises UserError for the
    user's mistakes, Preempted on SIGTERM.
    """
    sweep, shared = Sweep(config), worker or bool(launcher)
    check_possible(sweep)
    with RunDirectory(config.path, shared) as directory, Resources() as resources:
        claim_config(config, replace)
        with open_run(
            config.path,
            sweep.asked,
            resources,
            speed=stored_speed(config.path) or Speed(),
            leaders=sweep.leaders,
            cells=len(sweep.cells),
            mix_versions=mix_versions or bool(launcher),
            directory=directory,
        ) as runner:
            if launcher:
                cells = [cell.votes for cell in sweep.cells]
                settings = {"slurm": config.launch.slurm, "ray": config.launch.ray}.get(launcher, {})
                run_workers(runner, launcher, settings, parallel, [*arguments, "--worker"], cells)
                runner.progress.close()
                return _conclude_once(_worker(runner, config, accept=True), sweep, command)
            if worker:
                own = _worker(runner, config)
                own.work()
                runner.count_reused()
                runner.progress.close()
                return _conclude_once(own, sweep, command)
            runner.progress.show(
                f"{len(sweep.cells)} cells, {len(runner.graph.tasks)} stages, run directory {config.path}", force=True
            )
            measured = [_compute(runner, cell) for cell in sweep.cells]
            for cell in sweep.choosing:
                _ensure(runner, cell)
            runner.count_reused()
            runner.progress.close()  # what follows is printed below it
            return conclude(runner, sweep, command, measured)


def claim_config(config: SweepConfig, replace: bool) -> None:
    """Leaves the configuration in the run directory, for readers, `score` and `export`.

    Raises UserError where the directory holds a run of another configuration, unless that may be replaced.
    """
    claim_directory(
        config.path / "config.json",
        config.model_dump(mode="json"),
        "set name=OTHER for a run of its own, or give --replace to replace the table (stages that fit are used)",
        free=FREE_KEYS,
        replace=replace,
        completed=functools.partial(_with_defaults, type(config)),
    )


def _with_defaults(kind: type[SweepConfig], table: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration with the defaults of keys that have come since; as it is, where it no longer fits."""
    try:
        return kind.model_validate(table).model_dump(mode="json")
    except ValueError:
        return table


def conclude(runner: Runner, sweep: Sweep, command: str, known: Sequence[Measured | None] = ()) -> int:
    """Writes the report and `results.jsonl` from what is finished, and prints what was found.

    A cell without a result is a row with the reason; the exit code is 3 where there is one, or where rows of a set were
    rejected, else 0. `known` are the cells that have been measured already, None for others. Raises UserError where all
    cells failed by the user's mistake.
    """
    path, stages = sweep.config.path, runner.stages
    measured, rows = [], []
    failures: dict[str, Failure] = {}
    for i, cell in enumerate(sweep.cells):
        if failure := runner.failure_below(cell.votes):
            failures[cell.name] = failure
            rows.append(failed_row(cell, failure))
        else:
            measured.append((known[i] if known else None) or measure(stages, cell))
            rows += measured[-1].rows
    if failures and not measured and all(f.user_error for f in failures.values()):
        raise UserError(next(iter(failures.values())).reason)
    if failures:  # one set of columns for all rows
        rows = [{"status": "ok", "reason": ""} | row for row in rows]
    write_rows(path / "results.jsonl", rows)
    if measured:
        findings = find(sweep, stages, measured)
        if findings.choosing:
            write_rows(path / "best_of_n.jsonl", best_of_n_rows(findings.choosing))
        write_sweep_report(sweep.config, measured, findings, path, command)
        print_screen(measured, findings, path)
    for name, failure in failures.items():
        say(f"{failure.status}: {name}: {failure.reason}")
    rejected = _rows_rejected(stages, sweep.cells)
    for benchmark, n in rejected.items():
        print(f"rejected in reading: {n} rows of {benchmark}")
    say(f"rows: {path / 'results.jsonl'}")
    counts = f"computed {runner.computed}, reused {runner.reused}"
    print(counts + (f", {len(failures)} of {len(sweep.cells)} cells failed" if failures else ""))
    return INCOMPLETE if failures or rejected else 0


def _worker(runner: Runner, config: SweepConfig, accept: bool = False) -> Worker:
    worker = Worker(runner, config.launch.expiry_s, config.launch.poll_s)
    if accept:
        worker.accept_failures()
    return worker


def _conclude_once(worker: Worker, sweep: Sweep, command: str) -> int:
    """Concludes, unless another worker has done it meanwhile; the exit code is the same."""
    code = worker.conclude_once(lambda: conclude(worker.runner, sweep, command))
    if code is not None:
        return code
    failed = any(worker.runner.failure_below(cell.votes) for cell in sweep.cells)
    return INCOMPLETE if failed or _rows_rejected(worker.stages, sweep.cells) else 0


def _rows_rejected(stages: Stages, cells: Sequence[Cell]) -> dict[str, int]:
    """The rows of each set of solutions, and of labels, that could not be read, where there are any."""
    sets = dict.fromkeys((cell.votes.benchmark, cell.votes.benchmark.name) for cell in cells)
    sets |= dict.fromkeys((cell.verifier.labels, "labels") for cell in cells)
    read = {f"{name} (seed {of.seed})": stages[of].summary for of, name in sets if stages[of].done}
    return {name: n for name, summary in read.items() if (n := summary.get("rejected", 0))}


def _ensure(runner: Runner, cell: Cell) -> bool:
    """Computes the votes of a cell. Returns False, after a word about it, where that failed."""
    try:
        runner.ensure(cell.votes)
    except StageFailed as error:
        runner.progress.note(f"{error.failure.status}: {cell.name}: {error.failure.reason}")
        return False
    return True


def _compute(runner: Runner, cell: Cell) -> Measured | None:
    """Computes a cell and tells its row at once."""
    fresh = not runner.stages[cell.votes].done
    measured = measure(runner.stages, cell) if _ensure(runner, cell) else None
    if measured and fresh:
        row = measured.rows[-1]
        runner.progress.note(f"finished {cell.name}: F1 {f1_of(row)} at {row['n_votes']} votes")
    runner.progress.cells_done += 1
    return measured
