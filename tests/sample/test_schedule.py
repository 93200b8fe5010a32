"""Random schedules on a pretended device that remembers what was written to every slot of every lane
and prefix row.
"""

import dataclasses

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.sample import EngineConfig
from jprm.sample.schedule import Schedule

VOCAB, STOPS, TRIGGERS = 50, (0, 1, 2), (6, 7, 8, 9)
GARBAGE = -2


def next_token(sample_id: int, position: int) -> int:
    return (sample_id * 31 + position * 17 + position * position * sample_id) % VOCAB


def stop_when(drawn: list[int]) -> bool:
    return sum(drawn) % 3 == 0


class PretendedDevice:
    """Carries out Work. Before a lane's step it checks that the slots hold exactly the tokens fed
    so far.
    """

    def __init__(self, config):
        self.config = config
        self.own_BS = np.full((config.bank_lanes, config.slots), GARBAGE)
        self.rows_RP = np.full((config.bank_rows, config.most_prompt_tokens), GARBAGE)
        self.token_B = np.zeros(config.bank_lanes, int)
        self.stopped_B = np.zeros(config.bank_lanes, bool)

    def fed(self, lanes, lane, position):
        """The tokens up to a position that a lane can see."""
        base = lanes.base_B[lane]
        shared = self.rows_RP[lanes.row_B[lane], :base].tolist() if base else []
        if base:
            assert lanes.lanes_RM[lanes.row_B[lane], lanes.column_B[lane]] == lane
        return shared + self.own_BS[lane, : position - base + 1].tolist()

    def run(self, work, tapes, handle_B):
        """tapes: by handle, each with what it will have drawn when its stretch is over."""
        lanes = work.lanes
        B, C, size = len(lanes.steps_B), self.config.chunk_steps, self.config.block_tokens
        lines = self.rows_RP if self.config.prefix_rows else self.own_BS
        for lane, row, start, end in work.promotions:
            self.rows_RP[row, start:end] = self.own_BS[lane, : end - start]
        for line, start, ids in work.blocks:
            assert 0 < len(ids) <= size
            lines[line, start : start + size] = GARBAGE
            lines[line, start : start + len(ids)] = ids
        for source, target in work.clones:
            lines[target] = lines[source]
        tokens_BC = np.full((B, C), -7)
        ran_B, stopped_B = np.zeros(B, int), np.zeros(B, bool)
        for lane in range(B):
            high, low = lanes.sample_id_B2[lane].tolist()
            sample_id = high << 32 | low
            going_on = lanes.continues_B[lane]
            token = self.token_B[lane] if going_on else lanes.window_BT[lane, 0]
            if not (going_on and self.stopped_B[lane]):
                self.stopped_B[lane] = False
                slot = lanes.position_B[lane] - lanes.base_B[lane]
                self.own_BS[lane, slot : slot + 1] = GARBAGE  # a frozen lane writes, too
                for i in range(int(lanes.steps_B[lane])):
                    position = int(lanes.position_B[lane]) + i
                    self.own_BS[lane, position - lanes.base_B[lane]] = token
                    assert self.fed(lanes, lane, position) == tapes[handle_B[lane]][: position + 1]
                    forced = i + 1 < lanes.known_B[lane]
                    token = lanes.window_BT[lane, i + 1] if forced else next_token(sample_id, position + 1)
                    tokens_BC[lane, i] = token
                    ran_B[lane] += 1
                    heard = lanes.listens_B[lane] and token in TRIGGERS
                    if not forced and (token in lanes.stops_BX[lane] or heard):
                        stopped_B[lane] = self.stopped_B[lane] = True
                        break
            self.token_B[lane] = token
        watched_BCW = np.repeat(tokens_BC[..., None], 2, -1).astype(np.float32)
        return tokens_BC, ran_B, stopped_B, watched_BCW


def expected(tape, sample_id, max_tokens, listens):
    """What a sample draws next, one token at a time."""
    drawn = []
    while len(drawn) < max_tokens:
        drawn.append(next_token(sample_id, len(tape) + len(drawn)))
        if drawn[-1] in STOPS or (listens and drawn[-1] in TRIGGERS and stop_when(drawn)):
            return drawn, "stop"
    return drawn, "length"


@dataclasses.dataclass
class Held:
    """The oracle's knowledge of one handle."""

    group: int
    sample_id: int
    listens: bool
    tape: list[int]
    wanted: tuple[list[int], str]


