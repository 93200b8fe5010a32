"""This file makes the programs of the sampling engine, for one slot group on a slice."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jprm.aot.programs import Program
from jprm.aot.slices import Slice
from jprm.errors import UserError
from jprm.mesh import DECODE_RULES
from jprm.models import PRESETS, Model, ModelConfig, bind, parameter_count, preset
from jprm.models.costs import decode_flops, forward_flops
from jprm.models.hf_config import read_config
from jprm.models.locate import find_directory
from jprm.sample import EngineConfig, cache, decode
from jprm.sample.config import BLOCK_TOKENS, DECODE_STEPS
from jprm.sample.device import BLOCKS_PER_CALL, Placement, placement_of
from jprm.sample.memory import engine_memory
from jprm.sample.slots import EngineStats, SlotGroup
from jprm.sampling import SamplingParams

BYTES = 2  # of a number in bf16
VOCAB_SIZE = 151_936  # of a preset: that of Qwen2.5 up to 3B
LARGE_VOCAB_SIZES = {"qwen2.5-7b": 152_064, "qwen2.5-32b": 152_064}
KNOB = "take fewer --slots, a smaller --context, or more devices for a group with --tensor"
SAMPLING = SamplingParams(temperature=0.6, top_k=20, top_p=0.95)  # other numbers are programs of the same size


def sizes_of(model: str) -> ModelConfig:
    """Returns the sizes of a checkpoint in a directory, or those of a preset with its published vocabulary.

    Raises UserError for what is neither.
    """
    if model in PRESETS:
        return preset(model, LARGE_VOCAB_SIZES.get(model, VOCAB_SIZE))
    return read_config(find_directory(model, "--model"))


def engine_config(slots: int, context: int, prefix_rows: int, tensor: int) -> EngineConfig:
    """Returns the sizes of one slot group as `evaluate` has it on an accelerator.

    With prefix rows a shared prompt may take half of the context.
    """
    shared = {"prefix_tokens": context // 2, "own_tokens": context // 2} if prefix_rows else {}
    return EngineConfig(
        slots=slots,
        slot_groups=1,
        context_tokens=context,
        block_tokens=min(BLOCK_TOKENS, context),
        decode_steps=DECODE_STEPS,
        prefix_rows=prefix_rows,
        tensor=tensor,
        **shared,
    )


def decoding_programs(sizes: ModelConfig, config: EngineConfig, on: Slice) -> list[Program]:
    """Returns the two programs that a slot group runs in bfloat16: one decodes, the other feeds a block of a prompt.

    Raises UserError where the model does not divide over the devices of a group, or does not fit into their memory.
    """
    if config.tensor > len(on.devices):
        raise UserError(f"--tensor {config.tensor}: {on.name} has {len(on.devices)} devices")
    memory = engine_memory(sizes, config, BYTES, config.tensor)
    memory.check(int(on.chip.memory_bytes), f"a chip of {on.name}")
    model = bind(sizes, DECODE_RULES)
    placement = placement_of(model, on.devices[: config.tensor])
    params = _shapes(model, placement)

    def lines(count: int, entries: int) -> Any:
        return cache.cache_shapes(model, count, entries, jnp.bfloat16, placement.cache, config.attend_span)

    own = lines(config.group_slots, config.slot_entries)
    rows = lines(config.group_rows, config.most_prompt_tokens) if config.prefix_rows else None

    def shaped(x: Any) -> Any:
        x = np.asarray(x)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement.small)

    def decoded() -> Any:
        slots = config.group_slots
        work = jax.tree.map(shaped, SlotGroup(config, EngineStats()).next_work().inputs)
        carry = decode.Carry(shaped(np.zeros(slots, np.int32)), shaped(np.zeros(slots, bool)))
        triggers, seed = shaped(np.zeros(sizes.vocab_size, bool)), shaped(np.zeros(2, np.uint32))
        arguments = model, SAMPLING, params, own, rows, work, carry, triggers, seed
        return decode.decode_steps.lower(*arguments, config.attend_span, config.tensor)

    def fed() -> Any:
        block = shaped(np.zeros((BLOCKS_PER_CALL, config.block_tokens), np.int32))
        numbers, count = shaped(np.zeros(BLOCKS_PER_CALL, np.int32)), shaped(np.int32(0))
        where = own if rows is None else rows
        return decode.prefill.lower(
            model, params, where, block, numbers, numbers, count, config.attend_span, config.tensor
        )

    def program(name: str, lower: Callable[[], Any], flops: float, read: int, tokens: int) -> Program:
        devices = config.tensor
        return Program(name, lower, devices, flops, read // devices, tokens, memory.total_bytes, KNOB)

    weights = BYTES * parameter_count(sizes)
    caches = config.tensor * (memory.slots * memory.slot_bytes + memory.rows * memory.row_bytes)
    steps, block, context = config.decode_steps, config.block_tokens, config.most_prompt_tokens
    drawn = config.group_slots * steps
    drawing, feeding = decode_flops(sizes, context, 1) * drawn, forward_flops(sizes, block, block * context, 0)
    return [
        program(f"decode, {steps} steps", decoded, drawing, steps * (weights + caches), drawn),
        program(f"prefill, a block of {block}", fed, feeding, weights, block),
    ]


def _shapes(model: Model, placement: Placement) -> dict:
    """Returns the parameters in bfloat16 as shapes, with a list of layers as the engine holds them."""

    def shaped(leaf: Any, where: Any, stacked: bool = False) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[stacked:], jnp.bfloat16, sharding=where)

    spec = model.spec()
    layer = {name: shaped(leaf, placement.one_layer[name], True) for name, leaf in spec["layers"].items()}
    ends = {name: shaped(leaf, placement.weights[name]) for name, leaf in spec.items() if name != "layers"}
    return ends | {"layers": [layer] * model.config.n_layers}
