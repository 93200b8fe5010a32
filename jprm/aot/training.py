"""This file makes the training step of a configuration, as a program for a slice."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from optax import GradientTransformation

from jprm.aot.programs import Program
from jprm.aot.slices import Slice
from jprm.mesh import make_mesh, sharding
from jprm.models import Model, ModelConfig, bind, parameter_count, preset
from jprm.models.costs import train_flops
from jprm.models.hf_config import read_config
from jprm.models.locate import find_directory
from jprm.tokenizer import Tokenizer
from jprm.train.config import RunConfig, TrainConfig
from jprm.train.distributed import mesh_of
from jprm.train.lora import LORA, init_adapters
from jprm.train.loss import STEP_HEAD, init_head
from jprm.train.memory import SETTINGS, step_memory
from jprm.train.optimizer import make_optimizer
from jprm.train.step import TrainState, make_step, shardings

BATCH = {"ids": jnp.int32, "positions": jnp.int32, "segments": jnp.int32, "weights": jnp.float32}
TARGETS = {"targets": jnp.float32}  # of a step head


def model_config(config: RunConfig) -> ModelConfig:
    """Returns the sizes of the model of a run. Of a checkpoint only its config.json is read.

    A preset has the vocabulary of `data.tokenizer`, or the `data.vocab_size` tokens that would be learnt.
    Raises UserError for what cannot be read.
    """
    if config.model.checkpoint is not None:
        return read_config(find_directory(config.model.checkpoint, "model.checkpoint"))
    assert config.model.preset is not None
    vocab = config.data.vocab_size
    if config.data.tokenizer is not None:
        vocab = Tokenizer.load(config.data.tokenizer).vocab_size
    return preset(config.model.preset, -(-vocab // 8) * 8)


def training_program(config: RunConfig, on: Slice) -> Program:
    """Returns the step that `python -m jprm train` would run on this slice, with a mesh over the slice's devices.

    Raises UserError where rows or widths do not divide over the mesh.
    """
    recipe = config.train
    mesh = mesh_of(config.mesh, recipe.batch_rows, recipe.microbatches, on.devices)
    mesh = mesh or make_mesh(devices=on.devices)  # a run on one device needs none, but the compiler is told which
    sizes = model_config(config)
    with jax.set_mesh(mesh):
        model, optimizer = bind(sizes), make_optimizer(recipe)
        plan = step_memory(model, recipe, optimizer, elsewhere="tpu")

    def lower() -> Any:
        with jax.set_mesh(mesh):
            trained, frozen = model.spec(), None
            if recipe.lora.rank:
                frozen, trained = trained, {LORA: init_adapters(model, recipe.lora, config.seed)}
            if recipe.objective == "step_head":
                trained[STEP_HEAD] = init_head(sizes)
            step = make_step(model, recipe, optimizer, frozen=frozen)
            return step.lower(_state(model, trained, optimizer, recipe.steps), _batch(model, recipe))

    tokens = recipe.batch_rows * recipe.row_tokens
    largest = max(SETTINGS, key=lambda name: plan.parts[name])
    shard = 4 * parameter_count(sizes) // mesh.size
    return Program(
        "training step",
        lower,
        devices=mesh.size,
        flops=train_flops(sizes, tokens, recipe.row_tokens),
        read_bytes=3 * shard,  # weights and both moments once
        tokens=tokens,
        planned_bytes=plan.total,
        knob=f"most is {largest} by our plan: try {SETTINGS[largest]}",
    )


def _state(model: Model, trained: dict, optimizer: GradientTransformation, steps: int) -> TrainState:
    everywhere = sharding(model.rules())

    def number(shape: tuple[int, ...], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=everywhere)

    def placed_as(x: Any, where: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)

    placed = jax.tree.map(placed_as, trained, shardings(model, trained))
    moments = jax.eval_shape(optimizer.init, placed)
    return TrainState(number((), np.int32), placed, moments, number((steps,), np.float32))


def _batch(model: Model, recipe: TrainConfig) -> dict[str, jax.ShapeDtypeStruct]:
    shape, rows = (recipe.batch_rows, recipe.row_tokens), sharding(model.rules("batch", None))
    types = BATCH | (TARGETS if recipe.objective == "step_head" else {})
    return {name: jax.ShapeDtypeStruct(shape, dtype, sharding=rows) for name, dtype in types.items()}
