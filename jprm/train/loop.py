"""The training loop: packed data in, trained parameters out, and a run that can be killed anywhere.

What a step computes is a function of (documents, config, seed, step number) alone, so a run resumed
from its newest checkpoint ends with the same bits as one that was never stopped.
"""

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jprm.data import Document, batches, plan, rows
from jprm.errors import Diverged
from jprm.mesh import sharding
from jprm.models import Model
from jprm.models.costs import forward_flops
from jprm.train.checkpoint import Checkpoints
from jprm.train.config import TrainConfig
from jprm.train.optimizer import make_optimizer
from jprm.train.step import TrainState, init_state, make_step


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
class _Progress:
    """Sums over the steps so far; saved with each checkpoint."""

    tokens: int = 0
    pairs: int = 0  # (query, key) pairs that attention scored, for the FLOPs
    seconds: float = 0.0

    def add(self, batch: dict) -> None:
        real = batch["segments"] > 0
        self.tokens += int(real.sum())
        self.pairs += int((batch["positions"][real] + 1).sum())


def fit(
    model: Model,
    params: dict,
    documents: Sequence[Document],
    config: TrainConfig,
    seed: int,
    directory: Path,
    on_step: Callable[[int, dict], None] | None = None,
) -> FitResult:
    """Trains `params` on the documents; resumes from the newest checkpoint in `directory`, exactly.

    `params` are left as they are. `on_step(step, metrics)` is called once for every step (counted
    from 1) of this sitting with floats `loss` and `grad_norm`, one step late: the device works on
    the next one meanwhile. Raises UserError when the loss stops being a number, when no document
    fits into a row, or when the directory holds the checkpoints of another run.
    """
    layout = plan([len(d) for d in documents], config.row_tokens, seed)
    packed = rows(documents, layout)
    data = batches(packed, config.batch_rows, seed)
    fill = float((packed["segments"] > 0).mean())
    hashable: Any = config  # frozen, so pydantic gives it a hash; its annotations do not say so
    optimizer, step_fn = _program(model, hashable)
    state = init_state(model, params, optimizer, config.steps)
    batch_sharding = sharding(model.rules("batch", None))
    progress = _Progress()
    with Checkpoints(directory, _identity(model, params, documents, config, seed)) as checkpoints:
        restored = checkpoints.restore(_as_dict(state))
        if restored is not None:
            state, progress = TrainState(**restored[0]), _Progress(**restored[1])
        started, before = time.monotonic(), progress.seconds
        pending = None
        for step in range(int(state.step), config.steps):
            batch: Any = data[step]
            progress.add(batch)
            state, metrics = step_fn(state, jax.device_put(batch, batch_sharding))
            if pending is not None:
                _report(*pending, on_step)
            pending = step + 1, metrics
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                _report(*pending, on_step)  # a checkpoint never holds a step that was not looked at
                pending = None
                progress.seconds = before + time.monotonic() - started
                checkpoints.save(step + 1, _as_dict(state), dataclasses.asdict(progress))
    return FitResult(
        params=state.params,
        losses=np.asarray(state.losses),
        tokens=progress.tokens,
        flops=3 * forward_flops(model.config, progress.tokens, progress.pairs, progress.tokens),
        seconds=progress.seconds,
        too_long=layout.too_long,
        fill=fill,
    )


@functools.lru_cache(maxsize=16)
def _program(model: Model, config: TrainConfig):
    """(optimizer, step): a sweep trains many verifiers of one size and recipe, and compiles once."""
    optimizer = make_optimizer(config)
    return optimizer, make_step(model, config, optimizer)


def _report(step: int, metrics: dict, on_step: Callable[[int, dict], None] | None) -> None:
    values = {name: float(value) for name, value in metrics.items()}
    if not all(map(math.isfinite, values.values())):
        raise Diverged(
            f"training: step {step} gave {values}; lower train.learning_rate "
            "or raise train.warmup_steps"
        )
    if on_step is not None:
        on_step(step, values)


def _as_dict(state: TrainState) -> dict:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def _identity(model, params, documents, config: TrainConfig, seed: int) -> dict:
    """What decides the numbers of a run: flat keys, so that a refusal can name them."""
    identity = {f"model.{key}": value for key, value in dataclasses.asdict(model.config).items()}
    settings = config.model_dump(exclude={"checkpoint_every"})
    identity |= {f"train.{key}": value for key, value in settings.items()}
    identity["documents"] = _digest(array for d in documents for array in (d.ids, d.weights))
    identity["initial_parameters"] = _digest(map(np.asarray, jax.tree.leaves(params)))
    identity["seed"] = seed
    return identity


def _digest(arrays) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
