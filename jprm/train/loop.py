"""The training loop: packed data in, trained parameters out, and a run that can be killed anywhere.

What a step computes is a function of (documents, config, seed, step number) alone, so a run resumed
from its newest checkpoint ends with the same bits as one that was never stopped.
"""

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jprm.data import Document, Rows, plan
from jprm.errors import UserError
from jprm.models import Model
from jprm.train.checkpoint import Checkpoints
from jprm.train.config import TrainConfig
from jprm.train.feed import place
from jprm.train.job import Job, make_job
from jprm.train.meter import train_flops_of
from jprm.train.mishap import keep_evidence
from jprm.train.step import TrainState

OnStep = Callable[[int, dict], None]


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult:
    """What training gave.

    `losses`: mean loss of every step. `tokens` trained on (padding excluded, repeats counted) and
    their `flops`. `seconds` in the training loop, all sittings together, compilation included.
    `too_long`: documents left out. `fill`: part of the rows that is not padding.
    """

    params: dict
    losses: np.ndarray
    tokens: int
    flops: float
    seconds: float
    too_long: tuple[int, ...]
    fill: float


@dataclasses.dataclass
class Progress:
    """Sums over the steps so far; saved with each checkpoint."""

    tokens: int = 0
    pairs: int = 0  # (query, key) pairs that attention scored, for the FLOPs
    seconds: float = 0.0


def fit(
    model: Model,
    params: dict,
    documents: Sequence[Document],
    config: TrainConfig,
    seed: int,
    directory: Path,
    on_step: OnStep | None = None,
) -> FitResult:
    """Trains `params` on the documents; resumes from the newest checkpoint in `directory`, exactly.

    `params` are left as they are. `on_step(step, metrics)` is called once for every step (counted
    from 1) of this sitting with floats `loss` and `grad_norm`, one step late: the device works on
    the next one meanwhile. Raises UserError when the loss stops being a number, when no document
    fits into a row, or when the directory holds the checkpoints of another run.
    """
    rows = Rows(documents, plan([len(d) for d in documents], config.row_tokens, seed))
    job = make_job(model, lambda: params, rows, config, seed)
    identity = run_identity(model, documents, config, seed) | {
        "initial_parameters": digest(map(np.asarray, jax.tree.leaves(params)))
    }
    with Checkpoints(directory, identity) as checkpoints:
        state, progress = run(job, checkpoints, on_step)
    return FitResult(
        params=job.finished(state.params),
        losses=np.asarray(state.losses),
        tokens=progress.tokens,
        flops=train_flops_of(model, config, progress.tokens, progress.pairs),
        seconds=progress.seconds,
        too_long=rows.plan.too_long,
        fill=rows.fill,
    )


def run(
    job: Job,
    checkpoints: Checkpoints,
    on_step: OnStep | None = None,
    stop: Callable[[int], bool] = lambda step: False,
    on_resume: Callable[[int], None] = lambda step: None,
) -> tuple[TrainState, Progress]:
    """Goes from the newest checkpoint, or from the start, to the last step or until `stop(step)`.

    `stop` is asked after every step, on every process, and must answer alike on all of them; the
    state is then saved before this returns. `on_resume(step)` is told where this sitting starts.

    Raises UserError for a batch without a token to train on, and for a loss that is no number: the
    state before that step and its batch are then kept beside the checkpoints.
    """
    state, progress = job.fresh(), Progress()
    wanted = jax.tree.map(_spec, vars(state))
    restored = checkpoints.restore(wanted)
    if restored is not None:
        state, progress = TrainState(**restored[0]), Progress(**restored[1])
    first = int(state.step)
    on_resume(first)
    started, before = time.monotonic(), progress.seconds
    pending = None

    def report() -> None:
        nonlocal pending
        if pending is None:
            return
        (step, metrics), pending = pending, None
        values = {name: float(value) for name, value in metrics.items()}
        if not all(map(math.isfinite, values.values())):
            raise _NotFinite(step, values)
        if on_step is not None:
            on_step(step, values)

    try:
        for step in range(first + 1, job.steps + 1):
            members = job.order[step - 1]
            _check_trainable(step, members, job.rows)
            state, metrics = job.step(state, place(job.rows, members, job.layout))
            progress.tokens += int(job.rows.tokens[members].sum())
            progress.pairs += int(job.rows.pairs[members].sum())
            report()
            pending = step, metrics
            stopped = stop(step)
            if step % job.checkpoint_every == 0 or step == job.steps or stopped:
                report()  # a checkpoint never holds a step that was not looked at
                progress.seconds = before + time.monotonic() - started
                checkpoints.save(step, vars(state), dataclasses.asdict(progress))
            if stopped:
                break
    except _NotFinite as failure:
        del state  # the replay needs its memory
        raise keep_evidence(job, checkpoints, wanted, failure.step, failure.values) from None
    return state, progress


class _NotFinite(Exception):
    def __init__(self, step: int, values: dict):
        super().__init__(step)
        self.step, self.values = step, values


def _check_trainable(step: int, members: np.ndarray, rows: Rows) -> None:
    if not rows.trained[members].any():
        raise UserError(
            f"training: the batch of step {step} has no token to train on (rows {', '.join(map(str, members))}); "
            "leave out documents without trained text, or make train.batch_rows larger"
        )


def _spec(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def run_identity(model: Model, documents: Sequence[Document], config: TrainConfig, seed: int) -> dict[str, Any]:
    """What decides the numbers of a run but its first weights: flat keys, for a refusal to name."""
    identity = {f"model.{key}": value for key, value in dataclasses.asdict(model.config).items()}
    settings = config.model_dump(exclude={"checkpoint_every"})
    identity |= {f"train.{key}": value for key, value in settings.items()}
    identity["documents"] = digest(array for d in documents for array in d.arrays)
    identity["seed"] = seed
    return identity


def digest(arrays) -> str:
    """16 hex digits over the shapes and contents of arrays."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(str(array.shape).encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:16]
