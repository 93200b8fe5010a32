"""Random schedules on a pretended device that remembers what was written to every slot of every
lane.
"""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.sample import EngineConfig
from jprm.sample.schedule import Schedule

VOCAB, STOPS = 50, (0, 1, 2)


def next_token(sample_id: int, position: int) -> int:
    return (sample_id * 31 + position * 17 + position * position * sample_id) % VOCAB


class PretendedDevice:
    """Carries out Work. Before a lane's step it checks that the slots hold exactly the tokens fed
    so far.
    """

    def __init__(self, config):
        self.config = config
        self.slots_BS = np.full((config.bank_lanes, config.slots), -1)

    def run(self, work, tapes):
        B, C = len(work.steps_B), self.config.chunk_steps
        for lane, start, ids in work.blocks:
            assert 0 < len(ids) <= self.config.block_tokens
            self.slots_BS[lane, start : start + len(ids)] = ids
        for source, target in work.clones:
            self.slots_BS[target] = self.slots_BS[source]
        tokens_BC = np.full((B, C), -7)
        ran_B, stopped_B = np.zeros(B, int), np.zeros(B, bool)
        for lane in range(B):
            token = work.window_BT[lane, 0]
            self.slots_BS[
                lane, work.position_B[lane]
            ] = -2  # what a frozen lane's garbage write does
            for i in range(int(work.steps_B[lane])):
                position = int(work.position_B[lane]) + i
                self.slots_BS[lane, position] = token
                fed = tapes[work.handle_B[lane]][: position + 1]
                assert self.slots_BS[lane, : position + 1].tolist() == fed
                forced = i + 1 < work.known_B[lane]
                token = (
                    work.window_BT[lane, i + 1]
                    if forced
                    else next_token(int(work.sample_id_B[lane]), position + 1)
                )
                tokens_BC[lane, i] = token
                ran_B[lane] += 1
                if not forced and token in work.stops_BX[lane]:
                    stopped_B[lane] = True
                    break
        watched_BCW = np.repeat(tokens_BC[..., None], 2, -1).astype(np.float32)
        return tokens_BC, ran_B, stopped_B, watched_BCW


def expected(tape, sample_id, max_tokens):
    """What a sample draws next, one token at a time."""
    drawn = []
    while len(drawn) < max_tokens:
        drawn.append(next_token(sample_id, len(tape) + len(drawn)))
        if drawn[-1] in STOPS:
            return drawn, "stop"
    return drawn, "length"


@pytest.mark.parametrize("seed", range(40))
def test_random_schedules_balance(seed):
    rng = np.random.default_rng(seed)
    banks = int(rng.integers(1, 4))
    config = EngineConfig(
        lanes=banks * int(rng.integers(1, 6)),
        banks=banks,
        context_tokens=int(rng.integers(60, 120)),
        chunk_steps=int(rng.integers(1, 9)),
        block_tokens=int(rng.integers(1, 9)),
    )
    schedule = Schedule(config, VOCAB)
    devices = [PretendedDevice(config) for _ in range(banks)]
    flights = {}
    tapes, wanted, ids, idle = {}, {}, {}, []
    generated = forced = 0
    submissions = int(rng.integers(3, 12))
    cancelled = set()
    while submissions or schedule.samples:
        if submissions and rng.random() < 0.3:
            submissions -= 1
            prompt = rng.integers(3, VOCAB, rng.integers(1, 25)).tolist()
            sample_ids = rng.integers(0, 2**62, rng.integers(1, 7)).tolist()
            max_tokens = int(rng.integers(1, 20))
            for handle, sample_id in zip(
                schedule.submit(prompt, sample_ids, max_tokens, STOPS, (4, 5)),
                sample_ids,
                strict=True,
            ):
                tapes[handle], ids[handle] = list(prompt), sample_id
                wanted[handle] = expected(prompt, sample_id, max_tokens)
        if schedule.samples and rng.random() < 0.05:
            handle = int(rng.choice(list(schedule.samples)))
            schedule.release(handle)
            cancelled.add(handle)
            idle = [h for h in idle if h != handle]
        for i, bank in enumerate(schedule.banks):
            if i not in flights and schedule.can_run(bank) and rng.random() < 0.7:
                work = schedule.work(bank)
                whole = {h: tapes[h] + wanted.get(h, [[]])[0] for h in tapes}
                flights[i] = work, devices[i].run(work, whole)
        if flights and rng.random() < 0.7:
            i = int(rng.choice(list(flights)))
            work, outputs = flights.pop(i)
            schedule.absorb(schedule.banks[i], work, *outputs)
        for event in schedule.take_events():
            assert event.handle not in cancelled
            tokens, finish = wanted.pop(event.handle)
            assert (event.tokens, event.finish, event.sample_id) == (
                tokens,
                finish,
                ids[event.handle],
            )
            assert event.watched.tolist() == [[t, t] for t in tokens]
            tapes[event.handle] += tokens
            generated += len(tokens)
            idle.append(event.handle)
        while idle and rng.random() < 0.5:
            handle = idle.pop(int(rng.integers(len(idle))))
            assert schedule.room(handle) == config.context_tokens - len(tapes[handle])
            more = rng.integers(3, VOCAB, rng.integers(0, 20)).tolist()
            max_tokens = int(rng.integers(0, 12))
            if len(more) + max_tokens > schedule.room(handle) or rng.random() < 0.3:
                schedule.release(handle)
                continue
            schedule.extend(handle, more, max_tokens)
            tapes[handle] += more
            forced += len(more)
            wanted[handle] = expected(tapes[handle], ids[handle], max_tokens)
    for bank in schedule.banks:
        assert sorted(bank.free) == list(range(config.bank_lanes))
        assert not bank.running_B.any() and not bank.holders and (bank.handle_B == -1).all()
    assert not schedule.queue
    assert schedule.stats.forced == forced and (cancelled or schedule.stats.generated == generated)


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
    schedule.absorb(bank, work, *device.run(work, {handle: [3] * 4 + expected([3] * 4, 1, 5)[0]}))
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
