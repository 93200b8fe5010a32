"""One optimizer step, compiled once: gradients over the microbatches, one division, one update.

Pure device arithmetic; the loop around it, with data, checkpoints and reporting, is in fit.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jprm.mesh import sharding
from jprm.models import Model
from jprm.train.config import TrainConfig
from jprm.train.loss import loss_and_weight


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
    """All that a resumed run needs; the step number gives the data. `losses`: (steps,)."""

    step: jax.Array
    params: dict
    optimizer: optax.OptState
    losses: jax.Array


def init_state(
    model: Model, params: dict, optimizer: optax.GradientTransformation, steps: int
) -> TrainState:
    """The state before the first step, laid out over the mesh (the moments as the weights).

    The weights are copied: the state is donated at every step, and the caller keeps its own.
    """

    def placed(x, where):
        return jnp.copy(jax.device_put(x, where))

    params = jax.tree.map(lambda x, spec: placed(x, spec.sharding), params, model.spec())
    everywhere = sharding(model.rules())
    return TrainState(
        step=placed(np.int32(0), everywhere),
        params=params,
        optimizer=jax.jit(optimizer.init)(params),
        losses=placed(np.zeros(steps, np.float32), everywhere),
    )


def make_step(
    model: Model, config: TrainConfig, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """A compiled (state, batch) -> (state, metrics): `loss` per trained token, `grad_norm`.

    The state is donated: the one handed in is gone afterwards. A batch's arrays are (batch_rows,
    row_tokens).
    """

    def loss_of(params, batch):
        if config.compute_dtype != "float32":
            params = jax.tree.map(lambda x: x.astype(config.compute_dtype), params)
        return loss_and_weight(model, params, batch, config.remat)

    sums = jax.value_and_grad(loss_of, has_aux=True)

    def accumulated(params, batch):
        if config.microbatches == 1:
            return sums(params, batch)

        def add(total, microbatch):
            return jax.tree.map(jnp.add, total, sums(params, microbatch)), None

        zero = ((jnp.zeros(()), jnp.zeros(())), jax.tree.map(jnp.zeros_like, params))
        split = {name: _microbatches(x, config.microbatches, model) for name, x in batch.items()}
        return lax.scan(add, zero, split)[0]

    def step(state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        (loss, weight), grads = accumulated(state.params, batch)
        scale = 1 / jnp.maximum(weight, 1)
        loss, grads = loss * scale, jax.tree.map(lambda g: g * scale, grads)
        updates, optimizer_state = _update(optimizer, grads, state)
        params: Any = optax.apply_updates(state.params, updates)
        losses = state.losses.at[state.step].set(loss)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, optimizer_state, losses), metrics

    return jax.jit(step, donate_argnums=0)


def _microbatches(x_BT: jax.Array, microbatches: int, model: Model) -> jax.Array:
    """(microbatches, rows of each, T): each takes a share of the rows that a device holds."""
    rows, tokens = x_BT.shape
    shape = (rows // microbatches, microbatches, tokens)
    split = lax.reshape(x_BT, shape, out_sharding=model.rules("batch", None, None))
    return jnp.swapaxes(split, 0, 1)


def _update(optimizer, grads, state: TrainState):
    """optimizer.update, sharded by the compiler: Muon contracts axes sharded on both sides."""
    arguments = grads, state.optimizer, state.params
    if jax.sharding.get_abstract_mesh().empty:
        return optimizer.update(*arguments)
    layout = jax.tree.map(lambda x: jax.typeof(x).sharding.spec, (state.params, state.optimizer))
    update: Any = jax.sharding.auto_axes(optimizer.update, out_sharding=layout)
    return update(*arguments)
