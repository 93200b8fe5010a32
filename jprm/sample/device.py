"""One slot group on its device: caches, weights, and the programs of a visit in their order.

A group's programs are started by one thread, so that its caches have one owner, and read by another, so that the next
can be started meanwhile. (JAX on a CPU runs the calls of one thread one after the other, those of several side by side.
On an accelerator they queue up, and the gain is that it does not wait for the host.)
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from jprm.errors import UserError
from jprm.mesh import DECODE_RULES
from jprm.models import Model, split_layers
from jprm.sample import cache, decode
from jprm.sample.config import EngineConfig
from jprm.sample.slots import DeviceWork, EngineStats, SlotGroup
from jprm.sampling import SamplingParams

BLOCKS_PER_CALL = 64
_GROWING = threading.Lock()  # groups grow one after another, so that each program is compiled once


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the arrays of one slot group lie: on one device, or on several that share every layer's heads.

    small: the sharding of arrays that every device holds whole. cache: that of the pieces of caches. weights: those of
    the parameters, with stacked layers.
    """

    small: Any
    cache: Any
    weights: dict

    @property
    def one_layer(self) -> dict[str, Any]:
        """The shardings of a single layer's parameters, which have no axis of layers."""
        return {name: _without_first_axis(sharding) for name, sharding in self.weights["layers"].items()}

    def of(self, params: dict) -> dict:
        """The shardings of a model's parameters, whose layers are stacked or a list."""
        if not isinstance(params["layers"], list):
            return self.weights
        return self.weights | {"layers": [self.one_layer] * len(params["layers"])}


def placement_of(model: Model, devices: Sequence[Any]) -> Placement:
    """Says how a model is laid out over the devices of a slot group; they need not be here.

    A vocabulary that does not divide among the devices is held whole by each. Raises UserError when heads or widths do
    not.
    """
    if len(devices) == 1:
        alone = SingleDeviceSharding(devices[0])
        return Placement(alone, alone, jax.tree.map(lambda _: alone, model.spec()))
    mesh = jax.sharding.Mesh(np.array(devices), ("tensor",), axis_types=(AxisType.Auto,))
    c = model.config
    divides = c.vocab_size % len(devices) == 0
    rules = DECODE_RULES if divides else dataclasses.replace(DECODE_RULES, vocab=None)
    with jax.set_mesh(mesh):
        rules.check(dict(heads=c.n_heads, kv_heads=c.n_kv_heads, mlp=c.mlp), "sample")
        spec = dataclasses.replace(model, rules=rules).spec()
    weights = jax.tree.map(lambda leaf: leaf.sharding, spec)
    return Placement(NamedSharding(mesh, PartitionSpec()), cache.cache_sharding(mesh), weights)


def _without_first_axis(sharding: Any) -> Any:
    if isinstance(sharding, SingleDeviceSharding):
        return sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


class Replica:
    """The weights where slot groups run, as `placement_of` lays them out."""

    def __init__(self, model: Model, params, devices: list[Any]):
        """Lay the weights out here, once, from wherever they are. Raises UserError as `placement_of` does."""
        placement = placement_of(model, devices)
        self.small, self.cache = placement.small, placement.cache
        placed = placement.small if len(devices) == 1 else placement.of(params)
        self.params = split_layers(jax.device_put(params, placed))


def device_groups(devices: list[Any], ways: int) -> list[list[Any]]:
    """The devices in groups of `ways`. Raises UserError if there are not that many."""
    if len(devices) < ways:
        raise UserError(f"sample: tensor = {ways} needs as many devices; there are {len(devices)}")
    return [devices[i : i + ways] for i in range(0, len(devices) - ways + 1, ways)]


