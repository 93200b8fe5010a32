"""The lanes of one cache as the host sees them, and the description of one visit of the device.

Arrays over lanes, so that a chunk of 64 lanes is read and written by a few numpy calls. No JAX.

Shape letters: B lanes, S tokens of the context, C steps of a chunk, T = C + 1, X stop ids,
W watched ids, R prefix rows, M lanes of a row.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jprm.sample.config import EngineConfig
from jprm.sample.prefix import PrefixRows, Row
from jprm.sample.request import Event, Request


@dataclasses.dataclass(slots=True, eq=False)
class Sample:
    """What a handle stands for: queued (no lane yet, perhaps a bank that it waits for), or in a lane.

    promised: the prefix row that is kept for a queued sample.
    """

    handle: int
    sample_id: int
    request: Request
    max_tokens: int
    bank: "Bank | None" = None
    lane: int = -1
    promised: Row | None = None


class LaneInputs(NamedTuple):
    """What the host says about each lane at the start of a chunk."""

    window_BT: Any  # T = C + 1: the next token to feed, and those after it as far as known
    known_B: Any  # how many tokens of the window are known; the count runs on past it
    steps_B: Any  # the most steps that the lane may run; 0: frozen
    continues_B: Any  # whether it goes on where the chunk before leaves it, stopped or not
    position_B: Any  # absolute position of window[0]
    sample_id_B2: Any  # (high, low) 32-bit halves
    stops_BX: Any  # -1 where there is none
    listens_B: Any  # whether trigger tokens freeze it, too
    watch_BW: Any
    base_B: Any  # how many tokens of the sequence are in the lane's prefix row
    row_B: Any
    column_B: Any
    lanes_RM: Any  # the lane at each row and column


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One visit of the device: promote, feed blocks, copy lines, run a chunk. In numpy.

    A line is a prefix row or, in a bank without them, a lane.

    promotions: (lane, row, first slot, end) for slots of the row that the lane's own fill.
    blocks: (line, position of the first token, at most block_tokens tokens).
    clones: (source line, target line).
    stretch_B: which stretch of running this was written for (`Bank`).
    """

    promotions: list[tuple[int, int, int, int]]
    blocks: list[tuple[int, int, np.ndarray]]
    clones: list[tuple[int, int]]
    stretch_B: np.ndarray
    lanes: LaneInputs


