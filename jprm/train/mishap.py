"""What is kept when a loss stops being a number: the state before that step, and its batch.

The state is gone by then, donated to the step that failed. But a step is a function of the state and
of its number, so the newest checkpoint and the steps after it lead there again: a run that goes well
pays nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jprm.errors import Diverged
from jprm.jobs import write_atomic
from jprm.train.checkpoint import Checkpoints
from jprm.train.feed import place
from jprm.train.job import Job
from jprm.train.step import TrainState

NAMED = 8  # rows that the error lists


def keep_evidence(job: Job, checkpoints: Checkpoints, wanted: dict, step: int, values: dict[str, float]) -> Diverged:
    """Writes `not-finite-<step>/` into the folder of the checkpoints; the error that names it.

    In it: a checkpoint of the state before `step`, `batch.npz`, and `step.json` with the metrics, the
    numbers of the rows and the documents in them. `wanted` is the layout of the state.
    """
    members = job.order[step - 1].tolist()
    folder = checkpoints.directory / f"not-finite-{step}"
    restored = checkpoints.restore(wanted)
    state = job.fresh() if restored is None else TrainState(**restored[0])
    for number in range(int(state.step), step - 1):
        state, _ = job.step(state, place(job.rows, job.order[number], job.layout))
    if jax.process_index() == 0:  # what an earlier sitting left, which came to the same
        shutil.rmtree(folder, ignore_errors=True)
    multihost_utils.sync_global_devices("evidence")
    about = {"step": step, "metrics": {name: str(value) for name, value in values.items()}}
    with Checkpoints(folder, about, keep=1) as evidence:
        evidence.save(step - 1, vars(state), about)
    if jax.process_index() == 0:
        _write_batch(folder, job, about | {"rows": members})
    rows = ", ".join(map(str, members[:NAMED])) + (", ..." if len(members) > NAMED else "")
    return Diverged(
        f"training: step {step} gave {values} on rows {rows}; the state before it and the batch are in "
        f"{folder}; lower train.learning_rate or raise train.warmup_steps"
    )


def _write_batch(folder: Path, job: Job, about: dict) -> None:
    about["lines"] = [job.rows.lines_of(row) for row in about["rows"]]
    write_atomic(folder / "step.json", json.dumps(about, indent=1))
    arrays: dict[str, Any] = job.rows.stacked(about["rows"])
    np.savez(folder / "batch.npz", **arrays)
