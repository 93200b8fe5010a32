"""Random schedules on a pretended device that remembers what was written to every entry of every slot
and prefix row.
"""

import dataclasses

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.sample import EngineConfig
from jprm.sample.schedule import Scheduler

VOCAB, STOPS, TRIGGERS = 50, (0, 1, 2), (6, 7, 8, 9)
GARBAGE = -2


def next_token(sample_id: int, position: int) -> int:
    return (sample_id * 31 + position * 17 + position * position * sample_id) % VOCAB


def stop_when(drawn: list[int]) -> bool:
    return sum(drawn) % 3 == 0


class PretendedDevice:
    """Carries out DeviceWork. Before a slot's step it checks that its entries hold exactly the tokens fed
    so far.
    """

    def __init__(self, config):
        self.config = config
        self.own_BS = np.full((config.group_slots, config.slot_entries), GARBAGE)
        self.rows_RP = np.full((config.group_rows, config.most_prompt_tokens), GARBAGE)
        self.token_B = np.zeros(config.group_slots, int)
        self.stopped_B = np.zeros(config.group_slots, bool)

    def fed(self, places, slot, position):
        """The tokens up to a position that a slot can see."""
        base = places.base_B[slot]
        shared = self.rows_RP[places.row_B[slot], :base].tolist() if base else []
        if base:
            assert places.slots_RM[places.row_B[slot], places.column_B[slot]] == slot
        return shared + self.own_BS[slot, : position - base + 1].tolist()

    def run(self, work, buffers, handle_B):
        """buffers: by handle, each with what it will have drawn when it stops."""
        inputs, writes = work.inputs, work.writes
        settings, places = inputs.settings, inputs.places
        B, C, size = len(inputs.steps_B), self.config.decode_steps, self.config.block_tokens
        lines = self.rows_RP if self.config.prefix_rows else self.own_BS
        for slot, row, start, end in writes.promotions:
            self.rows_RP[row, start:end] = self.own_BS[slot, : end - start]
        for line, start, ids in writes.blocks:
            assert 0 < len(ids) <= size
            lines[line, start : start + size] = GARBAGE
            lines[line, start : start + len(ids)] = ids
        for source, target in writes.clones:
            lines[target] = lines[source]
        tokens_BC = np.full((B, C), -7)
        ran_B, stopped_B = np.zeros(B, int), np.zeros(B, bool)
        for slot in range(B):
            high, low = settings.sample_id_B2[slot].tolist()
            sample_id = high << 32 | low
            going_on = inputs.continues_B[slot]
            token = self.token_B[slot] if going_on else inputs.window_BT[slot, 0]
            if not (going_on and self.stopped_B[slot]):
                self.stopped_B[slot] = False
                entry = inputs.position_B[slot] - places.base_B[slot]
                self.own_BS[slot, entry : entry + 1] = GARBAGE  # a frozen slot writes, too
                for i in range(int(inputs.steps_B[slot])):
                    position = int(inputs.position_B[slot]) + i
                    self.own_BS[slot, position - places.base_B[slot]] = token
                    assert self.fed(places, slot, position) == buffers[handle_B[slot]][: position + 1]
                    forced = i + 1 < inputs.known_B[slot]
                    token = inputs.window_BT[slot, i + 1] if forced else next_token(sample_id, position + 1)
                    tokens_BC[slot, i] = token
                    ran_B[slot] += 1
                    heard = settings.has_stop_when_B[slot] and token in TRIGGERS
                    if not forced and (token in settings.stops_BX[slot] or heard):
                        stopped_B[slot] = self.stopped_B[slot] = True
                        break
            self.token_B[slot] = token
        logprobs_BCW = np.repeat(tokens_BC[..., None], 2, -1).astype(np.float32)
        return tokens_BC, ran_B, stopped_B, logprobs_BCW


def expected(buffer, sample_id, max_tokens, asked):
    """What a sample draws next, one token at a time."""
    drawn = []
    while len(drawn) < max_tokens:
        drawn.append(next_token(sample_id, len(buffer) + len(drawn)))
        if drawn[-1] in STOPS or (asked and drawn[-1] in TRIGGERS and stop_when(drawn)):
            return drawn, "stop"
    return drawn, "length"


@dataclasses.dataclass
class Held:
    """The oracle's knowledge of one handle."""

    group: int
    sample_id: int
    asked: bool
    prompt_tokens: int
    buffer: list[int]
    wanted: tuple[list[int], str]


