"""The training loop: packed data in, trained parameters out, and a run that can be killed anywhere.

What a step computes is a function of (documents, config, seed, step number) alone, so a run resumed
from its newest checkpoint ends with the same bits as one that was never stopped.
"""

import dataclasses
import functools
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jprm.data import Document, Order, Rows, pack
from jprm.errors import Diverged, UserError
from jprm.jobs import write_atomic
from jprm.mesh import sharding
from jprm.models import Model
from jprm.train.checkpoint import Checkpoints
from jprm.train.config import TrainConfig
from jprm.train.distributed import place_rows
from jprm.train.lora import LORA, init_adapters, merge
from jprm.train.loss import STEP_HEAD, init_head
from jprm.train.meter import train_flops_of
from jprm.train.optimizer import make_optimizer
from jprm.train.step import TrainState, init_state, make_step

OnStep = Callable[[int, dict], None]
NAMED_ROWS = 8  # how many rows the error of a divergence lists


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingJob:
    """One training run, ready to go: `fresh()` makes the state before its first step.

    `step` is a compiled (state, batch) -> (state, metrics). Batch i consists of rows `order[i]`, laid out by `layout`
    (None: one device). `finished(trained)` makes a model's parameters of a state's: adapters are merged.
    """

    fresh: Callable[[], TrainState]
    finished: Callable[[dict], dict]
    step: Callable[[TrainState, dict], tuple[TrainState, dict]]
    rows: Rows
    order: Order
    layout: jax.sharding.NamedSharding | None
    steps: int
    checkpoint_every: int

    def batch(self, step: int) -> dict[str, jax.Array]:
        """Returns the batch of a step, counted from 1, on the devices."""
        return place_rows(self.rows, self.order[step - 1], self.layout)


