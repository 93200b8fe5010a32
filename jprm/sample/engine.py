"""The sampling engine: requests in, events out, token ids only.

Lanes are grouped into banks. Each bank has its own cache and its own thread: while one bank's chunk
runs, the host reads another's and schedules it. (JAX on CPU runs calls from one thread one after
the other, from several side by side; on an accelerator they queue up, and the point is the overlap
with the host.)

Invariant: the tokens and log-probabilities of a sample are a function of (parameters, seed, sample
id, prompt, forced tokens) and of the engine's sizes: never of its lane, its neighbours, the order
of requests or the latency of tools.
"""

import time
from collections.abc import Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from jprm.errors import UserError
from jprm.models import Model
from jprm.sample import decode
from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.schedule import Event, Schedule, Stats, Work

_BLOCKS_PER_CALL = 64


class Engine:
    """Samples continuations of prompts, stops at stop ids, takes forced tokens, and goes on."""

    def __init__(
        self, model: Model, params, config: EngineConfig, sampling: SamplingParams, seed: int
    ):
        """Allocate the caches and compile everything that will run. No mesh must be in force.

        Engines of the same model object, sampling and sizes share their compiled programs.
        Raises UserError for a seed that is not a 63-bit integer.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"sample: seed = {seed} must be from 0 to 2**63 - 1")
        self._model, self._params, self._sampling = model, params, sampling
        self._config = config
        self._seed_2 = _halves(np.array([seed], np.uint64))[0]
        self._schedule = Schedule(config, model.config.vocab_size)
        dtype = jax.tree.leaves(params)[0].dtype
        self._caches = [
            decode.new_cache(model, config.bank_lanes, config.slots, dtype)
            for _ in range(config.banks)
        ]
        self._threads = futures.ThreadPoolExecutor(config.banks, "sample-bank")
        self._flights: dict[futures.Future, tuple[int, Work]] = {}
        self._warm_up()

    @property
    def stats(self) -> Stats:
        """Counts since the engine was made."""
        return self._schedule.stats

    @property
    def busy(self) -> bool:
        """Whether `poll` would get anything done: chunks in flight, lanes running, or queued
        samples with a free lane.

        False while every lane waits for `extend` or `release`.
        """
        schedule = self._schedule
        return bool(self._flights or schedule.events or any(map(schedule.can_run, schedule.banks)))

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int,
        stops: Sequence[int] = (),
        watch: Sequence[int] = (),
    ) -> list[int]:
        """Queue one sample of up to max_tokens tokens for each id; returns their handles.

        The prompt is filled in once and cloned into the lanes of samples that start together or
        while a sibling is still in its lane. Sample ids are 63-bit; equal ids give equal samples.
        `stops` hold for the handle's whole life and end a stretch only when drawn, not when forced.
        Raises UserError, before anything runs, for an empty prompt, no sample ids, token ids
        outside the vocabulary, or a prompt that leaves no room for max_tokens.
        """
        return self._schedule.submit(prompt, sample_ids, max_tokens, stops, watch)

    def extend(self, handle: int, tokens: Sequence[int], *, max_tokens: int) -> None:
        """Force tokens on a stopped handle, then let it draw up to max_tokens more.

        With max_tokens 0 it stops again at once with an empty event. Splitting a forced text over
        several such calls changes nothing. Raises UserError for a handle that is not stopped, and
        when the context is too short.
        """
        self._schedule.extend(handle, tokens, max_tokens)

    def release(self, handle: int) -> None:
        """Forget a handle in any state and free its lane. Every handle must be released in the end."""
        self._schedule.release(handle)

    def room(self, handle: int) -> int:
        """How many more tokens, forced and drawn together, fit into this handle's context."""
        return self._schedule.room(handle)

    def poll(self) -> list[Event]:
        """Start a chunk on every idle bank, wait for one to end, return the handles that stopped in
        it.

        Empty when no handle stopped, or when nothing could run (`busy` tells which).
        """
        schedule = self._schedule
        flying = {bank for bank, _ in self._flights.values()}
        for i, bank in enumerate(schedule.banks):
            if i not in flying and schedule.can_run(bank):
                work = schedule.work(bank)
                self._flights[self._threads.submit(self._visit, i, work)] = i, work
        if not schedule.events and self._flights:
            done, _ = futures.wait(self._flights, return_when=futures.FIRST_COMPLETED)
            for future in done:
                i, work = self._flights.pop(future)
                outputs, seconds = future.result()
                schedule.stats.device_s += seconds
                schedule.absorb(schedule.banks[i], work, *outputs)
        return schedule.take_events()

    def _visit(self, i: int, work: Work):
        """Fill, clone, decode. Runs in a bank's thread, which alone touches that bank's cache
        meanwhile.
        """
        started = time.perf_counter()
        model, params, cache = self._model, self._params, self._caches[i]
        for blocks in _batches(work.blocks, _BLOCKS_PER_CALL):
            arrays = _block_arrays(blocks, self._config.block_tokens)
            cache = decode.prefill(model, params, cache, *arrays, len(blocks))
        if work.clones:
            pairs_M2 = np.zeros((self._config.bank_lanes, 2), np.int32)
            pairs_M2[: len(work.clones)] = work.clones
            cache = decode.clone(cache, pairs_M2[:, 0], pairs_M2[:, 1], len(work.clones))
        lanes = decode.LaneInputs(
            window_BT=work.window_BT,
            known_B=work.known_B,
            steps_B=work.steps_B,
            position_B=work.position_B,
            sample_id_B2=_halves(work.sample_id_B),
            stops_BX=work.stops_BX,
            watch_BW=work.watch_BW,
        )
        self._caches[i], out = decode.chunk(
            model, self._sampling, params, cache, lanes, self._seed_2
        )
        outputs = jax.device_get((out.tokens_BC, out.ran_B, out.stopped_B, out.watched_BCW))
        return outputs, time.perf_counter() - started

    def _warm_up(self) -> None:
        """Run each program once on lanes that are all frozen; slot contents do not matter before a
        lane is used.
        """
        idle = self._schedule.work(self._schedule.banks[0])
        idle.blocks = [(0, 0, np.zeros(1, np.int32))]
        idle.clones = [(0, 0)]
        self._visit(0, idle)
        self._schedule.stats.lane_steps = 0


def _halves(x_B: np.ndarray) -> np.ndarray:
    """64-bit integers as (high, low) 32-bit halves, B2."""
    return np.stack([x_B >> np.uint64(32), x_B & np.uint64(0xFFFFFFFF)], -1).astype(np.uint32)


def _batches(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _block_arrays(blocks, block_tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, lanes and first positions of some blocks, padded to the one shape that is compiled."""
    ids_RT = np.zeros((_BLOCKS_PER_CALL, block_tokens), np.int32)
    lane_R, start_R = np.zeros((2, _BLOCKS_PER_CALL), np.int32)
    for r, (lane, start, ids) in enumerate(blocks):
        ids_RT[r, : len(ids)] = ids
        lane_R[r], start_R[r] = lane, start
    return ids_RT, lane_R, start_R
