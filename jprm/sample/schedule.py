"""Which sample is in which slot: the engine's half on the host. Numpy, no JAX.

Invariants: a slot belongs to one handle from admission to release. What a slot does next is a function
of its own sample's token buffer alone (`SlotGroup`); only when it does it depends on the others.
"""

import collections
import dataclasses
import time
import weakref
from collections.abc import Iterable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.sample.config import EngineConfig
from jprm.sample.prefix import PrefixRow, SampleRequest
from jprm.sample.slots import DeviceWork, EngineStats, SampleState, SlotGroup
from jprm.sampling import SampleEvent, StopWhen, check_extension, check_parent, check_request, held


@dataclasses.dataclass(frozen=True, slots=True)
class EngineProgress:
    """What a running engine does at one moment."""

    tokens_per_s: float  # drawn, since the engine was made
    running: int  # samples that decode
    waiting: int  # samples that have stopped and wait for `extend` or `release`; their code runs, say
    queued: int  # samples that have no slot yet
    slots: int  # those there are

    def __str__(self) -> str:
        return (
            f"{self.tokens_per_s:,.0f} tokens/s, {self.running} of {self.slots} slots run, "
            f"{self.waiting} wait, {self.queued} queued"
        )


class Scheduler:
    """The queue, the slot groups and the handles. The public methods are those of `Engine`.

    stats: counts since it was made.
    """

    def __init__(self, config: EngineConfig, vocab_size: int):
        self.config, self.vocab_size = config, vocab_size
        self.stats = EngineStats()
        self._groups = [SlotGroup(config, self.stats) for _ in range(config.slot_groups)]
        self._queue: collections.deque[SampleState] = collections.deque()
        self._samples: dict[int, SampleState] = {}
        self._events: list[SampleEvent] = []
        self._next_handle = 0
        self._continued: weakref.WeakSet[SampleRequest] = weakref.WeakSet()
        self._started = time.monotonic()

    # What callers ask for.

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        *,
        max_tokens: int | Sequence[int],
        stops: Iterable[int] = (),
        logprob_ids: Iterable[int] = (),
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queues samples as `jprm.sampling.Sampler` says; the prompt is fed once for all of them.

        max_tokens: one number, or one for each sample.
        sample_ids: of 63 bits; equal ones give equal samples.
        stop_when: a sample that draws one of the engine's triggers freezes until it was asked. If it does not stop
            there, it goes on as if nothing had been, at the price of the steps that were left of this visit.
        parent: with prefix rows its keys and values are copied to the end of its own prompt's row, and
            only the rest is fed. One handle of a prompt can be continued so; it may be released at once.
        """
        if isinstance(max_tokens, int):
            max_tokens = [max_tokens] * len(sample_ids)
        request = self._checked(prompt, sample_ids, max_tokens, stops, logprob_ids, stop_when)
        group, row = None, None
        if parent is not None:
            group, row = self._continue(parent, request, len(sample_ids))
        handles = []
        for sample_id, most in zip(sample_ids, max_tokens, strict=True):
            sample = SampleState(self._next_handle, int(sample_id), request, most, group, promised=row)
            self._next_handle += 1
            self._samples[sample.handle] = sample
            self._queue.append(sample)
            handles.append(sample.handle)
        return handles

    def _checked(self, prompt, sample_ids, max_tokens, stops, logprob_ids, stop_when) -> SampleRequest:
        """The request, or a UserError that names the numbers which do not fit: nothing fails once slots run."""
        config, vocab = self.config, self.vocab_size
        ids = token_ids(prompt, vocab, "submit: prompt token")
        check_request(ids, sample_ids, min(max_tokens, default=1))
        if not all(0 <= i < 2**63 for i in sample_ids):
            raise UserError("submit: sample ids must be integers from 0 to 2**63 - 1")
        if len(max_tokens) != len(sample_ids):
            raise UserError(f"submit: {len(max_tokens)} values of max_tokens for {len(sample_ids)} sample ids")
        most = max(max_tokens)
        if len(ids) + most > config.context_tokens:
            raise UserError(
                f"submit: a prompt of {len(ids)} tokens + max_tokens = {most} do not fit into "
                f"context_tokens = {config.context_tokens}"
            )
        if len(ids) > config.most_prompt_tokens:
            raise UserError(
                f"submit: a prompt of {len(ids)} tokens does not fit into a prefix row; raise "
                f"prefix_tokens = {config.most_prompt_tokens}"
            )
        if most > config.most_own_tokens:
            raise UserError(f"submit: max_tokens = {most} do not fit into own_tokens = {config.most_own_tokens}")
        stops = token_ids(stops, vocab, "submit: stop id")
        logprob_ids = token_ids(logprob_ids, vocab, "submit: logprob id")
        for name, given in (("stops", stops), ("logprob_ids", logprob_ids)):
            if len(given) > (allowed := getattr(config, f"max_{name}")):
                raise UserError(f"submit: {len(given)} ids in {name}; the engine's max_{name} = {allowed}")
        return SampleRequest(ids, tuple(stops.tolist()), tuple(logprob_ids.tolist()), stop_when)

    def _continue(self, handle: int, request: SampleRequest, n: int) -> tuple[SlotGroup | None, PrefixRow | None]:
        """Let a prompt begin with what a stopped sample holds; returns where its n samples find that."""
        parent, group = self._stopped(handle, "submit: parent")
        known = int(group.known_B[parent.slot])
        check_parent(request.prompt, group.tokens_BS[parent.slot, :known])
        if not self.config.prefix_rows:
            return None, None
        if parent.request in self._continued:
            raise UserError(
                f"submit: another sample of the prompt of parent {handle} has been continued; "
                "a prompt goes on in one way only"
            )
        self._continued.add(parent.request)
        return group, group.continue_row(parent, request, n)

    def extend(self, handle: int, tokens: Iterable[int], *, max_tokens: int) -> None:
        """Forces tokens as `jprm.sampling.Sampler` says; splitting a text over several calls changes nothing."""
        sample, group = self._stopped(handle, "extend:")
        forced = token_ids(tokens, self.vocab_size, "extend: forced token")
        known, config = int(group.known_B[sample.slot]), self.config
        check_extension(max_tokens)
        if known + len(forced) + max_tokens > config.context_tokens:
            raise UserError(
                f"extend: {known} tokens + {len(forced)} forced + max_tokens = {max_tokens} "
                f"do not fit into context_tokens = {config.context_tokens}"
            )
        own = known - len(sample.request.prompt)
        if own + len(forced) + max_tokens > config.most_own_tokens:
            raise UserError(
                f"extend: {len(forced)} forced + max_tokens = {max_tokens} after {own} tokens do not fit "
                f"into own_tokens = {config.most_own_tokens}"
            )
        group.write(sample.slot, forced, max_tokens)
        self.stats.forced += len(forced)
        if max_tokens:
            group.feed_blocks(sample.slot, whole=False)
        else:  # fed later, together with what comes next: how a text was split must not show
            self._events.append(group.event(sample, "length"))

    def release(self, handle: int) -> None:
        """Forgets a handle in any state and frees its slot; every handle has to be released in the end."""
        sample = held(self._samples, handle)
        del self._samples[handle]
        self._events = [event for event in self._events if event.handle != handle]
        if sample.slot >= 0 and sample.group is not None:
            sample.group.leave(sample)
            return
        self._queue.remove(sample)
        if sample.promised is not None:
            sample.promised.readers -= 1

    @property
    def progress(self) -> EngineProgress:
        """What the samples do at this moment, and the speed so far."""
        running = sum(int(group.running_B.sum()) for group in self._groups)
        seconds = max(time.monotonic() - self._started, 1e-9)
        waiting = len(self._samples) - running - len(self._queue)
        return EngineProgress(
            self.stats.generated / seconds, running, waiting, len(self._queue), slots=self.config.slots
        )

    # What the loop over the devices asks for.

    def _can_run(self, group: SlotGroup) -> bool:
        """Whether a visit to the device would get anything done for this group."""
        return group.can_step() or self._next_admitted(group) is not None

    def _next_work(self, group: SlotGroup) -> DeviceWork:
        """The next visit to the device of a group that can run."""
        # 1. Admit waiting samples into free slots.
        while (sample := self._next_admitted(group)) is not None:
            self._queue.remove(sample)
            group.admit(sample)
        # 2. Describe what the group's slots do next.
        return group.next_work()

    def _next_admitted(self, group: SlotGroup) -> SampleState | None:
        """The first sample of the queue for which this group has a place."""
        if not group.free:
            return None
        refused = set()  # requests: what holds for one of their samples holds for all
        for sample in self._queue:
            if sample.request not in refused:
                if group.can_admit(sample):
                    return sample
                refused.add(sample.request)
        return None

    def _absorb(self, group: SlotGroup, work: DeviceWork, outputs: Sequence[np.ndarray]) -> None:
        """Take in what a visit brought back (`SlotOutputs`), and tell which samples have stopped."""
        # 1. Write it into the token buffers.
        for slot, frozen in group.absorb(work, *outputs):
            # 2. A slot that froze stops at one of its stops, or if its `stop_when` says so.
            sample = self._samples[int(group.handle_B[slot])]
            drawn, request = group.drawn(slot), sample.request
            stop = frozen and (
                drawn[-1] in request.stops or (request.stop_when is not None and request.stop_when(drawn))
            )
            # 3. Else it was a false alarm, and the slot goes on unless it is at its limit.
            if stop or not group.resume(slot):
                self._events.append(group.event(sample, "stop" if stop else "length"))

    def _take_events(self) -> list[SampleEvent]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def _stopped(self, handle: int, what: str) -> tuple[SampleState, SlotGroup]:
        sample = held(self._samples, handle)
        if sample.group is None or sample.slot < 0 or sample.group.running_B[sample.slot]:
            raise UserError(f"{what} handle {handle} has not stopped; wait for its event")
        return sample, sample.group


def token_ids(tokens: Iterable[int], vocab_size: int, what: str) -> np.ndarray:
    """The tokens as int32. Raises UserError, beginning with `what`, for one outside the vocabulary."""
    ids = np.fromiter(tokens, np.int64)
    bad = ids[(ids < 0) | (ids >= vocab_size)]
    if len(bad):
        raise UserError(f"{what} {bad[0]} is not in the vocabulary (0 to {vocab_size - 1})")
    return ids.astype(np.int32)