@dataclasses.dataclass
class TrainingTotals:
    """Sums over the steps so far; saved with each checkpoint."""

    tokens: int = 0
    pairs: int = 0  # (query, key) pairs that attention scored, for the FLOPs
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class FitResult:
    """What training gave.

    `losses`: mean loss of every step. `tokens` trained on (padding excluded, repeats counted) and
    their `flops`. `seconds` in the training loop, all attempts together, compilation included.
    `too_long`: documents left out. `fill`: part of the rows that is not padding.
    """

    params: dict
    losses: np.ndarray
    tokens: int
    flops: float
    seconds: float
    too_long: tuple[int, ...]
    fill: float


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
    from 1) of this attempt with floats `loss` and `grad_norm`, one step late: the device works on
    the next one meanwhile. Raises UserError when the loss stops being a number, when no document
    fits into a row, or when the directory holds the checkpoints of another run.
    """
    rows = Rows(documents, pack([len(d) for d in documents], config.row_tokens, seed))
    job = make_job(model, lambda: params, rows, config, seed)
    first_weights = _digest(map(np.asarray, jax.tree.leaves(params)))
    identity = run_identity(model, documents, config, seed) | {"initial_parameters": first_weights}
    with Checkpoints(directory, identity) as checkpoints:
        state, totals = run(job, checkpoints, on_step)
    return FitResult(
        params=job.finished(state.params),
        losses=np.asarray(state.losses),
        tokens=totals.tokens,
        flops=train_flops_of(model, config, totals.tokens, totals.pairs),
        seconds=totals.seconds,
        too_long=rows.packing.too_long,
        fill=rows.fill,
    )


def make_job(model: Model, params: Callable[[], dict], rows: Rows, config: TrainConfig, seed: int) -> TrainingJob:
    """Returns the job of a model that starts from `params()` under the mesh in force."""
    hashable: Any = config  # frozen, so pydantic gives it a hash; its annotations do not say so
    if config.lora.rank:
        optimizer = make_optimizer(config)
        step = make_step(model, config, optimizer, frozen=params())
    else:
        optimizer, step = _program(model, hashable)

    def trained() -> dict:
        head = {STEP_HEAD: init_head(model.config)} if config.objective == "step_head" else {}
        weights = {LORA: init_adapters(model, config.lora, seed)} if config.lora.rank else params()
        return weights | head

    def finished(trained: dict) -> dict:
        if not config.lora.rank:
            return trained
        rest = {name: part for name, part in trained.items() if name != LORA}
        return merge(params(), trained[LORA], config.lora) | rest

    return TrainingJob(
        fresh=lambda: init_state(model, trained(), optimizer, config.steps),
        finished=finished,
        step=step,
        rows=rows,
        order=Order(len(rows), config.batch_rows, seed),
        layout=sharding(model.rules("batch", None)),
        steps=config.steps,
        checkpoint_every=config.checkpoint_every,
    )


@functools.lru_cache(maxsize=16)
def _program(model: Model, config: TrainConfig):
    """Returns (optimizer, step); a sweep trains many verifiers of one size and recipe, and compiles once."""
    optimizer = make_optimizer(config)
    return optimizer, make_step(model, config, optimizer)


def run(
    job: TrainingJob,
    checkpoints: Checkpoints,
    on_step: OnStep | None = None,
    stop: Callable[[int], bool] = lambda step: False,
    on_resume: Callable[[int], None] = lambda step: None,
) -> tuple[TrainState, TrainingTotals]:
    """Goes from the newest checkpoint, or from the start, to the last step or until `stop(step)`.

    `stop` is asked after every step, on every process, and must answer alike on all of them; the
    state is then saved before this returns. `on_resume(step)` is told where this attempt starts.

    Raises UserError for a batch without a token to train on, and Diverged for a loss that is no number:
    the state before that step and its batch are then kept beside the checkpoints.
    """
    # 1. Go on from the newest checkpoint, if there is one.
    state, totals = job.fresh(), TrainingTotals()
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), vars(state))
    restored = checkpoints.restore(wanted)
    if restored is not None:
        state, totals = TrainState(**restored[0]), TrainingTotals(**restored[1])
    first = int(state.step)
    on_resume(first)
    started, before = time.monotonic(), totals.seconds
    pending = None  # a step whose metrics were not looked at yet, and the metrics

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
            # 2. Start the step; the metrics of the one before are looked at while the device works.
            members = job.order[step - 1]
            _check_trainable(step, members, job.rows)
            state, metrics = job.step(state, job.batch(step))
            totals.tokens += int(job.rows.tokens[members].sum())
            totals.pairs += int(job.rows.pairs[members].sum())
            report()
            pending = step, metrics
            # 3. Save, after all that is saved was looked at.
            stopped = stop(step)
            if step % job.checkpoint_every == 0 or step == job.steps or stopped:
                report()
                totals.seconds = before + time.monotonic() - started
                checkpoints.save(step, vars(state), dataclasses.asdict(totals))
            if stopped:
                break
    except _NotFinite as failure:
        # 4. A divergence: lead there again, and keep what explains it.
        del state  # the replay needs its memory
        raise _divergence(job, checkpoints, wanted, *failure.args) from None
    return state, totals


class _NotFinite(Exception):
    """A step whose metrics are no numbers; `args` are its number and its metrics."""


def _check_trainable(step: int, members: np.ndarray, rows: Rows) -> None:
    if not rows.trained[members].any():
        raise UserError(
            f"training: the batch of step {step} has no token to train on (rows {', '.join(map(str, members))}); "
            "leave out documents without trained text, or make train.batch_rows larger"
        )


def _divergence(
    job: TrainingJob, checkpoints: Checkpoints, wanted: dict, step: int, values: dict[str, float]
) -> Diverged:
    """Writes `not-finite-<step>/` into the folder of the checkpoints; returns the error that names it.

    In it: a checkpoint of the state before `step`, `batch.npz`, and `step.json` with the metrics, the
    numbers of the rows and the documents in them. `wanted` is the layout of the state.

    The state is gone by now, donated to the step that failed. But a step is a function of the state and of its number,
    so the newest checkpoint and the steps after it lead there again: a run that goes well pays nothing.
    """
    members = job.order[step - 1].tolist()
    folder = checkpoints.directory / f"not-finite-{step}"
    restored = checkpoints.restore(wanted)
    state = job.fresh() if restored is None else TrainState(**restored[0])
    for number in range(int(state.step) + 1, step):
        state, _ = job.step(state, job.batch(number))
    if jax.process_index() == 0:  # an earlier attempt, which came to the same end, may have left it
        shutil.rmtree(folder, ignore_errors=True)
    multihost_utils.sync_global_devices("evidence")
    about: dict[str, Any] = {"step": step, "metrics": {name: str(value) for name, value in values.items()}}
    with Checkpoints(folder, about, keep=1) as evidence:
        evidence.save(step - 1, vars(state), about)
    if jax.process_index() == 0:
        about |= {"rows": members, "lines": [job.rows.lines_of(row) for row in members]}
        write_atomic(folder / "step.json", json.dumps(about, indent=1))
        arrays: dict[str, Any] = job.rows.stacked(members)
        np.savez(folder / "batch.npz", **arrays)
    rows = ", ".join(map(str, members[:NAMED_ROWS])) + (", ..." if len(members) > NAMED_ROWS else "")
    return Diverged(
        f"training: step {step} gave {values} on rows {rows}; the state before it and the batch are in "
        f"{folder}; lower train.learning_rate or raise train.warmup_steps"
    )


def run_identity(model: Model, documents: Sequence[Document], config: TrainConfig, seed: int) -> dict[str, Any]:
    """Returns all that decides the numbers of a run but its first weights, by flat keys that a refusal can name."""
    identity = {f"model.{key}": value for key, value in dataclasses.asdict(model.config).items()}
    settings = config.model_dump(exclude={"checkpoint_every"})
    identity |= {f"train.{key}": value for key, value in settings.items()}
    identity["documents"] = _digest(array for d in documents for array in d.arrays)
    identity["seed"] = seed
    return identity


def _digest(arrays) -> str:
    """Hashes the shapes and contents of arrays to 16 hex digits."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(str(array.shape).encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:16]
