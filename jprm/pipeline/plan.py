"""What a sweep would do: its cells, what is there already, and what the rest costs. Starts and writes nothing."""

from __future__ import annotations

from rich.table import Table

from jprm.leases import doing, holder
from jprm.pipeline.calibration import calibrate, stored_rates
from jprm.pipeline.config import SweepConfig
from jprm.pipeline.jobs import jobs_of
from jprm.pipeline.lab import Lab, Rates
from jprm.progress import clock
from jprm.runs import Stage
from jprm.terminal import terminal

MAX_ROWS = 400


def print_plan(config: SweepConfig, calibrate_first: bool = False) -> None:
    """Prints the plan; with `calibrate_first` at speeds measured now and kept in the run directory."""
    with Lab(config, None) as lab:
        cells, candidates, jobs = jobs_of(lab, config)
        measured = calibrate(lab, cells) if calibrate_first else stored_rates(lab)
        lab.rates = measured or Rates()
        stages = Table("stage", "what", "state", "FLOPs", "expected", box=None, header_style="bold")
        flops = seconds = 0.0
        for view, task in jobs[:MAX_ROWS]:
            stages.add_row(*_row(view, task))
        for view, task in jobs:
            if not view.stage(task).done:
                flops += task.flops(view)
                seconds += task.work(view)
        out = terminal()
        out.print(stages)
        if len(jobs) > MAX_ROWS:
            out.print(f"... and {len(jobs) - MAX_ROWS} more")
        table = Table("cell", "votes", "state", box=None, header_style="bold")
        ready = 0
        for cell in cells:
            done = lab.at(cell.config).stage(cell.votes).done
            ready += done
            if len(cells) <= MAX_ROWS:
                table.add_row(cell.name, str(cell.votes.n_votes), "done" if done else "to do")
        out.print(table)
        done = sum(view.stage(task).done for view, task in jobs)
        where = (
            "at the speed measured on this machine"
            if measured
            else "on two CPU cores (--calibrate measures this machine)"
        )
        print(f"{len(cells)} cells, {ready} of them ready; best of N: {'yes' if candidates else 'no'}")
        print(
            f"{len(jobs)} stages, {done} done; about {seconds / 60:.0f} min left {where}: "
            f"{flops:.2g} FLOPs, {seconds / 3600:.2f} hours"
        )


def _row(view: Lab, task) -> tuple[str, str, str, str, str]:
    stage = view.stage(task)
    name = f"{task.kind}-{stage.key}"
    if stage.done:
        return name, what(task), "done", "", f"{clock(stage.seconds)} taken"
    cost = f"{task.flops(view):.2g}", f"about {clock(task.work(view))}"
    return name, what(task), _state(stage), *cost


def _state(stage: Stage) -> str:
    """Of a stage that is not done."""
    if owner := doing(stage.path):
        return f"by {owner.get('host')}"
    left = [path for path in (holder(stage.path), stage.path) if path and path.exists()]
    if any((path / "failure.json").exists() for path in left):
        return "failed"
    return "started" if left else "to do"


def what(task) -> str:
    """A task in words."""
    label = getattr(task, "label", "")
    return label or " ".join(str(value) for value in vars(task).values())
