"""One optimizer step, compiled once: gradients over the microbatches, one division, one update.

Pure device arithmetic; the loop around it, with data, checkpoints and reporting, is in loop.py.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jprm.errors import UserError
from jprm.mesh import sharding
from jprm.models import Model
from jprm.models.attention import kernel_in_use
from jprm.train import lora
from jprm.train.config import TrainConfig
from jprm.train.loss import OBJECTIVES, Objective


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
    """Holds all that a resumed run needs; the step number gives the data. `losses` (steps,) are those of all steps."""

    step: jax.Array
    params: dict
    optimizer: optax.OptState
    losses: jax.Array


def init_state(model: Model, params: dict, optimizer: optax.GradientTransformation, steps: int) -> TrainState:
    """Returns the state before the first step, laid out over the mesh (the moments as the weights).

    params: what is trained: the model's weights, adapters (under "lora"), a step head. The weights
    are copied: the state is donated at every step, and the caller keeps its own.
    """

    def placed(x, where):
        return jnp.copy(jax.device_put(x, where))

    params = jax.tree.map(placed, params, shardings(model, params))
    everywhere = sharding(model.rules())
    return TrainState(
        step=placed(np.int32(0), everywhere),
        params=params,
        optimizer=jax.jit(optimizer.init)(params),
        losses=placed(np.zeros(steps, np.float32), everywhere),
    )


def shardings(model: Model, params: dict) -> dict:
    """Returns the shardings of `params`: the model's rules lay its weights out, all else is whole everywhere."""
    everywhere = sharding(model.rules())
    known = {name: jax.tree.map(lambda spec: spec.sharding, part) for name, part in model.spec().items()}
    return {name: known.get(name, jax.tree.map(lambda _: everywhere, part)) for name, part in params.items()}


def make_step(
    model: Model,
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    objective: Objective | None = None,
    frozen: dict | None = None,
) -> "CompiledStep":
    """Makes a compiled (state, batch) -> (state, metrics); the metrics are `loss` per unit of weight and `grad_norm`.

    The state is donated: the one handed in is gone afterwards. A batch's arrays are (batch_rows, row_tokens).

    objective: gives (sum, weight) of a batch; None takes that which `config.objective` names.
    frozen: weights that are not trained, laid out over the mesh, or their shapes for `CompiledStep.lower`.
        With `config.lora` the state's "lora" goes beside them.

    Raises UserError for an attention kernel that cannot run here.
    """
    measure = OBJECTIVES[config.objective] if objective is None else objective
    kernel_in_use(config.attention, config.compute_dtype, config.row_tokens)
    cast = functools.partial(jax.tree.map, lambda x: x.astype(config.compute_dtype))
    if config.lora.rank and frozen is None:
        raise UserError("train.lora: adapters need the frozen weights that they lie beside")
    if frozen is not None:
        shapes = isinstance(jax.tree.leaves(frozen)[0], jax.ShapeDtypeStruct)
        frozen = jax.eval_shape(cast, frozen) if shapes else cast(frozen)

    def loss_of(trained, frozen, batch):
        params = trained
        if frozen is not None:
            rest = {name: part for name, part in trained.items() if name != lora.LORA}
            params = frozen | rest
        if lora.LORA in trained:
            params = lora.attach(params, trained[lora.LORA], config.lora)
        return measure(model, params, batch, config)

    sums = jax.value_and_grad(loss_of, has_aux=True)

    def accumulated(params, frozen, batch):
        params = cast(params)  # outside of `sums`, because the gradients of 16-bit weights have 16 bits
        if config.microbatches == 1:
            return sums(params, frozen, batch)

        def add(total, microbatch):
            return jax.tree.map(jnp.add, total, sums(params, frozen, microbatch)), None

        zero_grads = jax.tree.map(lambda x: jnp.zeros_like(x, dtype=jnp.float32), params)
        zero = ((jnp.zeros(()), jnp.zeros(())), zero_grads)
        split = {name: _microbatches(x, config.microbatches, model) for name, x in batch.items()}
        return lax.scan(add, zero, split)[0]

    def step(state: TrainState, batch: dict, frozen: dict | None) -> tuple[TrainState, dict]:
        (loss, weight), grads = accumulated(state.params, frozen, batch)
        scale = 1 / jnp.maximum(weight, 1)
        loss, grads = loss * scale, jax.tree.map(lambda g: g.astype(jnp.float32) * scale, grads)
        updates, optimizer_state = _update(optimizer, grads, state)
        params: Any = optax.apply_updates(state.params, updates)
        losses = state.losses.at[state.step].set(loss)
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, optimizer_state, losses), metrics

    return CompiledStep(jax.jit(step, donate_argnums=0), frozen)


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledStep:
    """A compiled step, and the frozen weights that it takes as further arguments, not as constants."""

    compiled: Any
    frozen: dict | None

    def __call__(self, state: TrainState, batch: dict) -> tuple[TrainState, dict]:
        """Takes the step; the state is gone afterwards."""
        return self.compiled(state, batch, self.frozen)

    def lower(self, state: TrainState, batch: dict):
        """Lowers the step as a jitted function does, so that the compiler can be asked about it."""
        return self.compiled.lower(state, batch, self.frozen)


def _microbatches(x_BT: jax.Array, microbatches: int, model: Model) -> jax.Array:
    """Splits the rows as (microbatches, rows of each, T); each microbatch takes a share of every device's rows."""
    rows, tokens = x_BT.shape
    shape = (rows // microbatches, microbatches, tokens)
    split = lax.reshape(x_BT, shape, out_sharding=model.rules("batch", None, None))
    return jnp.swapaxes(split, 0, 1)


def _update(optimizer, grads, state: TrainState):
    """Updates with shardings that the compiler chooses: Muon contracts axes that are sharded on both sides."""
    arguments = grads, state.optimizer, state.params
    if jax.sharding.get_abstract_mesh().empty:
        return optimizer.update(*arguments)
    layout = jax.tree.map(lambda x: jax.typeof(x).sharding.spec, (state.params, state.optimizer))
    update: Any = jax.sharding.auto_axes(optimizer.update, out_sharding=layout)
    return update(*arguments)
