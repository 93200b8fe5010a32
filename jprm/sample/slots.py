"""The slots of one group as the host sees them, and the work of the group's next visit to the device.

Everything is an array over slots, so that the steps of 64 slots are read and written by a few numpy calls. No JAX.

Shape letters: B slots, S tokens of the context, C decode steps of a visit, T = C + 1, X stop ids,
W logprob ids, R prefix rows, M slots of a row, E tokens that were drawn or fed.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jprm.sample.config import EngineConfig
from jprm.sample.prefix import PrefixRow, PrefixRows, RowPlaces, SampleRequest
from jprm.sampling import SampleEvent


@dataclasses.dataclass(slots=True)
class EngineStats:
    """Counts since the engine was made."""

    generated: int = 0  # tokens drawn
    forced: int = 0  # tokens given by `extend`
    prefilled: int = 0  # tokens fed in blocks: prompts, and forced texts of at least half a block
    cloned: int = 0  # prompt tokens copied from a sibling's slot, or from another prefix row, instead
    promoted: int = 0  # tokens of a continued sample that were copied into its prefix row instead
    slot_steps: int = 0  # slots x steps that ran; generated / slot_steps is the use that was made of them


@dataclasses.dataclass(slots=True, eq=False)
class SampleState:
    """What a handle stands for: a sample that is queued, or that has a slot."""

    handle: int
    sample_id: int
    request: SampleRequest
    max_tokens: int
    group: "SlotGroup | None" = None  # the one that it is in, or that it has to wait for
    slot: int = -1  # -1 while it is queued
    promised: PrefixRow | None = None  # the row that is kept for it while it is queued


class SlotSettings(NamedTuple):
    """What holds for each slot for as long as a sample is in it."""

    sample_id_B2: Any  # (high, low) 32-bit halves
    stops_BX: Any  # -1 where there is none
    has_stop_when_B: Any  # whether trigger tokens freeze it, too
    logprob_ids_BW: Any


class SlotInputs(NamedTuple):
    """What the host says about each slot at the start of a visit."""

    window_BT: Any  # the next token to feed, and those after it as far as they are known
    known_B: Any  # how many tokens of the window are known; the count runs on past it
    steps_B: Any  # the most steps that the slot may run; 0: frozen
    continues_B: Any  # whether it goes on where the visit before leaves it, stopped or not
    position_B: Any  # absolute position of window[0]
    settings: SlotSettings
    places: RowPlaces


class CacheWrites(NamedTuple):
    """What has to be written into the caches before the next decode steps, in this order.

    A line of a cache is a prefix row or, in a group without them, a slot.
    """

    promotions: list[tuple[int, int, int, int]]  # (slot, row, first entry, end): the slot's own fill the row's
    blocks: list[tuple[int, int, np.ndarray]]  # (line, position of the first token, at most block_tokens tokens)
    clones: list[tuple[int, int]]  # (source line, target line)


class DeviceWork(NamedTuple):
    """One visit to the device: write the caches, then run decode steps."""

    writes: CacheWrites
    inputs: SlotInputs
    epoch_B: np.ndarray  # of each slot when this was written (see `SlotGroup`)

    @property
    def decoded_entries(self) -> int:
        """Entries of the own cache that the decode steps fill at most."""
        inputs = self.inputs
        ends_B = inputs.position_B + inputs.steps_B - inputs.places.base_B
        return int(np.where(inputs.steps_B > 0, ends_B, 0).max())

    @property
    def fed_entries(self) -> int:
        """Entries that feeding blocks, and copying to the end of rows, fill at most."""
        fed = (start + len(ids) for _, start, ids in self.writes.blocks)
        copied = (end for *_, end in self.writes.promotions)
        return max([*fed, *copied], default=0)


class SlotGroup:
    """Slots with token buffers, each of which goes forward on its own.

    The first `fed` tokens of a slot have their keys and values in the cache. The first `known` are
    known: prompt, drawn or forced. The slot runs until `limit` are known, and what it has drawn since
    its last event begins at `begun`. Known but not fed are the last token drawn, and text forced after
    it. A step feeds the token at `fed`; if that was the last known one, it draws the next.

    A visit may be written before the one ahead of it has been read: it is written as if no slot
    stopped there. `ahead` steps of a slot are then under way. When a slot stops, changes hands or goes
    on, its `epoch` counts up, and what is still under way for the old one is ignored.
    """

    def __init__(self, config: EngineConfig, stats: EngineStats):
        B, S, W = config.group_slots, config.context_tokens, config.max_logprob_ids
        self.config, self.stats = config, stats
        self.free = list(range(B))[::-1]
        self.running_B = np.zeros(B, bool)
        self.handle_B = np.full(B, -1, np.int64)
        self.fed_B, self.known_B, self.limit_B, self.begun_B, self.ahead_B, self.epoch_B = np.zeros((6, B), np.int32)
        self.settings = SlotSettings(
            sample_id_B2=np.zeros((B, 2), np.uint32),
            stops_BX=np.full((B, config.max_stops), -1, np.int32),
            has_stop_when_B=np.zeros(B, bool),
            logprob_ids_BW=np.zeros((B, W), np.int32),
        )
        self.tokens_BS = np.zeros((B, S), np.int32)
        self.logprobs_BSW = np.zeros((B, S, W), np.float32)
        self.holders: dict[SampleRequest, list[int]] = {}  # slots whose first entries hold this prompt
        self.prefix = PrefixRows(B, config.group_rows, config.row_slots)
        self.writes = CacheWrites([], [], [])

    def can_admit(self, sample: SampleState) -> bool:
        """Whether a queued sample could be given a slot here now."""
        if not self.free or sample.group not in (None, self):
            return False
        return not self.config.prefix_rows or self.prefix.find(sample.request) is not None

    def admit(self, sample: SampleState) -> None:
        """Give a queued sample a free slot."""
        request, slot, settings = sample.request, self.free.pop(), self.settings
        sample.group, sample.slot = self, slot
        # 1. Note what holds for as long as the sample is in the slot.
        self.handle_B[slot] = sample.handle
        settings.sample_id_B2[slot] = halves(sample.sample_id)
        settings.stops_BX[slot], settings.logprob_ids_BW[slot] = -1, 0
        settings.stops_BX[slot, : len(request.stops)] = request.stops
        settings.logprob_ids_BW[slot, : len(request.logprob_ids)] = request.logprob_ids
        settings.has_stop_when_B[slot] = request.stop_when is not None
        # 2. Write the prompt into its token buffer.
        self.fed_B[slot] = self.known_B[slot] = 0
        self.write(slot, request.prompt, sample.max_tokens)
        # 3. Have all of the prompt but its last token in the cache: in a row that its samples share, or
        #    in the slot itself, copied from a sibling's where there is one.
        base = len(request.prompt) - 1
        if self.config.prefix_rows:
            self._enter_row(sample, base)
            return
        if holders := self.holders.setdefault(request, []):
            self.writes.clones.append((holders[0], slot))
            self.stats.cloned += base
            self.fed_B[slot] = base
        else:
            self.feed_blocks(slot, whole=True)
        holders.append(slot)

    def _enter_row(self, sample: SampleState, base: int) -> None:
        row, source, feed = self.prefix.enter(sample.slot, sample.request, base)
        if sample.promised is not None:
            sample.promised.readers -= 1
            sample.promised = None
        self.fed_B[sample.slot] = base
        if source is not None:
            self.writes.clones.append((source.index, row.index))
            self.stats.cloned += base
        elif feed:
            self._add_blocks(row.index, sample.request.prompt[:-1], 0)

    def continue_row(self, parent: SampleState, request: SampleRequest, n: int) -> PrefixRow:
        """Append what a stopped slot holds to its prefix row, for the n samples of a longer prompt.

        The slots that read the row see no further than their own prompt. Once for each prompt: the
        second would overwrite the first.
        """
        slot, places = parent.slot, self.prefix.places
        row = self.prefix.rows[places.row_B[slot]]
        base, fed = int(places.base_B[slot]), int(self.fed_B[slot])
        self.writes.promotions.append((slot, row.index, base, fed))
        self.stats.promoted += fed - base
        self._add_blocks(row.index, request.prompt[fed:-1], fed)
        self.prefix.hold(row, request)
        row.readers += n
        return row

    def write(self, slot: int, tokens: np.ndarray, max_tokens: int) -> None:
        """Put known tokens into the token buffer; the slot then runs if it may draw anything."""
        start = int(self.known_B[slot])
        end = start + len(tokens)
        self.tokens_BS[slot, start:end] = tokens
        self.known_B[slot] = self.begun_B[slot] = end
        self.limit_B[slot] = end + max_tokens
        self.running_B[slot] = max_tokens > 0
        self._end_epoch(slot)

    def _end_epoch(self, slot: int) -> None:
        """Have the steps of a slot that are under way ignored, because what they were written for is over."""
        self.ahead_B[slot] = 0
        self.epoch_B[slot] += 1

    def feed_blocks(self, slot: int, whole: bool) -> None:
        """Feed what is known, but its last token, in blocks.

        A rest below half a block is left to decode steps, where it costs less, unless `whole`: a
        prompt's rest would be decoded by each of its clones. What follows a prefix row is decoded.
        """
        if self.config.prefix_rows:
            return
        size, first = self.config.block_tokens, int(self.fed_B[slot])
        tokens = self.tokens_BS[slot, first : int(self.known_B[slot]) - 1]
        rest = len(tokens) % size
        if not whole and rest < size / 2:
            tokens = tokens[: len(tokens) - rest]
        self._add_blocks(slot, tokens, first)
        self.fed_B[slot] = first + len(tokens)

    def _add_blocks(self, line: int, tokens: np.ndarray, start: int) -> None:
        size = self.config.block_tokens
        for at in range(0, len(tokens), size):
            self.writes.blocks.append((line, start + at, tokens[at : at + size].copy()))
        self.stats.prefilled += len(tokens)

    def leave(self, sample: SampleState) -> None:
        """Free a sample's slot, whatever it was doing."""
        slot = sample.slot
        self.running_B[slot] = False
        self._end_epoch(slot)
        self.handle_B[slot] = -1
        self.free.append(slot)
        if self.config.prefix_rows:
            self.prefix.leave(slot)
            return
        self.writes.blocks[:] = [block for block in self.writes.blocks if block[0] != slot]
        self.holders[sample.request].remove(slot)
        if not self.holders[sample.request]:
            del self.holders[sample.request]

    def can_step(self) -> bool:
        """Whether some slot could run further steps than those that are under way."""
        return bool((self.running_B & (self._steps_left() > 0)).any())

    def _steps_left(self) -> np.ndarray:
        """Steps until each slot's limit, beyond those under way."""
        return self.limit_B - 1 - self.fed_B - self.ahead_B

    def next_work(self) -> DeviceWork:
        """The next visit to the device: all cache writes that have gathered, and decode steps."""
        C, last = self.config.decode_steps, self.config.context_tokens - 1
        # 1. Each slot goes on behind the steps that are under way, up to its limit.
        position_B = self.fed_B + self.ahead_B
        steps_B = np.where(self.running_B, np.minimum(self._steps_left(), C), 0).astype(np.int32)
        # 2. It is shown the tokens from there on: those that are known are fed as they are.
        at_BT = np.minimum(position_B[:, None] + np.arange(C + 1, dtype=np.int32), last)
        inputs = SlotInputs(
            window_BT=np.take_along_axis(self.tokens_BS, at_BT, 1),
            known_B=self.known_B - position_B,
            steps_B=steps_B,
            continues_B=self.ahead_B > 0,
            position_B=position_B,
            settings=SlotSettings(*map(np.copy, self.settings)),
            places=RowPlaces(*map(np.copy, self.prefix.places)),
        )
        # 3. From now on these steps are under way, and the writes are no longer waiting.
        self.ahead_B += steps_B
        self.stats.slot_steps += C * self.config.group_slots
        writes, self.writes = self.writes, CacheWrites([], [], [])
        return DeviceWork(writes, inputs, self.epoch_B.copy())

    def absorb(self, work: DeviceWork, tokens_BC, ran_B, stopped_B, logprobs_BCW) -> list[tuple[int, bool]]:
        """Write what a visit brought into the token buffers.

        Returns the slots that stand still now, with whether that is at a stop or a trigger.
        """
        inputs = work.inputs
        # 1. A slot whose epoch has ended since the work was written keeps nothing of it.
        mine_B = (inputs.steps_B > 0) & (work.epoch_B == self.epoch_B)
        self.ahead_B -= np.where(mine_B, inputs.steps_B, 0)
        ran_B = np.where(mine_B, ran_B, 0)
        # 2. Step i of a slot wrote the token after window[i], known or drawn.
        slot_E, step_E = np.nonzero(np.arange(tokens_BC.shape[1]) < ran_B[:, None])
        at_E = inputs.position_B[slot_E] + 1 + step_E
        self.tokens_BS[slot_E, at_E] = tokens_BC[slot_E, step_E]
        self.logprobs_BSW[slot_E, at_E] = logprobs_BCW[slot_E, step_E]
        # 3. It counts as drawn if it lies behind what was known.
        self.fed_B += ran_B.astype(np.int32)
        known_B = np.where(mine_B, np.maximum(self.known_B, self.fed_B + 1), self.known_B)
        self.stats.generated += int((known_B - self.known_B).sum())
        self.known_B = known_B
        # 4. Halt the slots that froze at a stop or a trigger, or that are at their limit.
        done_B = mine_B & (stopped_B | (known_B >= self.limit_B))
        finished = [(slot, bool(stopped_B[slot])) for slot in np.nonzero(done_B)[0].tolist()]
        for slot, _ in finished:
            self.running_B[slot] = False
            self._end_epoch(slot)
        return finished

    def drawn(self, slot: int) -> list[int]:
        """What a slot has drawn since its last event."""
        return self.tokens_BS[slot, self.begun_B[slot] : self.known_B[slot]].tolist()

    def resume(self, slot: int) -> bool:
        """Let a slot go on after a false alarm; False if it is at its limit."""
        self.running_B[slot] = self.known_B[slot] < self.limit_B[slot]
        return bool(self.running_B[slot])

    def event(self, sample: SampleState, finish: str) -> SampleEvent:
        """The news of a sample that has just stopped."""
        slot = sample.slot
        since = slice(self.begun_B[slot], self.known_B[slot])
        logprobs = self.logprobs_BSW[slot, since, : len(sample.request.logprob_ids)].copy()
        return SampleEvent(sample.handle, sample.sample_id, self.drawn(slot), finish, logprobs)


def halves(x: int) -> np.ndarray:
    """A 64-bit integer as its (high, low) 32-bit halves."""
    return np.array(divmod(x, 1 << 32), np.uint32)
