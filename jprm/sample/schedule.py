"""Which sample is in which lane. Host only: numpy, no JAX.

Invariants: a lane belongs to one handle from admission to release. What a lane does next is a
function of its own sample's tape alone (`Bank`); only when it does it depends on the others.
"""

import collections
import dataclasses
import weakref
from collections.abc import Iterable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.sample.bank import Bank, Sample, Work
from jprm.sample.config import EngineConfig
from jprm.sample.prefix import Row
from jprm.sample.request import Event, Request, StopWhen, checked_request, token_ids


@dataclasses.dataclass(slots=True)
class Stats:
    """Counts since the engine was made.

    generated: tokens drawn.
    forced: tokens given by `extend`.
    prefilled: tokens fed in blocks: prompts, and forced texts of at least half a block.
    cloned: prompt tokens copied from a sibling's lane, or from one prefix row to another, instead.
    promoted: tokens of a continued sample that were copied into its prefix row instead.
    lane_steps: lanes x steps that ran; generated / lane_steps is the use that was made of them.
    device_s: seconds of device calls, added up over the banks.
    finished: samples that were released after they had stopped.
    """

    generated: int = 0
    forced: int = 0
    prefilled: int = 0
    cloned: int = 0
    promoted: int = 0
    lane_steps: int = 0
    device_s: float = 0.0
    finished: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """A look at a running engine.

    tokens_per_s: drawn, since the engine was made.
    running, waiting, queued: samples that decode, that have stopped and wait for `extend` (their
        code runs, say), and that have no lane yet. lanes: those there are.
    eta_s: seconds until all of them are released, at the rate so far; None before the first.
    """

    tokens_per_s: float
    running: int
    waiting: int
    queued: int
    lanes: int
    eta_s: float | None

    def __str__(self) -> str:
        """All but the ETA, which only who knows what is still to be submitted should show."""
        return (
            f"{self.tokens_per_s:,.0f} tokens/s, {self.running} of {self.lanes} lanes run, "
            f"{self.waiting} wait, {self.queued} queued"
        )


