"""One training run, ready to go: what a step is, what it starts from, and which rows it takes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax

from jprm.data import Order, Rows
from jprm.mesh import sharding
from jprm.models import Model
from jprm.train.config import TrainConfig
from jprm.train.head import KEY as HEAD
from jprm.train.head import init_head
from jprm.train.lora import KEY as LORA
from jprm.train.lora import init_adapters, merge
from jprm.train.optimizer import make_optimizer
from jprm.train.step import TrainState, init_state, make_step


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One training run, ready to go: `fresh()` makes the state before its first step.

    `step` is a compiled (state, batch) -> (state, metrics). Batch i consists of rows `order[i]`, laid
    out by `layout` (None: one device). `finished(trained)` makes a model's parameters of a state's:
    adapters are merged.
    """

    fresh: Callable[[], TrainState]
    finished: Callable[[dict], dict]
    step: Callable[[TrainState, dict], tuple[TrainState, dict]]
    rows: Rows
    order: Order
    layout: jax.sharding.NamedSharding | None
    steps: int
    checkpoint_every: int


def make_job(model: Model, params: Callable[[], dict], rows: Rows, config: TrainConfig, seed: int) -> Job:
    """The job of a model that starts from `params()` under the mesh in force."""
    hashable: Any = config  # frozen, so pydantic gives it a hash; its annotations do not say so
    head = {HEAD: init_head(model.config)} if config.objective == "step_head" else {}
    if config.lora.rank:
        optimizer = make_optimizer(config)
        step = make_step(model, config, optimizer, frozen=params())
    else:
        optimizer, step = _program(model, hashable)

    def trained() -> dict:
        if config.lora.rank:
            return {LORA: init_adapters(model, config.lora, seed)} | head
        return params() | head

    def finished(trained: dict) -> dict:
        if not config.lora.rank:
            return trained
        rest = {name: part for name, part in trained.items() if name != LORA}
        return merge(params(), trained[LORA], config.lora) | rest

    return Job(
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
    """(optimizer, step): a sweep trains many verifiers of one size and recipe, and compiles once."""
    optimizer = make_optimizer(config)
    return optimizer, make_step(model, config, optimizer)
