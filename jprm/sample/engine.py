"""The sampling engine: requests in, events out, token ids only.

Lanes are grouped into banks, each with its caches on one device and its own thread: while one
bank's chunk runs, the host reads another's and schedules it.

Invariant: the tokens and log-probabilities of a sample are a function of the parameters, the seed,
the sample id, the prompt, the forced tokens and the engine's sizes: never of its lane, its
neighbours, the order of requests or the latency of tools. In f32 this holds to the bit.
"""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent import futures
from typing import Any

import jax
import numpy as np

from jprm.errors import UserError
from jprm.models import Model
from jprm.sample.bank import Work, halves
from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.device import DeviceBank, Place, device_groups
from jprm.sample.plan import MemoryPlan, device_bytes, memory_plan
from jprm.sample.request import Event, StopWhen, token_ids
from jprm.sample.schedule import Progress, Schedule, Stats


class Engine:
    """Draws continuations of prompts, stops at stop ids, takes forced tokens, and goes on.

    One process and its local devices. Engines of the same model object, sampling and sizes share
    their compiled programs.
    """

    def __init__(
        self,
        model: Model,
        params,
        config: EngineConfig,
        sampling: SamplingParams,
        seed: int,
        *,
        triggers: Iterable[int] = (),
        devices: Sequence[Any] = (),
    ):
        """Allocate the caches, and compile all that will ever run.

        triggers: token ids at which samples with a `stop_when` are looked at (see `submit`).
        devices: those to use; all local ones if empty.
        Raises UserError for a seed that is not a 63-bit integer, a trigger outside the vocabulary,
        and sizes that do not fit into memory.
        """
        if not 0 <= seed < 2**63:
            raise UserError(f"sample: seed = {seed} must be from 0 to 2**63 - 1")
        vocab = model.config.vocab_size
        triggers_V = np.zeros(vocab, bool)
        triggers_V[token_ids(triggers, vocab, "sample: trigger id")] = True
        self._config = config
        groups = device_groups(list(devices) or jax.local_devices(), config.tensor)
        itemsize = jax.tree.leaves(params)[0].dtype.itemsize
        self.plan: MemoryPlan = memory_plan(model.config, config, itemsize, len(groups))
        self.plan.check(device_bytes(groups[0][0]), str(groups[0][0]))
        places = [Place(model, params, group) for group in groups[: config.banks]]
        self._schedule = Schedule(config, vocab)
        starters = [futures.ThreadPoolExecutor(1, "sample") for _ in range(min(config.banks, os.cpu_count() or 1))]
        seed_2 = halves(np.array([seed], np.uint64))[0]
        self._banks = [
            DeviceBank(
                model, places[i % len(places)], config, sampling, triggers_V, seed_2, starters[i % len(starters)]
            )
            for i in range(config.banks)
        ]
        self._flights: dict[futures.Future, tuple[int, Work]] = {}
        self._started = time.monotonic()

    @property
    def stats(self) -> Stats:
        """Counts since the engine was made."""
        return self._schedule.stats

    @property
    def progress(self) -> Progress:
        """Where things stand now: speed, lanes, and how long what was submitted will take."""
        return self._schedule.progress(time.monotonic() - self._started)

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
        max_tokens: int | Sequence[int],
        stops: Iterable[int] = (),
        watch: Iterable[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queue one sample of up to max_tokens tokens for each id; returns their handles.

        max_tokens is one number, or one for each sample. The prompt is fed once for its samples.
        Equal sample ids (63 bits) give equal samples. `stops` and `watch` hold for the whole life
        of the handle; a stop counts when drawn, not when forced.

        stop_when: for stops that are not single tokens. A sample that draws one of the engine's
            triggers freezes, and `stop_when` of what it has drawn since its last event says whether
            it stops there. If not, it goes on as if nothing had been, at the price of the rest of
            the chunk.
        parent: a stopped handle whose whole sequence begins the prompt. With prefix rows its keys
            and values are copied to the end of its own prompt's row, and only the rest is fed.
            One handle of a prompt can be continued so; it may be released at once.

        Raises UserError, before anything runs, for an empty prompt, no sample ids, token ids
        outside the vocabulary, a prompt that leaves no room for max_tokens, and a parent that has
        not stopped or does not begin the prompt.
        """
        return self._schedule.submit(prompt, sample_ids, max_tokens, stops, watch, stop_when, parent)

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
        for _ in range(self._config.in_flight):
            flying = [i for i, _ in self._flights.values()]
            for i, bank in enumerate(schedule.banks):
                if flying.count(i) < self._config.in_flight and schedule.can_run(bank):
                    work = schedule.work(bank)
                    self._flights[self._banks[i].start(work)] = i, work
        if not schedule.events and self._flights:
            done, _ = futures.wait(self._flights, return_when=futures.FIRST_COMPLETED)
            for future in [flight for flight in self._flights if flight in done]:  # oldest first
                i, work = self._flights.pop(future)
                outputs, seconds = future.result()
                schedule.stats.device_s += seconds
                self._check(outputs[0])
                schedule.absorb(schedule.banks[i], work, *outputs)
        return schedule.take_events()

    def _check(self, tokens_BC: np.ndarray) -> None:
        if tokens_BC.min() < 0 or tokens_BC.max() >= self._schedule.vocab_size:
            raise FloatingPointError("sample: the model's logits are not finite; did it diverge?")
