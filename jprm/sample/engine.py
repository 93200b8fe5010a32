"""The sampling engine: requests in, events out, token ids only.

Slots are grouped, each group with its caches on one device and its own thread: while one group
decodes, the host reads another's results and schedules it.

Invariant: the tokens and log-probabilities of a sample are a function of the parameters, the seed,
the sample id, the prompt, the forced tokens and the engine's sizes: never of its slot, its
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
from jprm.sample.config import EngineConfig
from jprm.sample.device import GroupRunner, Replica, device_groups
from jprm.sample.memory import EngineMemory, device_bytes, engine_memory
from jprm.sample.schedule import Scheduler, token_ids
from jprm.sample.slots import DeviceWork, halves
from jprm.sampling import SampleEvent, Sampler, SamplingParams


class Engine(Scheduler, Sampler):
    """Draws continuations of prompts, stops at stop ids, takes forced tokens, and goes on.

    One process and its local devices. Engines of the same model object, sampling and sizes share
    their compiled programs. memory: what it holds on the fullest device.
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
        """Allocate the caches, and compile all that runs (with `first_entries`: until they grow).

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
        groups = device_groups(list(devices) or jax.local_devices(), config.tensor)
        itemsize = jax.tree.leaves(params)[0].dtype.itemsize
        self.memory: EngineMemory = engine_memory(model.config, config, itemsize, len(groups) * config.tensor)
        self.memory.check(device_bytes(groups[0][0]), str(groups[0][0]))
        super().__init__(config, vocab)  # its token buffers are allocated here, too
        n = config.slot_groups
        replicas = [Replica(model, params, group) for group in groups[:n]]
        starters = [futures.ThreadPoolExecutor(1, "sample") for _ in range(min(n, os.cpu_count() or 1))]
        self._runners = [
            GroupRunner(
                model,
                replicas[i % len(replicas)],
                config,
                sampling,
                triggers_V,
                halves(seed),
                starters[i % len(starters)],
            )
            for i in range(n)
        ]
        self._under_way: dict[futures.Future, tuple[int, DeviceWork]] = {}
        self._started = time.monotonic()  # the speed is that of sampling, without compilation

    @property
    def busy(self) -> bool:
        """Whether `poll` would get anything done.

        False while every slot waits for `extend` or `release`, even when samples are queued.
        """
        return bool(self._under_way or self._events or any(map(self._can_run, self._groups)))

    def poll(self) -> list[SampleEvent]:
        """Have every idle slot group decode, wait for one to end, return who stopped in it.

        Empty when nobody did, and when nothing could run; `busy` tells which. Raises
        FloatingPointError when the model's logits are not finite.
        """
        # 1. Start visits of all groups that can run, up to `in_flight` of each.
        for _ in range(self.config.in_flight):
            started = [i for i, _ in self._under_way.values()]
            for i, group in enumerate(self._groups):
                if started.count(i) < self.config.in_flight and self._can_run(group):
                    work = self._next_work(group)
                    self._under_way[self._runners[i].start(work)] = i, work
        # 2. Unless there is news already, wait for one, and take in all that have ended.
        if not self._events and self._under_way:
            done, _ = futures.wait(self._under_way, return_when=futures.FIRST_COMPLETED)
            for future in [future for future in self._under_way if future in done]:  # oldest first
                i, work = self._under_way.pop(future)
                outputs = future.result()
                if outputs[0].min() < 0 or outputs[0].max() >= self.vocab_size:
                    raise FloatingPointError("sample: the model's logits are not finite; did it diverge?")
                self._absorb(self._groups[i], work, outputs)
        return self._take_events()
