"""A plan shows what a sweep would do: its cells, what is there already, and what the rest costs. It runs nothing.

The parts that any graph of stages has are those of `python experiments/uses.py --plan`, too.
"""

from jprm.errors import UserError
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.machine_speed import measure_speed, stored_speed
from jprm.experiments.sweep.machines import DECODE_SHARE, TRAIN_SHARE, Machine, plan_for
from jprm.jobs import Graph, Stage, Stages, Task, clock
from jprm.jobs.directory import check_writable
from jprm.jobs.leases import doing, holder
from jprm.report import Table, columns, print_table
from jprm.tasks.resources import Speed

MAX_ROWS = 400
MEASURED, UNMEASURED = "at the speed measured on this machine", "on two CPU cores"  # whose speed an estimate is of
STAGES = Table("", columns("stage | what | state | FLOPs: flops | expected"))
MEMORY = Table("Memory of a device", columns("model | training | decoding | verdict"))
ASSUMED = f"{TRAIN_SHARE:.0%} of its FLOPs in training, {DECODE_SHARE:.0%} of its bandwidth in decoding"
CELLS = Table("", columns("cell | votes | state"))


def print_plan(config: SweepConfig, measure_first: bool = False, machine: Machine | None = None) -> None:
    """Prints the plan; with `measure_first` at speeds that are measured now and kept in the run directory.

    machine: the one that the sweep is planned for, with the memory that its devices need; None for this one. Raises
    UserError for a sweep that could not run.
    """
    sweep, stages = Sweep(config), Stages(config.path)
    check_possible(sweep)
    graph = Graph(stages, sweep.asked, sweep.leaders)
    measured = measure_speed(sweep) if measure_first else stored_speed(config.path)
    planned = None
    if machine:
        models = {cell.verifier.size: cell.verifier.base.config for cell in sweep.cells}
        planned = plan_for(config, models, machine)
    speed = planned.speed if planned else measured or Speed()
    print_stages(graph, speed)
    if len(sweep.cells) <= MAX_ROWS:
        states = ((cell, "done" if stages[cell.votes].done else "to do") for cell in sweep.cells)
        print_table(CELLS.of({"cell": c.name, "votes": c.votes.n_votes, "state": state} for c, state in states))
    ready = sum(stages[cell.votes].done for cell in sweep.cells)
    print(f"{len(sweep.cells)} cells, {ready} of them ready; best of N: {'yes' if sweep.candidates else 'no'}")
    where = MEASURED if measured else f"{UNMEASURED} (--calibrate measures this machine, --machine plans for another)"
    if machine and planned:
        where = f"on {machine.devices} x {machine.name}, by the data sheet ({ASSUMED})"
        print_table(MEMORY.of(planned.rows))
    print_cost(graph, speed, where)


def print_stages(graph: Graph, speed: Speed) -> None:
    """Prints a row for each stage: whether it is there, and what it is expected to take."""
    print_table(STAGES.of(_row(graph, task, speed) for task in graph.tasks[:MAX_ROWS]))
    if len(graph.tasks) > MAX_ROWS:
        print(f"... and {len(graph.tasks) - MAX_ROWS} more")


def print_cost(graph: Graph, speed: Speed, where: str) -> None:
    """Prints how many stages are done, and what the others take in all. where: at whose speed."""
    missing = graph.unfinished()
    flops, seconds = sum(map(graph.flops, missing)), sum(graph.seconds(task, speed) for task in missing)
    print(
        f"{len(graph.tasks)} stages, {len(graph.tasks) - len(missing)} done; about {seconds / 60:.0f} min left "
        f"{where}: {flops:.2g} FLOPs, {seconds / 3600:.2f} hours"
    )


def check_possible(sweep: Sweep) -> None:
    """Raises UserError where a sweep asks for what it cannot have, before anything is computed."""
    check_writable(sweep.config.path)
    for cell in sweep.cells:
        labels, asked = cell.config.labels, cell.verifier.examples
        if labels.source != "file" and asked > (most := labels.problems * labels.solutions):
            raise UserError(
                f"{asked} training examples are asked for, but {labels.problems} problems give {most} labelled "
                "solutions at most; raise labels.problems, or lower grid.train_examples"
            )


def _row(graph: Graph, task: Task, speed: Speed) -> dict[str, str]:
    stage = graph.stages[task]
    row = {"stage": f"{task.kind}-{stage.key}", "what": task.label}
    if stage.done:
        return row | {"state": "done", "flops": "", "expected": f"{clock(stage.seconds)} taken"}
    expected = f"about {clock(graph.seconds(task, speed))}"
    return row | {"state": _state(stage), "flops": f"{graph.flops(task):.2g}", "expected": expected}


def _state(stage: Stage) -> str:
    """The state of a stage that is not done."""
    if owner := doing(stage.path):
        return f"by {owner.get('host')}"
    left = [path for path in (holder(stage.path), stage.path) if path and path.exists()]
    if any((path / "failure.json").exists() for path in left):
        return "failed"
    return "started" if left else "to do"
