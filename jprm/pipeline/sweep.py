"""The main job: plan the cells, compute what is missing, print the table, write the results and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from jprm.pipeline.cells import Cell, ablation_cells, candidate_votes, grid_cells
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.console import console
from jprm.pipeline.findings import Findings, find
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.report import write_sweep_report
from jprm.pipeline.table import Measured, measure, measure_best_of_n
from jprm.progress import Progress
from jprm.runs import RunDirectory, write_atomic


def run_sweep(config: SweepConfig, command: str) -> None:
    """Computes the sweep in its run directory, resuming what is there. Raises UserError for the user's mistakes."""
    path = config.directory / config.name
    cells = [*grid_cells(config), *ablation_cells(config)]
    candidates = candidate_votes(config)
    with RunDirectory(path) as run:
        write_atomic(path / "config.json", config.model_dump_json(indent=1))
        with Lab(config, run) as lab:
            tasks = list(
                _with_parents(
                    lab, [*(cell.votes for cell in cells), *([candidates] if candidates else [])]
                )
            )
            lab.progress = Progress(
                sum(task.work(lab) for task in tasks if not lab.stage(task).done)
            )
            lab.progress.show(
                f"{len(cells)} cells, {len(tasks)} stages, run directory {path}", force=True
            )
            measured = [_finish(lab, cell) for cell in cells]
            if candidates:
                lab.ensure(candidates)
            lab.count_reused(tasks)
            best = measure_best_of_n(lab, candidates) if candidates else None
            findings = find(lab, measured, best)
            _write_results(path / "results.jsonl", measured)
            write_sweep_report(lab, measured, findings, path, command)
            _print(measured, findings)
            print(f"results: {path / 'results.jsonl'}   report: {path / 'report.html'}")
            print(f"computed {run.computed}, reused {run.reused}")


def print_plan(config: SweepConfig) -> None:
    """What `run_sweep` would do, what is there already, and what it would cost; computes and writes nothing."""
    lab = Lab(config, None)
    cells = [*grid_cells(config), *ablation_cells(config)]
    candidates = candidate_votes(config)
    tasks = list(
        _with_parents(lab, [*(cell.votes for cell in cells), *([candidates] if candidates else [])])
    )
    table = Table("stage", "what", "state", "expected", box=None, header_style="bold")
    missing = 0.0
    for task in tasks:
        stage = lab.stage(task)
        seconds = task.work(lab)
        missing += 0.0 if stage.done else seconds
        state = "done" if stage.done else "started" if stage.path.exists() else "to do"
        took = f"{stage.seconds:.0f} s taken" if stage.done else f"about {seconds:.0f} s"
        table.add_row(f"{task.kind}-{stage.key}", _what(task), state, took)
    console().print(table)
    done = sum(lab.stage(task).done for task in tasks)
    print(
        f"{len(cells)} cells, {len(tasks)} stages, {done} done; about {missing / 60:.0f} min left on two CPU cores"
    )


def _finish(lab: Lab, cell: Cell) -> Measured:
    """Computes a cell and says its row at once."""
    fresh = not lab.stage(cell.votes).done
    lab.ensure(cell.votes)
    measured = measure(lab, cell)
    if fresh:
        row = measured.rows[-1]
        f1 = f"F1 {row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}] at {row['n_votes']} votes"
        lab.progress.note(f"finished {cell.name}: {f1}")
    return measured


def _with_parents(lab: Lab, tasks: Iterable[Task]) -> Iterable[Task]:
    """All tasks that these need, parents first, each once."""
    seen: dict[Task, None] = {}

    def visit(task: Task) -> None:
        if task not in seen:
            for parent in task.parents(lab):
                visit(parent)
            seen.setdefault(task)

    for task in tasks:
        visit(task)
    return seen


def _what(task: Any) -> str:
    label = getattr(task, "label", "")
    return label or " ".join(str(value) for value in vars(task).values())


def _write_results(path, measured: list[Measured]) -> None:
    rows = [row for m in measured for row in m.rows]
    write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def _print(measured: list[Measured], findings: Findings) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "model",
        "train",
        "style",
        "code",
        "labels",
        "variant",
        "seed",
        "votes",
        "F1 [95 %]",
    ):
        table.add_column(name, no_wrap=True)
    for name in ("tokens", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for m in measured:
        for i, row in enumerate(m.rows):
            first = [
                row["model"],
                str(row["train_examples"]),
                row["style"],
                row["code"],
                row["labels"] + ("" if row["filtered"] else " *"),
                row["variant"] or row["benchmark"],
                str(row["seed"]),
            ]
            f1 = (
                "n/a"
                if row["f1"] is None
                else f"{row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
            )
            numbers = [str(row["n_votes"]), f1, f"{row['tokens']:,}", f"{row['seconds']:.0f}"]
            table.add_row(*(first if i == 0 else [""] * len(first)), *numbers)
    out = console()
    out.print(table)
    if any(not row["filtered"] for m in measured for row in m.rows):
        out.print("* no consensus filter", style="dim")
    for finding in findings.lines():
        out.print(finding)
