"""Which sample is in which lane. Host only: numpy, no JAX.

Invariants: a lane belongs to one handle from admission to release. What a lane does next is a
function of its own sample's tape alone (`Bank`); only when it does it depends on the others.
"""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from jprm.errors import UserError
from jprm.sample.bank import Bank, Sample, Work
from jprm.sample.config import EngineConfig
from jprm.sample.request import Event, checked_request, token_ids


@dataclasses.dataclass(slots=True)
class Stats:
    """Counts since the engine was made.

    generated: tokens drawn.
    forced: tokens given by `extend`.
    prefilled: tokens fed in blocks: prompts, and forced texts of at least half a block.
    cloned: prompt tokens copied from a sibling's lane instead.
    lane_steps: lanes x steps that ran; generated / lane_steps is the use that was made of them.
    device_s: seconds of device calls, added up over the banks.
    """

    generated: int = 0
    forced: int = 0
    prefilled: int = 0
    cloned: int = 0
    lane_steps: int = 0
    device_s: float = 0.0


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

    # What callers ask for.

    def submit(
        self,
        prompt: Sequence[int],
        sample_ids: Sequence[int],
        max_tokens: int,
        stops: Iterable[int],
        watch: Iterable[int],
    ) -> list[int]:
        """Queue one sample for each id."""
        request = checked_request(
            prompt, sample_ids, max_tokens, stops, watch, self.config, self.vocab_size
        )
        handles = list(range(self._next_handle, self._next_handle + len(sample_ids)))
        self._next_handle += len(sample_ids)
        for handle, sample_id in zip(handles, sample_ids, strict=True):
            sample = Sample(handle, int(sample_id), request)
            self.samples[handle] = sample
            self.queue.append(sample)
        return handles

    def extend(self, handle: int, tokens: Iterable[int], max_tokens: int) -> None:
        """Write forced tokens on a stopped lane's tape and let it run again."""
        sample = self._sample(handle)
        bank, lane = sample.bank, sample.lane
        if bank is None or bank.running_B[lane]:
            raise UserError(f"extend: handle {handle} has not stopped; wait for its event")
        forced = token_ids(tokens, self.vocab_size, "extend: forced token")
        known = int(bank.known_B[lane])
        if max_tokens < 0:
            raise UserError(f"extend: max_tokens = {max_tokens} must be at least 0")
        if known + len(forced) + max_tokens > self.config.context_tokens:
            raise UserError(
                f"extend: {known} tokens + {len(forced)} forced + max_tokens = {max_tokens} "
                f"do not fit into context_tokens = {self.config.context_tokens}"
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
        if sample.bank is None:
            self.queue.remove(sample)
        else:
            sample.bank.leave(sample)

    def room(self, handle: int) -> int:
        """How many more tokens fit into this handle's context."""
        sample = self._sample(handle)
        if sample.bank is None:
            return self.config.context_tokens - len(sample.request.prompt)
        return self.config.context_tokens - int(sample.bank.known_B[sample.lane])

    # What the device loop asks for.

    def can_run(self, bank: Bank) -> bool:
        """Whether a visit of the device would get anything done for this bank."""
        return bool(bank.running_B.any() or (self.queue and bank.free))

    def work(self, bank: Bank) -> Work:
        """Admit from the queue into the bank's free lanes, then describe its next visit."""
        stats = self.stats
        while self.queue and bank.free:
            fed, cloned = bank.admit(self.queue.popleft())
            stats.prefilled += fed
            stats.cloned += cloned
        stats.lane_steps += self.config.chunk_steps * self.config.bank_lanes
        return bank.work()

    def absorb(self, bank: Bank, work: Work, tokens_BC, ran_B, stopped_B, watched_BCW) -> None:
        """Take in what a chunk brought back, and turn the lanes that finished into events."""
        drawn, lanes = bank.absorb(work, tokens_BC, ran_B, stopped_B, watched_BCW)
        self.stats.generated += drawn
        for lane in lanes:
            sample = self.samples[int(bank.handle_B[lane])]
            self.events.append(bank.event(sample, "stop" if stopped_B[lane] else "length"))

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def _sample(self, handle: int) -> Sample:
        if handle not in self.samples:
            raise UserError(f"sample: handle {handle} is unknown or released")
        return self.samples[handle]
