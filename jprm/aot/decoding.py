"""The programs of the sampling engine for a model, as programs for one slot group on a slice."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from jprm.aot.programs import Program
from jprm.aot.slices import Slice
from jprm.errors import UserError
from jprm.mesh import DECODE_RULES
from jprm.models import PRESETS, ModelConfig, bind, parameter_count, preset
from jprm.models.costs import decode_flops, forward_flops
from jprm.models.hf_config import read_config
from jprm.models.locate import find_directory
from jprm.sample import EngineConfig, cache, decode
from jprm.sample.device import BLOCKS_PER_CALL
from jprm.sample.memory import engine_memory
from jprm.sample.slots import EngineStats, SlotGroup
from jprm.sampling import SamplingParams

BYTES = 2  # of a number in bf16
PUBLISHED_VOCAB = 151_936  # of Qwen2.5 up to 3B; the larger ones have 152,064
KNOB = "fewer --slots, a smaller --context, or more devices of a group with --tensor"


SAMPLING = SamplingParams(temperature=0.6, top_k=20, top_p=0.95)  # other numbers are programs of the same size
BLOCK_TOKENS, DECODE_STEPS = 256, 16  # as `jprm.tasks.samplers.choose_sizes` has them on accelerators


def sizes_of(model: str) -> ModelConfig:
    """The sizes of a checkpoint's directory, or of a preset with its published vocabulary.

    Raises UserError for what is neither.
    """
    if model in PRESETS:
        return preset(model, PUBLISHED_VOCAB)
    return read_config(find_directory(model, "--model"))


def engine_config(slots: int, context: int, prefix_rows: int, tensor: int) -> EngineConfig:
    """One slot group as `evaluate` has it on an accelerator; a shared prompt may take half of the context."""
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
    """What one slot group runs: the feeding of a call's blocks of prompts, and the decode steps of a visit, in bf16.

    Raises UserError where the model does not divide over the devices of a group, or does not fit into their memory.
    """
    if config.tensor > len(on.devices):
        raise UserError(f"--tensor {config.tensor}: {on.name} has {len(on.devices)} devices")
    memory = engine_memory(sizes, config, BYTES, config.tensor)
    memory.check(on.chip.hbm_bytes, f"a chip of {on.name}")
    model, params, small, lines = _laid_out(sizes, on.devices[: config.tensor])
    own = cache.cache_shapes(model, config.group_slots, config.slot_entries, jnp.bfloat16, lines, config.attend_span)
    rows = None
    if config.prefix_rows:
        rows = cache.cache_shapes(
            model, config.group_rows, config.most_prompt_tokens, jnp.bfloat16, lines, config.attend_span
        )

    def shaped(x: Any) -> Any:
        x = np.asarray(x)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=small)

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


def _laid_out(sizes: ModelConfig, devices: tuple[Any, ...]) -> tuple[Any, dict, Any, Any]:
    """The model, its parameters in bf16, and the shardings of small arrays and of caches, as `Replica` has them."""
    if len(devices) == 1:
        model, alone = bind(sizes, DECODE_RULES), SingleDeviceSharding(devices[0])
        return model, _split(model.spec(), lambda leaf, stacked: alone), alone, alone
    model, mesh = bind(sizes, DECODE_RULES), Mesh(np.array(devices), ("tensor",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        c = sizes
        model.rules.check(dict(heads=c.n_heads, kv_heads=c.n_kv_heads, mlp=c.mlp, vocab=c.vocab_size), "--tensor")
        spec = model.spec()

    def where(leaf: jax.ShapeDtypeStruct, stacked: bool) -> NamedSharding:
        assert leaf.sharding is not None
        return NamedSharding(mesh, PartitionSpec(*leaf.sharding.spec[stacked:]))

    return model, _split(spec, where), NamedSharding(mesh, PartitionSpec()), cache.cache_sharding(mesh)


def _split(spec: dict, where: Callable[[Any, bool], Any]) -> dict:
    """The parameters as `split_layers` gives them: a list of layers."""
    layers = spec["layers"]
    depth = layers["q"].shape[0]

    def shaped(leaf: jax.ShapeDtypeStruct, stacked: bool) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape[stacked:], jnp.bfloat16, sharding=where(leaf, stacked))

    ends = {
        name: jax.tree.map(lambda leaf: shaped(leaf, False), part) for name, part in spec.items() if name != "layers"
    }
    return ends | {"layers": [{name: shaped(leaf, True) for name, leaf in layers.items()} for _ in range(depth)]}