class Bank:
    """A lane is a tape of tokens, on which it goes forward.

    The first `fed` tokens have their keys and values in the cache. The first `known` are known:
    prompt, drawn or forced. The lane runs until `limit` are known, and what it has drawn since its
    last event begins at `begun`. Known but not fed are the last token drawn, and text forced after
    it. A step feeds the token at `fed`; if that was the last known one, it draws the next.

    A chunk may be written before the one ahead of it has been read: it is written as if no lane
    stopped there. `ahead` steps of a lane are then under way. When a lane stops, changes hands or
    goes on, its `stretch` counts up, and what is still under way for the old one is not heeded.
    """

    def __init__(self, config: EngineConfig):
        """All lanes free."""
        B, S, W = config.bank_lanes, config.context_tokens, config.max_watch
        self.config = config
        self.free = list(range(B))[::-1]
        self.running_B = np.zeros(B, bool)
        self.handle_B = np.full(B, -1, np.int64)
        self.fed_B, self.known_B, self.limit_B, self.begun_B = np.zeros((4, B), np.int32)
        self.ahead_B, self.stretch_B = np.zeros((2, B), np.int32)
        self.listens_B = np.zeros(B, bool)
        self.sample_id_B = np.zeros(B, np.uint64)
        self.stops_BX = np.full((B, config.max_stops), -1, np.int32)
        self.watch_BW = np.zeros((B, W), np.int32)
        self.tape_BS = np.zeros((B, S), np.int32)
        self.watched_BSW = np.zeros((B, S, W), np.float32)
        self.holders: dict[Request, list[int]] = {}  # lanes whose first slots hold this prompt
        self.prefix = PrefixRows(B, config.bank_rows, config.row_lanes)
        self.promotions: list[tuple[int, int, int, int]] = []
        self.blocks: list[tuple[int, int, np.ndarray]] = []
        self.clones: list[tuple[int, int]] = []

    def has_place(self, sample: Sample) -> bool:
        """Whether a queued sample could be admitted here now."""
        if not self.free or sample.bank not in (None, self):
            return False
        return not self.config.prefix_rows or self.prefix.place(sample.request) is not None

    def admit(self, sample: Sample) -> tuple[int, int]:
        """Give a sample a free lane; returns how many prompt tokens are (fed, cloned) for it."""
        request, lane = sample.request, self.free.pop()
        sample.bank, sample.lane = self, lane
        self.handle_B[lane], self.sample_id_B[lane] = sample.handle, sample.sample_id
        self.stops_BX[lane], self.watch_BW[lane] = -1, 0
        self.stops_BX[lane, : len(request.stops)] = request.stops
        self.watch_BW[lane, : len(request.watch)] = request.watch
        self.listens_B[lane] = request.stop_when is not None
        self.fed_B[lane] = self.known_B[lane] = 0
        self.write(lane, request.prompt, sample.max_tokens)
        if self.config.prefix_rows:
            return self._enter_row(sample)
        holders = self.holders.setdefault(request, [])
        if holders:
            self.clones.append((holders[0], lane))
            self.fed_B[lane] = len(request.prompt) - 1
            counts = 0, len(request.prompt) - 1
        else:
            counts = self.feed_blocks(lane, whole=True), 0
        holders.append(lane)
        return counts

    def _enter_row(self, sample: Sample) -> tuple[int, int]:
        request, lane = sample.request, sample.lane
        base = len(request.prompt) - 1
        row, source, feed = self.prefix.enter(lane, request, base)
        if sample.promised is not None:
            sample.promised.readers -= 1
            sample.promised = None
        self.fed_B[lane] = base
        if source is not None:
            self.clones.append((source.index, row.index))
            return 0, base
        if feed:
            self._add_blocks(row.index, request.prompt[:-1], 0)
            return base, 0
        return 0, 0

    def continue_row(self, parent: Sample, request: Request, n: int) -> tuple[Row, int, int]:
        """Append what a stopped lane holds to its prefix row, for the n samples of a longer prompt.

        Returns the row, and how many tokens are (fed, promoted). The lanes that read the row see no
        further than their own prompt. Once for each prompt: the second would overwrite the first.
        """
        lane = parent.lane
        row = self.prefix.rows[self.prefix.row_B[lane]]
        base, fed, end = self.prefix.base_B[lane], int(self.fed_B[lane]), len(request.prompt) - 1
        self.promotions.append((lane, row.index, int(base), fed))
        self._add_blocks(row.index, request.prompt[fed:end], fed)
        self.prefix.hold(row, request)
        row.readers += n
        return row, end - fed, fed - int(base)

    def _add_blocks(self, line: int, tokens: np.ndarray, start: int) -> None:
        size = self.config.block_tokens
        for at in range(0, len(tokens), size):
            self.blocks.append((line, start + at, tokens[at : at + size].copy()))

    def write(self, lane: int, tokens: np.ndarray, max_tokens: int) -> None:
        """Put known tokens on the tape; the lane then runs, if it may draw anything."""
        start = int(self.known_B[lane])
        end = start + len(tokens)
        self.tape_BS[lane, start:end] = tokens
        self.known_B[lane] = self.begun_B[lane] = end
        self.limit_B[lane] = end + max_tokens
        self.running_B[lane] = max_tokens > 0
        self.halt(lane)

    def halt(self, lane: int) -> None:
        """Forget the steps of a lane that are under way: they were written for what is no more."""
        self.ahead_B[lane] = 0
        self.stretch_B[lane] += 1

    def feed_blocks(self, lane: int, whole: bool) -> int:
        """Feed what is known, but its last token, in blocks; returns how many tokens that is.

        A rest below half a block is left to decode steps, where it costs less, unless `whole`: a
        prompt's rest would be decoded by each of its clones. What follows a prefix row is decoded.
        """
        if self.config.prefix_rows:
            return 0
        size = self.config.block_tokens
        first = int(self.fed_B[lane])
        tokens = self.tape_BS[lane, first : int(self.known_B[lane]) - 1]
        rest = len(tokens) % size
        if not whole and rest < size / 2:
            tokens = tokens[: len(tokens) - rest]
        self._add_blocks(lane, tokens, first)
        self.fed_B[lane] = first + len(tokens)
        return len(tokens)

    def leave(self, sample: Sample) -> None:
        """Free a sample's lane, whatever it was doing."""
        lane = sample.lane
        self.running_B[lane] = False
        self.halt(lane)
        self.handle_B[lane] = -1
        self.free.append(lane)
        if self.config.prefix_rows:
            self.prefix.leave(lane)
            return
        self.blocks = [block for block in self.blocks if block[0] != lane]
        holders = self.holders[sample.request]
        holders.remove(lane)
        if not holders:
            del self.holders[sample.request]

    def can_step(self) -> bool:
        """Whether a lane could run that is not yet written into a chunk to its limit."""
        return bool((self.running_B & (self._left() > 0)).any())

    def _left(self) -> np.ndarray:
        """Steps until each lane's limit, beyond those under way."""
        return self.limit_B - 1 - self.fed_B - self.ahead_B

    def work(self) -> Work:
        """The next visit of the device: all that has gathered, and a chunk of decode steps."""
        C, last = self.config.chunk_steps, self.config.context_tokens - 1
        position_B = self.fed_B + self.ahead_B
        at_BT = np.minimum(position_B[:, None] + np.arange(C + 1, dtype=np.int32), last)
        steps_B = np.where(self.running_B, np.minimum(self._left(), C), 0).astype(np.int32)
        promotions, blocks, clones = self.promotions, self.blocks, self.clones
        self.promotions, self.blocks, self.clones = [], [], []
        lanes = LaneInputs(
            window_BT=np.take_along_axis(self.tape_BS, at_BT, 1),
            known_B=self.known_B - position_B,
            steps_B=steps_B,
            continues_B=self.ahead_B > 0,
            position_B=position_B,
            sample_id_B2=halves(self.sample_id_B),
            stops_BX=self.stops_BX.copy(),
            listens_B=self.listens_B.copy(),
            watch_BW=self.watch_BW.copy(),
            base_B=self.prefix.base_B.copy(),
            row_B=self.prefix.row_B.copy(),
            column_B=self.prefix.column_B.copy(),
            lanes_RM=self.prefix.lanes_RM.copy(),
        )
        self.ahead_B += steps_B
        return Work(promotions, blocks, clones, self.stretch_B.copy(), lanes)

    def absorb(self, work: Work, tokens_BC, ran_B, stopped_B, watched_BCW) -> tuple[int, list[tuple[int, bool]]]:
        """Write a chunk's outcome on the tapes; returns how many tokens were drawn, and the lanes
        that stand still with whether that is at a stop or a trigger.

        Lanes that have changed hands since the chunk began, or stopped before, keep nothing of it.
        """
        lanes = work.lanes
        mine_B = (lanes.steps_B > 0) & (work.stretch_B == self.stretch_B)
        self.ahead_B -= np.where(mine_B, lanes.steps_B, 0)
        ran_B = np.where(mine_B, ran_B, 0)
        lane_E, step_E = np.nonzero(np.arange(tokens_BC.shape[1]) < ran_B[:, None])
        at_E = lanes.position_B[lane_E] + 1 + step_E
        self.tape_BS[lane_E, at_E] = tokens_BC[lane_E, step_E]
        self.watched_BSW[lane_E, at_E] = watched_BCW[lane_E, step_E]
        self.fed_B += ran_B.astype(np.int32)
        known_B = np.where(mine_B, np.maximum(self.known_B, self.fed_B + 1), self.known_B)
        drawn = int((known_B - self.known_B).sum())
        self.known_B = known_B
        done_B = mine_B & (stopped_B | (known_B >= self.limit_B))
        finished = [(lane, bool(stopped_B[lane])) for lane in np.nonzero(done_B)[0].tolist()]
        for lane, _ in finished:
            self.running_B[lane] = False
            self.halt(lane)
        return drawn, finished

    def drawn(self, lane: int) -> list[int]:
        """What a lane has drawn since its last event."""
        return self.tape_BS[lane, self.begun_B[lane] : self.known_B[lane]].tolist()

    def resume(self, lane: int) -> bool:
        """Let a lane go on after a false alarm; False if it is at its limit."""
        self.running_B[lane] = self.known_B[lane] < self.limit_B[lane]
        return bool(self.running_B[lane])

    def event(self, sample: Sample, finish: str) -> Event:
        """What a sample that has just stopped has drawn since its last event."""
        lane = sample.lane
        drawn = slice(self.begun_B[lane], self.known_B[lane])
        return Event(
            handle=sample.handle,
            sample_id=sample.sample_id,
            tokens=self.drawn(lane),
            finish=finish,
            watched=self.watched_BSW[lane, drawn, : len(sample.request.watch)].copy(),
        )


def halves(x_B: np.ndarray) -> np.ndarray:
    """64-bit integers as (high, low) 32-bit halves, B2."""
    return np.stack([x_B >> np.uint64(32), x_B & np.uint64(0xFFFFFFFF)], -1).astype(np.uint32)
