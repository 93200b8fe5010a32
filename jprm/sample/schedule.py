"""Which sample is in which lane, and what every lane does next. Host only: numpy, no JAX.

A lane is a tape of tokens. The first `fed` of them have their keys and values in the cache, the
first `known` are known (prompt, drawn, forced), and the lane runs until `limit` are known. Known
but not fed: the last token drawn, and text forced after it. One step feeds the token at `fed`; if
that was the last known one, it draws the next.

Invariants: fed < known <= limit <= context while a lane runs. A lane belongs to one handle from
admission to release; what a chunk brings back for a lane that has changed hands meanwhile is
dropped. How the tokens of a sample are fed (blocks or steps) depends on that sample alone, so its
bits do not depend on its neighbours or on time.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from jprm.errors import UserError
from jprm.sample.config import EngineConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A handle has stopped. `tokens` were drawn since its last event (the stop token included).

    finish: "stop" (the last token is one of the stops) or "length" (max_tokens reached).
    watched: [len(tokens), watched ids] f32, raw log-probabilities before each of these tokens was
    drawn.
    """

    handle: int
    sample_id: int
    tokens: list[int]
    finish: str
    watched: np.ndarray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt, shared by the samples drawn from it."""

    prompt: np.ndarray
    max_tokens: int
    stops: tuple[int, ...]
    watch: tuple[int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Sample:
    """One handle: queued (bank None), or in a lane."""

    handle: int
    sample_id: int
    request: Request
    bank: "Bank | None" = None
    lane: int = -1


@dataclasses.dataclass(slots=True)
class Stats:
    """Counts since the engine was made.

    generated: tokens drawn. forced: tokens given by `extend`. prefilled: tokens filled in by blocks
    (prompts, long forced texts). cloned: prompt tokens copied from a sibling's lane. lane_steps:
    lanes x steps dispatched; generated / lane_steps is the use made of them. device_s: seconds of
    device calls, added up over the banks.
    """

    generated: int = 0
    forced: int = 0
    prefilled: int = 0
    cloned: int = 0
    lane_steps: int = 0
    device_s: float = 0.0


@dataclasses.dataclass(slots=True)
class Work:
    """What one device visit of a bank does: fill blocks, copy lanes, then run a chunk. All arrays
    are numpy.

    Shape letters: B lanes, C steps, T = C + 1, X stop ids, W watched ids.
    """

    blocks: list[tuple[int, int, np.ndarray]]  # lane, first position, tokens (at most block_tokens)
    clones: list[tuple[int, int]]  # source lane, target lane
    handle_B: np.ndarray  # whose lane it was at dispatch
    window_BT: np.ndarray
    known_B: np.ndarray
    steps_B: np.ndarray
    position_B: np.ndarray
    sample_id_B: np.ndarray
    stops_BX: np.ndarray
    watch_BW: np.ndarray


class Bank:
    """The lanes of one cache, as arrays over lanes."""

    def __init__(self, config: EngineConfig):
        """All lanes free."""
        B, context = config.bank_lanes, config.context_tokens
        self.free = list(range(B))[::-1]
        self.running_B = np.zeros(B, bool)
        self.handle_B = np.full(B, -1, np.int64)
        self.fed_B, self.known_B, self.limit_B, self.begun_B = np.zeros((4, B), np.int32)
        self.sample_id_B = np.zeros(B, np.uint64)
        self.stops_BX = np.full((B, config.max_stops), -1, np.int32)
        self.watch_BW = np.zeros((B, config.max_watch), np.int32)
        self.tape_BS = np.zeros((B, context), np.int32)
        self.watched_BSW = np.zeros((B, context, config.max_watch), np.float32)
        self.holders: dict[Request, list[int]] = {}  # lanes whose first slots hold this prompt
        self.blocks: list[tuple[int, int, np.ndarray]] = []
        self.clones: list[tuple[int, int]] = []


class Schedule:
    """The queue, the banks and the handles. See `Engine` for what the public methods promise."""

    def __init__(self, config: EngineConfig, vocab_size: int):
        """An idle engine's books."""
        self.config = config
        self.vocab_size = vocab_size
        self.banks = [Bank(config) for _ in range(config.banks)]
        self.queue: collections.deque[Sample] = collections.deque()
        self.samples: dict[int, Sample] = {}
        self.events: list[Event] = []
        self.stats = Stats()
        self._next_handle = 0

    # What callers ask for.

    def submit(self, prompt, sample_ids, max_tokens: int, stops, watch) -> list[int]:
        """Queue one sample for each id."""
        request = self._checked(prompt, sample_ids, max_tokens, stops, watch)
        first = self._next_handle
        self._next_handle += len(sample_ids)
        for handle, sample_id in enumerate(sample_ids, first):
            sample = Sample(handle, int(sample_id), request)
            self.samples[handle] = sample
            self.queue.append(sample)
        return list(range(first, self._next_handle))

    def extend(self, handle: int, tokens: Sequence[int], max_tokens: int) -> None:
        """Write forced tokens on a stopped lane's tape and let it run again."""
        sample = self._sample(handle)
        bank, lane = sample.bank, sample.lane
        if bank is None or bank.running_B[lane]:
            raise UserError(f"extend: handle {handle} has not stopped; wait for its event")
        forced = self._token_ids(tokens, "extend: forced token")
        known = int(bank.known_B[lane])
        total = known + len(forced) + max_tokens
        if max_tokens < 0 or total > self.config.context_tokens:
            raise UserError(
                f"extend: {known} tokens + {len(forced)} forced + max_tokens = {max_tokens} do not fit into "
                f"context_tokens = {self.config.context_tokens}"
            )
        bank.tape_BS[lane, known : known + len(forced)] = forced
        bank.known_B[lane] = bank.begun_B[lane] = known + len(forced)
        bank.limit_B[lane] = total
        self.stats.forced += len(forced)
        if max_tokens:
            bank.running_B[lane] = True
            self._fill(bank, lane, whole=False)
        else:  # nothing to draw: the tokens are fed together with whatever comes next
            self.events.append(self._event(bank, lane, stopped=False))

    def release(self, handle: int) -> None:
        """Forget a handle, queued, running or stopped, and free its lane."""
        sample = self._sample(handle)
        del self.samples[handle]
        self.events = [event for event in self.events if event.handle != handle]
        bank, lane = sample.bank, sample.lane
        if bank is None:
            self.queue.remove(sample)
            return
        bank.running_B[lane] = False
        bank.handle_B[lane] = -1
        bank.free.append(lane)
        bank.blocks = [block for block in bank.blocks if block[0] != lane]
        holders = bank.holders[sample.request]
        holders.remove(lane)
        if not holders:
            del bank.holders[sample.request]

    def room(self, handle: int) -> int:
        """How many more tokens, forced and drawn, the context of this handle can take."""
        sample = self._sample(handle)
        known = (
            len(sample.request.prompt)
            if sample.bank is None
            else int(sample.bank.known_B[sample.lane])
        )
        return self.config.context_tokens - known

    # What the device loop asks for.

    def can_run(self, bank: Bank) -> bool:
        """Whether `work` would have something to do for this bank."""
        return bool(bank.running_B.any() or (self.queue and bank.free))

    def work(self, bank: Bank) -> Work:
        """Admit from the queue into free lanes, and describe the bank's next visit of the device."""
        self._admit(bank)
        C = self.config.chunk_steps
        last = self.config.context_tokens - 1
        position_B = bank.fed_B.copy()
        at_BT = np.minimum(position_B[:, None] + np.arange(C + 1, dtype=np.int32), last)
        steps_B = np.where(bank.running_B, np.minimum(bank.limit_B - 1 - bank.fed_B, C), 0).astype(
            np.int32
        )
        self.stats.lane_steps += C * len(steps_B)
        blocks, bank.blocks = bank.blocks, []
        clones, bank.clones = bank.clones, []
        return Work(
            blocks=blocks,
            clones=clones,
            handle_B=bank.handle_B.copy(),
            window_BT=np.take_along_axis(bank.tape_BS, at_BT, 1),
            known_B=bank.known_B - bank.fed_B,
            steps_B=steps_B,
            position_B=position_B,
            sample_id_B=bank.sample_id_B.copy(),
            stops_BX=bank.stops_BX.copy(),
            watch_BW=bank.watch_BW.copy(),
        )

    def absorb(self, bank: Bank, work: Work, tokens_BC, ran_B, stopped_B, watched_BCW) -> None:
        """Write a chunk's outcome on the tapes, and turn the lanes that finished into events."""
        mine_B = (work.steps_B > 0) & (work.handle_B == bank.handle_B)
        lane_E, step_E = np.nonzero(
            (np.arange(tokens_BC.shape[1]) < ran_B[:, None]) & mine_B[:, None]
        )
        at_E = work.position_B[lane_E] + 1 + step_E
        bank.tape_BS[lane_E, at_E] = tokens_BC[lane_E, step_E]
        bank.watched_BSW[lane_E, at_E] = watched_BCW[lane_E, step_E]
        known_B = bank.known_B.copy()
        bank.fed_B += np.where(mine_B, ran_B, 0).astype(np.int32)
        bank.known_B = np.maximum(known_B, np.where(mine_B, bank.fed_B + 1, 0).astype(np.int32))
        self.stats.generated += int((bank.known_B - known_B).sum())
        for lane in np.nonzero(mine_B & (stopped_B | (bank.known_B >= bank.limit_B)))[0]:
            bank.running_B[lane] = False
            self.events.append(self._event(bank, int(lane), bool(stopped_B[lane])))

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    # Books.

    def _admit(self, bank: Bank) -> None:
        while self.queue and bank.free:
            sample = self.queue.popleft()
            request, lane = sample.request, bank.free.pop()
            sample.bank, sample.lane = bank, lane
            n = len(request.prompt)
            bank.handle_B[lane] = sample.handle
            bank.sample_id_B[lane] = sample.sample_id
            bank.tape_BS[lane, :n] = request.prompt
            bank.known_B[lane] = bank.begun_B[lane] = n
            bank.limit_B[lane] = n + request.max_tokens
            bank.stops_BX[lane] = -1
            bank.stops_BX[lane, : len(request.stops)] = request.stops
            bank.watch_BW[lane] = 0
            bank.watch_BW[lane, : len(request.watch)] = request.watch
            bank.running_B[lane] = True
            bank.fed_B[lane] = 0
            holders = bank.holders.setdefault(request, [])
            if holders:
                bank.clones.append((holders[0], lane))
                bank.fed_B[lane] = n - 1
                self.stats.cloned += n - 1
            else:
                self._fill(bank, lane, whole=True)
            holders.append(lane)

    def _fill(self, bank: Bank, lane: int, whole: bool) -> None:
        """Feed what is known, but its last token, by blocks; short rests (unless `whole`) are left
        to decode steps.
        """
        size = self.config.block_tokens
        start, end = int(bank.fed_B[lane]), int(bank.known_B[lane]) - 1
        while start < end and (whole or end - start >= size // 2):
            stop = min(start + size, end)
            bank.blocks.append((lane, start, bank.tape_BS[lane, start:stop].copy()))
            self.stats.prefilled += stop - start
            start = stop
        bank.fed_B[lane] = start

    def _event(self, bank: Bank, lane: int, stopped: bool) -> Event:
        sample = self.samples[int(bank.handle_B[lane])]
        drawn = slice(bank.begun_B[lane], bank.known_B[lane])
        return Event(
            handle=sample.handle,
            sample_id=sample.sample_id,
            tokens=bank.tape_BS[lane, drawn].tolist(),
            finish="stop" if stopped else "length",
            watched=bank.watched_BSW[lane, drawn, : len(sample.request.watch)].copy(),
        )

    def _sample(self, handle: int) -> Sample:
        if handle not in self.samples:
            raise UserError(f"sample: handle {handle} is unknown or released")
        return self.samples[handle]

    def _checked(self, prompt, sample_ids, max_tokens, stops, watch) -> Request:
        c = self.config
        ids = self._token_ids(prompt, "submit: prompt token")
        if not len(ids):
            raise UserError("submit: the prompt is empty; give at least one token")
        if not len(sample_ids):
            raise UserError("submit: no sample ids; give one for each sample wanted")
        if not all(0 <= i < 2**63 for i in sample_ids):
            raise UserError("submit: sample ids must be integers from 0 to 2**63 - 1")
        if max_tokens < 1:
            raise UserError(f"submit: max_tokens = {max_tokens} must be at least 1")
        if len(ids) + max_tokens > c.context_tokens:
            raise UserError(
                f"submit: a prompt of {len(ids)} tokens + max_tokens = {max_tokens} do not fit into "
                f"context_tokens = {c.context_tokens}"
            )
        self._token_ids(stops, "submit: stop id")
        self._token_ids(watch, "submit: watch id")
        if len(stops) > c.max_stops or len(watch) > c.max_watch:
            raise UserError(
                f"submit: {len(stops)} stop ids and {len(watch)} watch ids, but the engine was made for "
                f"max_stops = {c.max_stops} and max_watch = {c.max_watch}"
            )
        return Request(ids, max_tokens, tuple(map(int, stops)), tuple(map(int, watch)))

    def _token_ids(self, tokens, what: str) -> np.ndarray:
        ids = np.asarray(list(tokens), np.int64)
        bad = ids[(ids < 0) | (ids >= self.vocab_size)]
        if len(bad):
            raise UserError(
                f"{what} {bad[0]} is not in the vocabulary (0 to {self.vocab_size - 1})"
            )
        return ids.astype(np.int32)
