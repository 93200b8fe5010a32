"""The lanes of one cache as the host sees them, and the description of one visit of the device.

Arrays over lanes, so that a chunk of 64 lanes is read and written by a few numpy calls. No JAX.

Shape letters: B lanes, S tokens of the context, C steps of a chunk, T = C + 1, X stop ids,
W watched ids.
"""

import dataclasses

import numpy as np

from jprm.sample.config import EngineConfig
from jprm.sample.request import Event, Request


@dataclasses.dataclass(slots=True, eq=False)
class Sample:
    """What a handle stands for: queued (no bank), or in a lane."""

    handle: int
    sample_id: int
    request: Request
    bank: "Bank | None" = None
    lane: int = -1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One visit of the device: feed blocks, copy lanes, run a chunk. In numpy.

    blocks: (lane, position of the first token, at most block_tokens tokens).
    clones: (source lane, target lane).
    handle_B: whose lane it was when this was written.
    window_BT: the token at `position`, and those after it as far as they are known.
    known_B: how many of these are known (the count runs on past the window).
    steps_B: the most steps that the lane may run; 0: frozen.
    """

    blocks: list[tuple[int, int, np.ndarray]]
    clones: list[tuple[int, int]]
    handle_B: np.ndarray
    window_BT: np.ndarray
    known_B: np.ndarray
    steps_B: np.ndarray
    position_B: np.ndarray
    sample_id_B: np.ndarray
    stops_BX: np.ndarray
    watch_BW: np.ndarray


class Bank:
    """A lane is a tape of tokens, on which it goes forward.

    The first `fed` tokens have their keys and values in the cache. The first `known` are known:
    prompt, drawn or forced. The lane runs until `limit` are known, and what it has drawn since its
    last event begins at `begun`. Known but not fed are the last token drawn, and text forced after
    it. A step feeds the token at `fed`; if that was the last known one, it draws the next.
    """

    def __init__(self, config: EngineConfig):
        """All lanes free."""
        B, S, W = config.bank_lanes, config.context_tokens, config.max_watch
        self.config = config
        self.free = list(range(B))[::-1]
        self.running_B = np.zeros(B, bool)
        self.handle_B = np.full(B, -1, np.int64)
        self.fed_B, self.known_B, self.limit_B, self.begun_B = np.zeros((4, B), np.int32)
        self.sample_id_B = np.zeros(B, np.uint64)
        self.stops_BX = np.full((B, config.max_stops), -1, np.int32)
        self.watch_BW = np.zeros((B, W), np.int32)
        self.tape_BS = np.zeros((B, S), np.int32)
        self.watched_BSW = np.zeros((B, S, W), np.float32)
        self.holders: dict[Request, list[int]] = {}  # lanes whose first slots hold this prompt
        self.blocks: list[tuple[int, int, np.ndarray]] = []
        self.clones: list[tuple[int, int]] = []

    def admit(self, sample: Sample) -> tuple[int, int]:
        """Give a sample a free lane; returns how many prompt tokens are (fed, cloned) for it."""
        request, lane = sample.request, self.free.pop()
        sample.bank, sample.lane = self, lane
        self.handle_B[lane], self.sample_id_B[lane] = sample.handle, sample.sample_id
        self.stops_BX[lane], self.watch_BW[lane] = -1, 0
        self.stops_BX[lane, : len(request.stops)] = request.stops
        self.watch_BW[lane, : len(request.watch)] = request.watch
        self.fed_B[lane] = self.known_B[lane] = 0
        self.write(lane, request.prompt, request.max_tokens)
        holders = self.holders.setdefault(request, [])
        if holders:
            self.clones.append((holders[0], lane))
            self.fed_B[lane] = len(request.prompt) - 1
            counts = 0, len(request.prompt) - 1
        else:
            counts = self.feed_blocks(lane, whole=True), 0
        holders.append(lane)
        return counts

    def write(self, lane: int, tokens: np.ndarray, max_tokens: int) -> None:
        """Put known tokens on the tape; the lane then runs, if it may draw anything."""
        start = int(self.known_B[lane])
        end = start + len(tokens)
        self.tape_BS[lane, start:end] = tokens
        self.known_B[lane] = self.begun_B[lane] = end
        self.limit_B[lane] = end + max_tokens
        self.running_B[lane] = max_tokens > 0

    def feed_blocks(self, lane: int, whole: bool) -> int:
        """Feed what is known, but its last token, in blocks; returns how many tokens that is.

        A rest below half a block is left to decode steps, where it costs less, unless `whole`: a
        prompt's rest would be decoded by each of its clones.
        """
        size = self.config.block_tokens
        first = start = int(self.fed_B[lane])
        end = int(self.known_B[lane]) - 1
        while start < end and (whole or end - start >= size / 2):
            stop = min(start + size, end)
            self.blocks.append((lane, start, self.tape_BS[lane, start:stop].copy()))
            start = stop
        self.fed_B[lane] = start
        return start - first

    def leave(self, sample: Sample) -> None:
        """Free a sample's lane, whatever it was doing."""
        lane = sample.lane
        self.running_B[lane] = False
        self.handle_B[lane] = -1
        self.free.append(lane)
        self.blocks = [block for block in self.blocks if block[0] != lane]
        holders = self.holders[sample.request]
        holders.remove(lane)
        if not holders:
            del self.holders[sample.request]

    def work(self) -> Work:
        """The next visit of the device: all that has gathered, and a chunk of decode steps."""
        C, last = self.config.chunk_steps, self.config.context_tokens - 1
        position_B = self.fed_B.copy()
        at_BT = np.minimum(position_B[:, None] + np.arange(C + 1, dtype=np.int32), last)
        left_B = np.minimum(self.limit_B - 1 - self.fed_B, C)
        blocks, clones = self.blocks, self.clones
        self.blocks, self.clones = [], []
        return Work(
            blocks=blocks,
            clones=clones,
            handle_B=self.handle_B.copy(),
            window_BT=np.take_along_axis(self.tape_BS, at_BT, 1),
            known_B=self.known_B - self.fed_B,
            steps_B=np.where(self.running_B, left_B, 0).astype(np.int32),
            position_B=position_B,
            sample_id_B=self.sample_id_B.copy(),
            stops_BX=self.stops_BX.copy(),
            watch_BW=self.watch_BW.copy(),
        )

    def absorb(self, work: Work, tokens_BC, ran_B, stopped_B, watched_BCW) -> tuple[int, list[int]]:
        """Write a chunk's outcome on the tapes; returns (tokens drawn, lanes that finished).

        Lanes that have changed hands since the chunk began keep nothing of it.
        """
        mine_B = (work.steps_B > 0) & (work.handle_B == self.handle_B)
        ran_B = np.where(mine_B, ran_B, 0)
        lane_E, step_E = np.nonzero(np.arange(tokens_BC.shape[1]) < ran_B[:, None])
        at_E = work.position_B[lane_E] + 1 + step_E
        self.tape_BS[lane_E, at_E] = tokens_BC[lane_E, step_E]
        self.watched_BSW[lane_E, at_E] = watched_BCW[lane_E, step_E]
        self.fed_B += ran_B.astype(np.int32)
        known_B = np.where(mine_B, np.maximum(self.known_B, self.fed_B + 1), self.known_B)
        drawn = int((known_B - self.known_B).sum())
        self.known_B = known_B
        done_B = mine_B & (stopped_B | (known_B >= self.limit_B))
        self.running_B &= ~done_B
        return drawn, np.nonzero(done_B)[0].tolist()

    def event(self, sample: Sample, finish: str) -> Event:
        """What a sample that has just stopped has drawn since its last event."""
        lane = sample.lane
        drawn = slice(self.begun_B[lane], self.known_B[lane])
        return Event(
            handle=sample.handle,
            sample_id=sample.sample_id,
            tokens=self.tape_BS[lane, drawn].tolist(),
            finish=finish,
            watched=self.watched_BSW[lane, drawn, : len(sample.request.watch)].copy(),
        )
