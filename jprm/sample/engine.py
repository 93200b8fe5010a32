"""The sampling engine: requests in, events out, token ids only.

Lanes are grouped into banks. Each bank has its own cache and its own thread: while one bank's chunk
runs, the host reads another's and schedules it. (JAX on a CPU runs the calls of one thread one
after the other, those of several side by side. On an accelerator they queue up, and the gain is
that it does not wait for the host.)

Invariant: the tokens and log-probabilities of a sample are a function of the parameters, the seed,
the sample id, the prompt, the forced tokens and the engine's sizes: never of its lane, its
neighbours, the order of requests or the latency of tools. In f32 this holds to the bit.
"""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent import futures

import jax
import numpy as np

from jprm.errors import UserError
from jprm.models import Model
from jprm.sample import decode
from jprm.sample.bank import Work
from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.request import Event
from jprm.sample.schedule import Schedule, Stats

_BLOCKS_PER_CALL = 64


class Engine:
    """Draws continuations of prompts, stops at stop ids, takes forced tokens, and goes on.

    One process, one device. Engines of the same model object, sampling and sizes share their
    compiled programs.
    """

    def __init__(
        self, model: Model, params, config: EngineConfig, sampling: SamplingParams, seed: int
    ):
        """Allocate the caches, and compile all that will ever run.

        Raises UserError for a seed that is not a 63-bit integer.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"sample: seed = {seed} must be from 0 to 2**63 - 1")
        self._model, self._sampling, self._config = model, sampling, config
        device = jax.local_devices()[0]
        self._params = jax.device_put(params, device)
        self._seed_2 = _halves(np.array([seed], np.uint64))[0]
        self._schedule = Schedule(config, model.config.vocab_size)
        dtype = jax.tree.leaves(self._params)[0].dtype
        self._caches = [
            decode.new_cache(model, config.bank_lanes, config.slots, dtype, device)
            for _ in range(config.banks)
        ]
        self._threads = futures.ThreadPoolExecutor(min(config.banks, os.cpu_count() or 1), "sample")
        self._flights: dict[futures.Future, tuple[int, Work]] = {}
        self._warm_up()

    @property
    def stats(self) -> Stats:
        """Counts since the engine was made."""
        return self._schedule.stats

    @property
    def busy(self) -> bool:
        """Whether `poll` would get anything done.

        False while every lane waits for `extend` or `release`, even when samples are queued.
        """
        schedule = self._schedule
        return bool(self._flights or schedule.events or any(map(schedule.can_run, schedule.banks)))

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int,
        stops: Iterable[int] = (),
        watch: Iterable[int] = (),
    ) -> list[int]:
        """Queue one sample of up to max_tokens tokens for each id; returns their handles.

        The prompt is fed once for samples that start together, or while a sibling is in a lane of
        the same bank; the others get copies. Equal sample ids (63 bits) give equal samples. `stops`
        and `watch` hold for the whole life of the handle; a stop counts when drawn, not when
        forced. Raises UserError, before anything runs, for an empty prompt, no sample ids, token
        ids outside the vocabulary, or a prompt that leaves no room for max_tokens.
        """
        return self._schedule.submit(prompt, sample_ids, max_tokens, stops, watch)

    def extend(self, handle: int, tokens: Iterable[int], *, max_tokens: int) -> None:
        """Force tokens on a stopped handle, then let it draw up to max_tokens more.

        With max_tokens 0 it stops again at once, with an empty event; splitting a forced text over
        several such calls changes nothing. Raises UserError for a handle that has not stopped, and
        for more tokens than fit into the context (see `room`).
        """
        self._schedule.extend(handle, tokens, max_tokens)

    def release(self, handle: int) -> None:
        """Forget a handle in any state and free its lane. Every handle wants it in the end."""
        self._schedule.release(handle)

    def room(self, handle: int) -> int:
        """How many more tokens, forced and drawn together, fit into this handle's context."""
        return self._schedule.room(handle)

    def poll(self) -> list[Event]:
        """Start a chunk on every idle bank, wait for one to end, return who stopped in it.

        Empty when nobody did, and when nothing could run; `busy` tells which. Raises
        FloatingPointError when the model's logits are not finite.
        """
        schedule = self._schedule
        flying = {i for i, _ in self._flights.values()}
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
                self._check(outputs[0])
                schedule.absorb(schedule.banks[i], work, *outputs)
        return schedule.take_events()

    def _visit(self, i: int, work: Work) -> tuple[tuple[np.ndarray, ...], float]:
        """Feed, clone, decode; returns the chunk's outputs and the seconds it all took.

        Runs in a bank's thread. A bank has one visit at a time, so its cache has one owner.
        """
        started = time.perf_counter()
        model, params, cache = self._model, self._params, self._caches[i]
        for first in range(0, len(work.blocks), _BLOCKS_PER_CALL):
            blocks = work.blocks[first : first + _BLOCKS_PER_CALL]
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

    def _check(self, tokens_BC: np.ndarray) -> None:
        if tokens_BC.min() < 0 or tokens_BC.max() >= self._schedule.vocab_size:
            raise FloatingPointError("sample: the model's logits are not finite; did it diverge?")

    def _warm_up(self) -> None:
        """Run every program once, with all lanes frozen. An unused lane may hold anything."""
        idle = self._schedule.banks[0].work()
        idle.blocks.append((0, 0, np.zeros(1, np.int32)))
        idle.clones.append((0, 0))
        self._threads.submit(self._visit, 0, idle).result()


def _halves(x_B: np.ndarray) -> np.ndarray:
    """64-bit integers as (high, low) 32-bit halves, B2."""
    return np.stack([x_B >> np.uint64(32), x_B & np.uint64(0xFFFFFFFF)], -1).astype(np.uint32)


def _block_arrays(
    blocks: list[tuple[int, int, np.ndarray]], block_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, lanes and first positions of blocks, padded to the one shape that is compiled."""
    ids_RT = np.zeros((_BLOCKS_PER_CALL, block_tokens), np.int32)
    lane_R, start_R = np.zeros((2, _BLOCKS_PER_CALL), np.int32)
    for r, (lane, start, ids) in enumerate(blocks):
        ids_RT[r, : len(ids)] = ids
        lane_R[r], start_R[r] = lane, start
    return ids_RT, lane_R, start_R
