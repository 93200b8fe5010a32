"""A sweep whose stages hold contents that a test makes up."""

from collections.abc import Callable
from typing import Any

from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import SweepConfig
from jprm.jobs import Graph, Stage, Stages, Task


def finish_all(config: SweepConfig, make: Callable[[Task, Stage], dict[str, Any]]) -> tuple[Sweep, Stages]:
    """Finishes every stage with the summary that `make` returns, after it has written the files."""
    sweep, stages = Sweep(config), Stages(config.path)
    for task in Graph(stages, sweep.asked).tasks:
        stage = stages[task]
        with stage.attempt():
            stage.finish(make(task, stage), 1)
    return sweep, Stages(config.path)