class Oracle:
    """Drives a schedule at random and checks every event against what the sample must say."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        banks = int(rng.integers(1, 4))
        context = int(rng.integers(60, 120))
        shared = bool(rng.random() < 0.7)
        self.config = EngineConfig(
            lanes=banks * int(rng.integers(1, 6)),
            banks=banks,
            context_tokens=context,
            chunk_steps=int(rng.integers(1, 9)),
            block_tokens=int(rng.integers(1, 9)),
            in_flight=int(rng.integers(1, 4)),
            prefix_rows=banks * int(rng.integers(1, 5)) if shared else 0,
            row_lanes=int(rng.integers(1, 5)),
            own_tokens=int(rng.integers(40, 60)),
        )
        self.schedule = Schedule(self.config, VOCAB)
        self.devices = [PretendedDevice(self.config) for _ in range(banks)]
        self.flights = [[] for _ in range(banks)]
        self.held: dict[int, Held] = {}
        self.idle, self.continued, self.cancelled = [], set(), set()
        self.groups = self.generated = self.forced = 0

    def submit(self, parent=None):
        rng = self.rng
        more = rng.integers(3, VOCAB, rng.integers(1, 25)).tolist()
        prompt = more if parent is None else self.held[parent].tape + more
        ids = rng.integers(0, 2**62, rng.integers(1, 7)).tolist()
        max_tokens, listens = int(rng.integers(1, 20)), bool(rng.random() < 0.5)
        arguments = prompt, ids, max_tokens, STOPS, (4, 5), stop_when if listens else None, parent
        if len(prompt) + max_tokens > self.config.context_tokens:
            with pytest.raises(UserError, match="context_tokens"):
                self.schedule.submit(*arguments)
            return
        if parent is not None and self.config.prefix_rows:
            if self.held[parent].group in self.continued:
                with pytest.raises(UserError, match="one way only"):
                    self.schedule.submit(*arguments)
                return
            self.continued.add(self.held[parent].group)
        self.groups += 1
        for handle, sample_id in zip(self.schedule.submit(*arguments), ids, strict=True):
            wanted = expected(prompt, sample_id, max_tokens, listens)
            self.held[handle] = Held(self.groups, sample_id, listens, list(prompt), wanted)

    def release(self, handle):
        self.schedule.release(handle)
        self.idle = [h for h in self.idle if h != handle]
        self.cancelled.add(handle)

    def start(self, i):
        bank = self.schedule.banks[i]
        if len(self.flights[i]) < self.config.in_flight and self.schedule.can_run(bank):
            work = self.schedule.work(bank)
            here = [self.held.get(handle) for handle in bank.handle_B.tolist()]
            tapes = {h: x.tape + x.wanted[0] for h, x in zip(bank.handle_B, here, strict=True) if x}
            outputs = self.devices[i].run(work, tapes, bank.handle_B)
            self.flights[i].append((work, outputs))

    def land(self, i):
        if self.flights[i]:
            work, outputs = self.flights[i].pop(0)
            self.schedule.absorb(self.schedule.banks[i], work, *outputs)

    def hear(self):
        for event in self.schedule.take_events():
            assert event.handle not in self.cancelled
            held = self.held[event.handle]
            assert (event.tokens, event.finish) == held.wanted
            assert event.sample_id == held.sample_id
            assert event.watched.tolist() == [[t, t] for t in event.tokens]
            held.tape += event.tokens
            held.wanted = [], ""
            self.generated += len(event.tokens)
            self.idle.append(event.handle)

    def go_on(self):
        rng = self.rng
        handle = self.idle.pop(int(rng.integers(len(self.idle))))
        held = self.held[handle]
        room = self.schedule.room(handle)
        more = rng.integers(3, VOCAB, rng.integers(0, 20)).tolist()
        max_tokens = int(rng.integers(0, 12))
        if rng.random() < 0.2:
            self.submit(parent=handle)
        if len(more) + max_tokens > room or rng.random() < 0.3:
            self.release(handle)
            return
        self.schedule.extend(handle, more, max_tokens)
        held.tape += more
        self.forced += len(more)
        held.wanted = expected(held.tape, held.sample_id, max_tokens, held.listens)

    def check_end(self):
        schedule, config = self.schedule, self.config
        assert not schedule.queue
        for bank in schedule.banks:
            assert sorted(bank.free) == list(range(config.bank_lanes))
            assert not bank.running_B.any() and not bank.holders and (bank.handle_B == -1).all()
            assert not bank.ahead_B.any()
            for row in bank.prefix.rows:
                assert row.readers == 0
                assert sorted(row.columns) == list(range(config.row_lanes))
        assert schedule.stats.forced == self.forced
        assert self.cancelled or schedule.stats.generated == self.generated


@pytest.mark.parametrize("block", range(10))
def test_500_random_schedules_balance(block):
    for seed in range(50 * block, 50 * block + 50):
        oracle = Oracle(seed)
        rng, submissions = oracle.rng, int(oracle.rng.integers(3, 12))
        while submissions or oracle.schedule.samples or any(oracle.flights):
            if submissions and rng.random() < 0.3:
                submissions -= 1
                oracle.submit()
            if oracle.schedule.samples and rng.random() < 0.02:
                oracle.release(int(rng.choice(list(oracle.schedule.samples))))
            for i in range(oracle.config.banks):
                if rng.random() < 0.7:
                    oracle.start(i)
            if rng.random() < 0.7:
                oracle.land(int(rng.integers(oracle.config.banks)))
            oracle.hear()
            while oracle.idle and rng.random() < 0.5:
                oracle.go_on()
        oracle.check_end()


def schedule_of(**sizes):
    return Schedule(EngineConfig(**{"lanes": 2, "banks": 1, "context_tokens": 20} | sizes), VOCAB)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(prompt=[]), "prompt is empty"),
        (dict(prompt=[3] * 16), "16 tokens.*max_tokens = 5.*context_tokens = 20"),
        (dict(prompt=[3, VOCAB]), f"prompt token {VOCAB}"),
        (dict(sample_ids=[]), "no sample ids"),
        (dict(sample_ids=[2**63]), "2\\*\\*63"),
        (dict(max_tokens=0), "max_tokens = 0"),
        (dict(watch=[VOCAB]), f"watch id {VOCAB}"),
        (dict(stops=[-1]), "stop id -1"),
        (dict(watch=[1, 2, 3]), "max_watch = 2"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(change, words):
    schedule = schedule_of()
    request = dict(prompt=[3] * 4, sample_ids=[1, 1], max_tokens=5, stops=(), watch=(1,))
    with pytest.raises(UserError, match=words):
        schedule.submit(**request | change)
    assert not schedule.queue and not schedule.samples
    assert schedule.submit(**request) == [0, 1]


def test_extend_and_release_refuse_what_they_cannot_do():
    schedule = schedule_of()
    (handle,) = schedule.submit([3] * 4, [1], 5, (), ())
    with pytest.raises(UserError, match="has not stopped"):
        schedule.extend(handle, [1], 1)
    bank = schedule.banks[0]
    device = PretendedDevice(schedule.config)
    work = schedule.work(bank)
    tape = {handle: [3] * 4 + expected([3] * 4, 1, 5, False)[0]}
    schedule.absorb(bank, work, *device.run(work, tape, bank.handle_B))
    assert [event.finish for event in schedule.take_events()] == ["length"]
    with pytest.raises(UserError, match="9 tokens \\+ 8 forced \\+ max_tokens = 4"):
        schedule.extend(handle, [1] * 8, 4)
    schedule.release(handle)
    with pytest.raises(UserError, match="unknown or released"):
        schedule.extend(handle, [1], 1)


def test_a_prompt_is_filled_in_once_while_a_sibling_holds_it():
    schedule = schedule_of(lanes=4)
    schedule.submit([3] * 9, range(4), 5, (), ())
    schedule.work(schedule.banks[0])
    assert (schedule.stats.prefilled, schedule.stats.cloned) == (8, 24)


def shared_schedule(**sizes):
    config = dict(lanes=6, banks=1, context_tokens=60, prefix_rows=3, row_lanes=3, own_tokens=20)
    return Schedule(EngineConfig(**config | sizes), VOCAB)


def test_a_prompt_is_fed_once_and_copied_to_further_rows():
    schedule = shared_schedule()
    handles = schedule.submit([3] * 9, range(8), 5, (), ())
    schedule.work(schedule.banks[0])
    assert (schedule.stats.prefilled, schedule.stats.cloned) == (8, 8)
    for handle in handles[:6]:
        schedule.release(handle)
    schedule.work(schedule.banks[0])
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
    request = dict(prompt=[3] * 4, sample_ids=[1], max_tokens=5, stops=(), watch=())
    with pytest.raises(UserError, match=words):
        schedule.submit(**request | change)
    assert not schedule.queue and schedule.submit(**request) == [0]


def test_only_a_stopped_sample_whose_tokens_begin_the_prompt_is_continued():
    schedule = shared_schedule()
    (handle,) = schedule.submit([3] * 4, [1], 5, (), ())
    more = dict(sample_ids=[2, 3], max_tokens=5, stops=(), watch=(), parent=handle)
    with pytest.raises(UserError, match="has not stopped"):
        schedule.submit([3] * 10, **more)
    bank, device = schedule.banks[0], PretendedDevice(schedule.config)
    tape = [3] * 4 + expected([3] * 4, 1, 5, False)[0]
    work = schedule.work(bank)
    schedule.absorb(bank, work, *device.run(work, {handle: tape}, bank.handle_B))
    with pytest.raises(UserError, match="does not begin with the 9 tokens"):
        schedule.submit([3] * 20, **more)
    schedule.submit([*tape, 5, 6, 7], **more)
    schedule.release(handle)
    assert (schedule.stats.promoted, schedule.stats.prefilled) == (5, 3 + 3)
    with pytest.raises(UserError, match="own_tokens = 20"):
        schedule.submit([3], [1], 21, (), ())