class Oracle:
    """Drives a schedule at random and checks every event against what the sample must say."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        slot_groups = int(rng.integers(1, 4))
        context = int(rng.integers(60, 120))
        shared = bool(rng.random() < 0.7)
        self.config = EngineConfig(
            slots=slot_groups * int(rng.integers(1, 6)),
            slot_groups=slot_groups,
            context_tokens=context,
            decode_steps=int(rng.integers(1, 9)),
            block_tokens=int(rng.integers(1, 9)),
            in_flight=int(rng.integers(1, 4)),
            prefix_rows=slot_groups * int(rng.integers(1, 5)) if shared else 0,
            row_slots=int(rng.integers(1, 5)),
            own_tokens=int(rng.integers(40, 60)),
        )
        self.schedule = Scheduler(self.config, VOCAB)
        self.devices = [PretendedDevice(self.config) for _ in range(slot_groups)]
        self.flights = [[] for _ in range(slot_groups)]
        self.held: dict[int, Held] = {}
        self.idle, self.continued, self.cancelled = [], set(), set()
        self.groups = self.generated = self.forced = 0

    def submit(self, parent=None):
        rng = self.rng
        more = rng.integers(3, VOCAB, rng.integers(1, 25)).tolist()
        prompt = more if parent is None else self.held[parent].buffer + more
        ids = rng.integers(0, 2**62, rng.integers(1, 7)).tolist()
        max_tokens, asked = int(rng.integers(1, 20)), bool(rng.random() < 0.5)
        arguments = dict(max_tokens=max_tokens, stops=STOPS, logprob_ids=(4, 5), parent=parent)
        arguments["stop_when"] = stop_when if asked else None
        if len(prompt) + max_tokens > self.config.context_tokens:
            with pytest.raises(UserError, match="context_tokens"):
                self.schedule.submit(prompt, ids, **arguments)
            return
        if parent is not None and self.config.prefix_rows:
            if self.held[parent].group in self.continued:
                with pytest.raises(UserError, match="one way only"):
                    self.schedule.submit(prompt, ids, **arguments)
                return
            self.continued.add(self.held[parent].group)
        self.groups += 1
        for handle, sample_id in zip(self.schedule.submit(prompt, ids, **arguments), ids, strict=True):
            wanted = expected(prompt, sample_id, max_tokens, asked)
            self.held[handle] = Held(self.groups, sample_id, asked, len(prompt), list(prompt), wanted)

    def release(self, handle):
        self.schedule.release(handle)
        self.idle = [h for h in self.idle if h != handle]
        self.cancelled.add(handle)

    def start(self, i):
        group = self.schedule._groups[i]
        if len(self.flights[i]) < self.config.in_flight and self.schedule._can_run(group):
            work = self.schedule._next_work(group)
            here = [self.held.get(handle) for handle in group.handle_B.tolist()]
            buffers = {h: x.buffer + x.wanted[0] for h, x in zip(group.handle_B, here, strict=True) if x}
            outputs = self.devices[i].run(work, buffers, group.handle_B)
            self.flights[i].append((work, outputs))

    def land(self, i):
        if self.flights[i]:
            work, outputs = self.flights[i].pop(0)
            self.schedule._absorb(self.schedule._groups[i], work, outputs)

    def hear(self):
        for event in self.schedule._take_events():
            assert event.handle not in self.cancelled
            held = self.held[event.handle]
            assert (event.tokens, event.finish) == held.wanted
            assert event.sample_id == held.sample_id
            assert event.logprobs.tolist() == [[t, t] for t in event.tokens]
            held.buffer += event.tokens
            held.wanted = [], ""
            self.generated += len(event.tokens)
            self.idle.append(event.handle)

    def go_on(self):
        rng = self.rng
        handle = self.idle.pop(int(rng.integers(len(self.idle))))
        held = self.held[handle]
        known, config = len(held.buffer), self.config
        room = min(config.context_tokens - known, config.most_own_tokens - (known - held.prompt_tokens))
        more = rng.integers(3, VOCAB, rng.integers(0, 20)).tolist()
        max_tokens = int(rng.integers(0, 12))
        if rng.random() < 0.2:
            self.submit(parent=handle)
        if len(more) + max_tokens > room or rng.random() < 0.3:
            self.release(handle)
            return
        self.schedule.extend(handle, more, max_tokens=max_tokens)
        held.buffer += more
        self.forced += len(more)
        held.wanted = expected(held.buffer, held.sample_id, max_tokens, held.asked)

    def check_end(self):
        schedule, config = self.schedule, self.config
        assert not schedule._queue
        for group in schedule._groups:
            assert sorted(group.free) == list(range(config.group_slots))
            assert not group.running_B.any() and not group.holders and (group.handle_B == -1).all()
            assert not group.ahead_B.any()
            for row in group.prefix.rows:
                assert row.readers == 0
                assert sorted(row.free_columns) == list(range(config.row_slots))
        assert schedule.stats.forced == self.forced
        assert self.cancelled or schedule.stats.generated == self.generated


@pytest.mark.parametrize("block", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 10))])
def test_random_schedules_balance(block):
    for seed in range(50 * block, 50 * block + 50):
        oracle = Oracle(seed)
        rng, submissions = oracle.rng, int(oracle.rng.integers(3, 12))
        while submissions or oracle.schedule._samples or any(oracle.flights):
            if submissions and rng.random() < 0.3:
                submissions -= 1
                oracle.submit()
            if oracle.schedule._samples and rng.random() < 0.02:
                oracle.release(int(rng.choice(list(oracle.schedule._samples))))
            for i in range(oracle.config.slot_groups):
                if rng.random() < 0.7:
                    oracle.start(i)
            if rng.random() < 0.7:
                oracle.land(int(rng.integers(oracle.config.slot_groups)))
            oracle.hear()
            while oracle.idle and rng.random() < 0.5:
                oracle.go_on()
        oracle.check_end()


def schedule_of(**sizes):
    return Scheduler(EngineConfig(**{"slots": 2, "slot_groups": 1, "context_tokens": 20} | sizes), VOCAB)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(prompt=[]), "prompt is empty"),
        (dict(prompt=[3] * 16), "16 tokens.*max_tokens = 5.*context_tokens = 20"),
        (dict(prompt=[3, VOCAB]), f"prompt token {VOCAB}"),
        (dict(sample_ids=[]), "no sample ids"),
        (dict(sample_ids=[2**63]), "2\\*\\*63"),
        (dict(max_tokens=0), "max_tokens = 0"),
        (dict(logprob_ids=[VOCAB]), f"logprob id {VOCAB}"),
        (dict(stops=[-1]), "stop id -1"),
        (dict(logprob_ids=[1, 2, 3]), "max_logprob_ids = 2"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(change, words):
    schedule = schedule_of()
    request = dict(prompt=[3] * 4, sample_ids=[1, 1], max_tokens=5, stops=(), logprob_ids=(1,))
    with pytest.raises(UserError, match=words):
        schedule.submit(**request | change)
    assert not schedule._queue and not schedule._samples
    assert schedule.submit(**request) == [0, 1]


def test_extend_and_release_refuse_what_they_cannot_do():
    schedule = schedule_of()
    (handle,) = schedule.submit([3] * 4, [1], max_tokens=5)
    with pytest.raises(UserError, match="has not stopped"):
        schedule.extend(handle, [1], max_tokens=1)
    group = schedule._groups[0]
    device = PretendedDevice(schedule.config)
    work = schedule._next_work(group)
    buffer = {handle: [3] * 4 + expected([3] * 4, 1, 5, False)[0]}
    schedule._absorb(group, work, device.run(work, buffer, group.handle_B))
    assert [event.finish for event in schedule._take_events()] == ["length"]
    with pytest.raises(UserError, match="9 tokens \\+ 8 forced \\+ max_tokens = 4"):
        schedule.extend(handle, [1] * 8, max_tokens=4)
    schedule.release(handle)
    with pytest.raises(UserError, match="unknown or released"):
        schedule.extend(handle, [1], max_tokens=1)


def test_a_prompt_is_filled_in_once_while_a_sibling_holds_it():
    schedule = schedule_of(slots=4)
    schedule.submit([3] * 9, range(4), max_tokens=5)
    schedule._next_work(schedule._groups[0])
    assert (schedule.stats.prefilled, schedule.stats.cloned) == (8, 24)


def shared_schedule(**sizes):
    config = dict(slots=6, slot_groups=1, context_tokens=60, prefix_rows=3, row_slots=3, own_tokens=20)
    return Scheduler(EngineConfig(**config | sizes), VOCAB)


def test_a_prompt_is_fed_once_and_copied_to_further_rows():
    schedule = shared_schedule()
    handles = schedule.submit([3] * 9, range(8), max_tokens=5)
    schedule._next_work(schedule._groups[0])
    assert (schedule.stats.prefilled, schedule.stats.cloned) == (8, 8)
    for handle in handles[:6]:
        schedule.release(handle)
    schedule._next_work(schedule._groups[0])
    assert (schedule.stats.prefilled, schedule.stats.cloned) == (8, 8), "rows outlive their readers"


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(prompt=[3] * 31), "31 tokens.*prefix_tokens = 30"),
        (dict(max_tokens=21), "max_tokens = 21.*own_tokens = 20"),
        (dict(parent=99), "handle 99 is unknown"),
    ],
)
def test_bad_requests_with_rows_are_refused(change, words):
    schedule = shared_schedule(prefix_tokens=30)
    request = dict(prompt=[3] * 4, sample_ids=[1], max_tokens=5, stops=(), logprob_ids=())
    with pytest.raises(UserError, match=words):
        schedule.submit(**request | change)
    assert not schedule._queue and schedule.submit(**request) == [0]


def test_only_a_stopped_sample_whose_tokens_begin_the_prompt_is_continued():
    schedule = shared_schedule()
    (handle,) = schedule.submit([3] * 4, [1], max_tokens=5)
    more = dict(sample_ids=[2, 3], max_tokens=5, stops=(), logprob_ids=(), parent=handle)
    with pytest.raises(UserError, match="has not stopped"):
        schedule.submit([3] * 10, **more)
    group, device = schedule._groups[0], PretendedDevice(schedule.config)
    buffer = [3] * 4 + expected([3] * 4, 1, 5, False)[0]
    work = schedule._next_work(group)
    schedule._absorb(group, work, device.run(work, {handle: buffer}, group.handle_B))
    with pytest.raises(UserError, match="does not begin with the 9 tokens"):
        schedule.submit([3] * 20, **more)
    schedule.submit([*buffer, 5, 6, 7], **more)
    schedule.release(handle)
    assert (schedule.stats.promoted, schedule.stats.prefilled) == (5, 3 + 3)
    with pytest.raises(UserError, match="own_tokens = 20"):
        schedule.submit([3], [1], max_tokens=21)
