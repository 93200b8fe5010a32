"""One bank on its device: caches, weights, and the programs of a visit in their order.

A bank's programs are started by one thread, so that its caches have one owner, and read by another,
so that the next can be started meanwhile. (JAX on a CPU runs the calls of one thread one after the
other, those of several side by side. On an accelerator they queue up, and the gain is that it does
not wait for the host.)
"""

import dataclasses
import time
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from jprm.errors import UserError
from jprm.mesh import DECODE_RULES
from jprm.models import Model, split_layers
from jprm.sample import decode
from jprm.sample.bank import Bank, Work
from jprm.sample.config import EngineConfig, SamplingParams

_BLOCKS_PER_CALL = 64


class Place:
    """Where a bank lives: one device, or several that share every layer's heads."""

    def __init__(self, model: Model, params, devices: list[Any]):
        """Lay the weights out here, once, from wherever they are.

        A vocabulary that does not divide among the devices is held whole by each. Raises UserError
        when heads or widths do not.
        """
        self.device = devices[0]
        if len(devices) == 1:
            self.small = self.cache = SingleDeviceSharding(devices[0])
            self.params = split_layers(jax.device_put(params, self.small))
            return
        mesh = jax.sharding.Mesh(np.array(devices), ("tensor",), axis_types=(AxisType.Auto,))
        self.small = NamedSharding(mesh, PartitionSpec())
        self.cache = NamedSharding(mesh, PartitionSpec(None, "tensor"))
        divides = model.config.vocab_size % len(devices) == 0
        rules = DECODE_RULES if divides else dataclasses.replace(DECODE_RULES, vocab=None)
        with jax.set_mesh(mesh):
            c = model.config
            rules.check(dict(heads=c.n_heads, kv_heads=c.n_kv_heads, mlp=c.mlp), "sample")
            spec = dataclasses.replace(model, rules=rules).spec()
        shardings = jax.tree.map(lambda leaf: leaf.sharding, spec)
        self.params = split_layers(jax.device_put(params, shardings))


class DeviceBank:
    """The caches of one bank, and what runs on them."""

    def __init__(
        self,
        model: Model,
        place: Place,
        config: EngineConfig,
        sampling: SamplingParams,
        triggers_V: np.ndarray,
        seed_2: np.ndarray,
        starter: futures.Executor,
    ):
        """Allocate the caches and compile all that will ever run."""
        self._model, self._config, self._sampling = model, config, sampling
        self._place, self._starter = place, starter
        self._reader = futures.ThreadPoolExecutor(1, "sample-read")
        dtype = jax.tree.leaves(place.params)[0].dtype
        new = lambda lines, slots: decode.new_cache(model, lines, slots, dtype, place.cache)  # noqa: E731
        self._own = new(config.bank_lanes, config.slots)
        rows = config.bank_rows
        self._prefix = new(rows, config.most_prompt_tokens) if rows else None
        put = lambda x: jax.device_put(x, place.small)  # noqa: E731
        self._triggers_V, self._seed_2 = put(triggers_V), put(seed_2)
        lanes = config.bank_lanes
        self._carry = put(decode.Carry(jnp.zeros(lanes, jnp.int32), jnp.zeros(lanes, bool)))
        self._warm_up()

    def start(self, work: Work) -> futures.Future:
        """Run a visit; the result is (tokens_BC, ran_B, stopped_B, watched_BCW), and its seconds."""
        started = time.perf_counter()
        outputs = self._starter.submit(self._run, work)

        def read():
            return jax.device_get(tuple(outputs.result())), time.perf_counter() - started

        return self._reader.submit(read)

    def _run(self, work: Work) -> decode.LaneOutputs:
        params = self._place.params
        if work.promotions:
            columns = _padded(work.promotions, self._config.bank_lanes)
            count = len(work.promotions)
            self._prefix = decode.promote(self._prefix, self._own, *columns, count)
        cache = self._own if self._prefix is None else self._prefix
        for first in range(0, len(work.blocks), _BLOCKS_PER_CALL):
            blocks = work.blocks[first : first + _BLOCKS_PER_CALL]
            arrays = _block_arrays(blocks, self._config.block_tokens)
            cache = decode.prefill(self._model, params, cache, *arrays, len(blocks), self._config.attend_span)
        if work.clones:
            pairs = _padded(work.clones, self._config.bank_lanes)
            cache = decode.clone(cache, *pairs, len(work.clones))
        if self._prefix is None:
            self._own = cache
        else:
            self._prefix = cache
        self._own, self._carry, outputs = decode.chunk(
            self._model,
            self._sampling,
            params,
            self._own,
            self._prefix,
            work.lanes,
            self._carry,
            self._triggers_V,
            self._seed_2,
            self._config.attend_span,
        )
        return outputs

    def _warm_up(self) -> None:
        """Run every program once, with all lanes frozen. An unused line may hold anything."""
        idle = Bank(self._config).work()
        idle.blocks.append((0, 0, np.zeros(1, np.int32)))
        idle.clones.append((0, 0))
        if self._prefix is not None:
            idle.promotions.append((0, 0, 0, 0))
        self.start(idle).result()


def device_groups(devices: list[Any], ways: int) -> list[list[Any]]:
    """The devices in groups of `ways`. Raises UserError if there are not that many."""
    if len(devices) < ways:
        raise UserError(f"sample: tensor = {ways} needs as many devices; there are {len(devices)}")
    return [devices[i : i + ways] for i in range(0, len(devices) - ways + 1, ways)]


def _padded(rows: list[tuple[int, ...]], n: int) -> tuple[np.ndarray, ...]:
    """Columns of a list of tuples of equal length, padded to n."""
    columns = np.zeros((len(rows[0]), n), np.int32)
    columns[:, : len(rows)] = np.array(rows).T
    return tuple(columns)


def _block_arrays(
    blocks: list[tuple[int, int, np.ndarray]], block_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, lines and first positions of blocks, padded to the one shape that is compiled."""
    ids_MT = np.zeros((_BLOCKS_PER_CALL, block_tokens), np.int32)
    line_M, start_M = np.zeros((2, _BLOCKS_PER_CALL), np.int32)
    for m, (line, start, ids) in enumerate(blocks):
        ids_MT[m, : len(ids)] = ids
        line_M[m], start_M[m] = line, start
    return ids_MT, line_M, start_M