class Schedule:
    """The queue, the banks and the handles. `Engine` says what the public methods promise."""

    def __init__(self, config: EngineConfig, vocab_size: int):
        """The books of an idle engine."""
        self.config = config
        self.vocab_size = vocab_size
        self.banks = [Bank(config) for _ in range(config.banks)]
        self.queue: collections.deque[Sample] = collections.deque()
        self.samples: dict[int, Sample] = {}
        self.events: list[Event] = []
        self.stats = Stats()
        self._next_handle = 0
        self._continued: weakref.WeakSet[Request] = weakref.WeakSet()

    # What callers ask for.

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        max_tokens: int | Sequence[int],
        stops: Iterable[int],
        watch: Iterable[int],
        stop_when: StopWhen | None = None,
        parent: int | None = None,
    ) -> list[int]:
        """Queue one sample for each id."""
        if isinstance(max_tokens, int):
            max_tokens = [max_tokens] * len(sample_ids)
        request = checked_request(prompt, sample_ids, max_tokens, stops, watch, stop_when, self.config, self.vocab_size)
        bank, row = None, None
        if parent is not None:
            held = self._stopped(parent, "submit: parent")
            bank, row = self._continue(held, request, len(sample_ids))
        handles = list(range(self._next_handle, self._next_handle + len(sample_ids)))
        self._next_handle += len(sample_ids)
        for handle, sample_id, most in zip(handles, sample_ids, max_tokens, strict=True):
            sample = Sample(handle, int(sample_id), request, most, bank, promised=row)
            self.samples[handle] = sample
            self.queue.append(sample)
        return handles

    def _continue(self, parent: Sample, request: Request, n: int) -> tuple[Bank | None, Row | None]:
        """Let a prompt begin with what a stopped sample holds; returns where that is."""
        bank, lane = parent.bank, parent.lane
        assert bank is not None
        known = int(bank.known_B[lane])
        if not np.array_equal(request.prompt[:known], bank.tape_BS[lane, :known]):
            raise UserError(f"submit: the prompt does not begin with the {known} tokens of its parent")
        if not self.config.prefix_rows:
            return None, None
        if parent.request in self._continued:
            raise UserError(
                f"submit: another sample of the prompt of parent {parent.handle} has been continued; "
                "a prompt goes on in one way only"
            )
        self._continued.add(parent.request)
        row, fed, promoted = bank.continue_row(parent, request, n)
        self.stats.prefilled += fed
        self.stats.promoted += promoted
        return bank, row

    def extend(self, handle: int, tokens: Iterable[int], max_tokens: int) -> None:
        """Write forced tokens on a stopped lane's tape and let it run again."""
        sample = self._stopped(handle, "extend:")
        bank, lane = sample.bank, sample.lane
        assert bank is not None
        forced = token_ids(tokens, self.vocab_size, "extend: forced token")
        known = int(bank.known_B[lane])
        if max_tokens < 0:
            raise UserError(f"extend: max_tokens = {max_tokens} must be at least 0")
        if known + len(forced) + max_tokens > self.config.context_tokens:
            raise UserError(
                f"extend: {known} tokens + {len(forced)} forced + max_tokens = {max_tokens} "
                f"do not fit into context_tokens = {self.config.context_tokens}"
            )
        if len(forced) + max_tokens > self.room(handle):
            raise UserError(
                f"extend: {len(forced)} forced + max_tokens = {max_tokens} after "
                f"{known - len(sample.request.prompt)} tokens do not fit into own_tokens = "
                f"{self.config.most_own_tokens}"
            )
        bank.write(lane, forced, max_tokens)
        self.stats.forced += len(forced)
        if max_tokens:
            self.stats.prefilled += bank.feed_blocks(lane, whole=False)
        else:  # fed later, together with what comes next: how a text was split must not show
            self.events.append(bank.event(sample, "length"))

    def release(self, handle: int) -> None:
        """Forget a handle, and what it has not reported yet."""
        sample = self._sample(handle)
        del self.samples[handle]
        self.events = [event for event in self.events if event.handle != handle]
        if sample.lane < 0:
            self.queue.remove(sample)
            if sample.promised is not None:
                sample.promised.readers -= 1
            return
        assert sample.bank is not None
        self.stats.finished += not sample.bank.running_B[sample.lane]
        sample.bank.leave(sample)

    def room(self, handle: int) -> int:
        """How many more tokens fit into this handle's context."""
        sample = self._sample(handle)
        start = known = len(sample.request.prompt)
        if sample.lane >= 0 and sample.bank is not None:
            known = int(sample.bank.known_B[sample.lane])
        config = self.config
        return min(config.context_tokens - known, config.most_own_tokens - (known - start))

    def progress(self, seconds: float) -> Progress:
        """A look at the books, `seconds` after the start."""
        running = sum(int(bank.running_B.sum()) for bank in self.banks)
        left, finished = len(self.samples), self.stats.finished
        return Progress(
            tokens_per_s=self.stats.generated / max(seconds, 1e-9),
            running=running,
            waiting=left - running - len(self.queue),
            queued=len(self.queue),
            lanes=self.config.lanes,
            eta_s=left * seconds / finished if finished else None,
        )

    # What the device loop asks for.

    def can_run(self, bank: Bank) -> bool:
        """Whether a visit of the device would get anything done for this bank."""
        return bank.can_step() or self._next(bank) is not None

    def work(self, bank: Bank) -> Work:
        """Admit from the queue into the bank's free lanes, then describe its next visit."""
        stats = self.stats
        while (sample := self._next(bank)) is not None:
            self.queue.remove(sample)
            fed, cloned = bank.admit(sample)
            stats.prefilled += fed
            stats.cloned += cloned
        stats.lane_steps += self.config.chunk_steps * self.config.bank_lanes
        return bank.work()

    def _next(self, bank: Bank) -> Sample | None:
        """The first sample of the queue that has a place in this bank."""
        if not bank.free:
            return None
        refused = set()  # requests: what holds for one of their samples holds for all
        for sample in self.queue:
            if sample.request not in refused:
                if bank.has_place(sample):
                    return sample
                refused.add(sample.request)
        return None

    def absorb(self, bank: Bank, work: Work, tokens_BC, ran_B, stopped_B, watched_BCW) -> None:
        """Take in what a chunk brought back, and turn the lanes that finished into events."""
        drawn, finished = bank.absorb(work, tokens_BC, ran_B, stopped_B, watched_BCW)
        self.stats.generated += drawn
        for lane, stopped in finished:
            sample = self.samples[int(bank.handle_B[lane])]
            stop = stopped and self._is_stop(sample, bank.drawn(lane))
            if stop or not bank.resume(lane):
                self.events.append(bank.event(sample, "stop" if stop else "length"))

    def _is_stop(self, sample: Sample, drawn: list[int]) -> bool:
        """Whether a lane that froze at a stop or a trigger is to stop; else it was a false alarm."""
        request = sample.request
        if drawn[-1] in request.stops:
            return True
        return request.stop_when is not None and request.stop_when(drawn)

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def _stopped(self, handle: int, what: str) -> Sample:
        sample = self._sample(handle)
        if sample.bank is None or sample.lane < 0 or sample.bank.running_B[sample.lane]:
            raise UserError(f"{what} handle {handle} has not stopped; wait for its event")
        return sample

    def _sample(self, handle: int) -> Sample:
        if handle not in self.samples:
            raise UserError(f"sample: handle {handle} is unknown or released")
        return self.samples[handle]