class GroupRunner:
    """The caches of one slot group, and what runs on them."""

    def __init__(
        self,
        model: Model,
        replica: Replica,
        config: EngineConfig,
        sampling: SamplingParams,
        triggers_V: np.ndarray,
        seed_2: np.ndarray,
        starter: futures.Executor,
    ):
        """Allocate the caches and compile all that runs on them, until they grow."""
        self._model, self._config, self._replica, self._starter = model, config, replica, starter
        self._decode = functools.partial(decode.decode_steps, model, sampling)
        self._reader = futures.ThreadPoolExecutor(1, "sample-read")
        B, rows = config.group_slots, config.group_rows
        dtype = jax.tree.leaves(replica.params)[0].dtype
        own, prefix = (config.entries_for(0, most) for most in (config.slot_entries, config.most_prompt_tokens))
        span = config.attend_span
        self._own = cache.new_cache(model, B, own, dtype, replica.cache, span)
        self._prefix = cache.new_cache(model, rows, prefix, dtype, replica.cache, span) if rows else None
        carry = decode.Carry(jnp.zeros(B, jnp.int32), jnp.zeros(B, bool))
        self._carry, *self._constants = jax.device_put((carry, triggers_V, seed_2), replica.small)
        self._compile()

    def start(self, work: DeviceWork) -> futures.Future:
        """Run a visit; the result is a `SlotOutputs` of numpy arrays."""
        outputs = self._starter.submit(self._run, work)
        return self._reader.submit(lambda: jax.device_get(outputs.result()))

    def _run(self, work: DeviceWork) -> decode.SlotOutputs:
        with _GROWING if self._grow(work) else contextlib.nullcontext():
            return self._visit(work)

    def _grow(self, work: DeviceWork) -> bool:
        """Lengthens the caches where this visit needs longer ones; says whether it did."""
        config, lengths = self._config, self.entries
        decoded, fed = work.decoded_entries, work.fed_entries
        if self._prefix is None:
            wanted = config.entries_for(max(decoded, fed), config.slot_entries, lengths[0]), 0
        else:
            wanted = (
                config.entries_for(decoded, config.slot_entries, lengths[0]),
                config.entries_for(fed, config.most_prompt_tokens, lengths[1]),
            )
        if wanted == lengths:
            return False
        self._own = cache.lengthened(self._own, wanted[0])
        if self._prefix is not None:
            self._prefix = cache.lengthened(self._prefix, wanted[1])
        return True

    @property
    def entries(self) -> tuple[int, int]:
        """Entries of a slot and of a row now."""
        own, prefix = (cache.entries_of(lines) if lines else 0 for lines in (self._own, self._prefix))
        return own, prefix

    def _visit(self, work: DeviceWork) -> decode.SlotOutputs:
        config, params, writes, span = self._config, self._replica.params, work.writes, self._config.attend_span
        # 1. Copy what continued samples hold into their prefix rows.
        if n := len(writes.promotions):
            columns = _padded(writes.promotions, config.group_slots)
            self._prefix = cache.promote(self._prefix, self._own, *columns, n)
        # 2. Feed prompts and long forced texts, into the rows where there are some.
        lines = self._own if self._prefix is None else self._prefix
        for first in range(0, len(writes.blocks), BLOCKS_PER_CALL):
            blocks = writes.blocks[first : first + BLOCKS_PER_CALL]
            arrays = _block_arrays(blocks, config.block_tokens)
            lines = decode.prefill(self._model, params, lines, *arrays, len(blocks), span, config.tensor)
        # 3. Copy fed prompts to the other lines that begin with them.
        if n := len(writes.clones):
            lines = cache.clone(lines, *_padded(writes.clones, config.group_slots), n)
        if self._prefix is None:
            self._own = lines
        else:
            self._prefix = lines
        # 4. Decode.
        self._own, self._carry, outputs = self._decode(
            params, self._own, self._prefix, work.inputs, self._carry, *self._constants, span, config.tensor
        )
        return outputs

    def _compile(self) -> None:
        """Run every program once, with all slots frozen. An unused cache line may hold anything."""
        idle = SlotGroup(self._config, EngineStats()).next_work()
        idle.writes.blocks.append((0, 0, np.zeros(1, np.int32)))
        idle.writes.clones.append((0, 0))
        if self._prefix is not None:
            idle.writes.promotions.append((0, 0, 0, 0))
        self.start(idle).result()


def _padded(rows: list[tuple[int, ...]], n: int) -> np.ndarray:
    """The columns of a list of tuples of equal length, each padded to n."""
    columns = np.zeros((len(rows[0]), n), np.int32)
    columns[:, : len(rows)] = np.array(rows).T
    return columns


def _block_arrays(
    blocks: list[tuple[int, int, np.ndarray]], block_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, lines and first positions of blocks, padded to the one shape that is compiled."""
    ids_MT = np.zeros((BLOCKS_PER_CALL, block_tokens), np.int32)
    line_M, start_M = np.zeros((2, BLOCKS_PER_CALL), np.int32)
    for m, (line, start, ids) in enumerate(blocks):
        ids_MT[m, : len(ids)] = ids
        line_M[m], start_M[m] = line, start
    return ids_MT, line_M, start_M
