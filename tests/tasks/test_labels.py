"""Labels end in the same bytes however often they were killed, and lose no problem to a sampler that fails on some."""

import json
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import Preempted, UserError
from jprm.jobs import StageFailed, Stages
from jprm.label import RolloutRequest, WrittenSolution, value_problems
from jprm.records import Problem, append_jsonl, read_jsonl, to_json
from jprm.seeds import seed_of
from jprm.tasks import rollout_store
from jprm.tasks.labels import LOST, VALUES, ProblemsLost
from jprm.tasks.rollout_store import ROLLOUTS, RolloutStore, count_rollouts
from tests.label.chain import ChainSampler, Event
from tests.tasks.pretend_labels import SETTINGS, FileWorld, compute, labels

ROOT = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """The end of a process."""


class MortalSampler(ChainSampler):
    """Dies at one of its polls."""

    def __init__(self, dies_at):
        super().__init__(order=dies_at)
        self.dies_at = dies_at

    def poll(self):
        if self.polls == self.dies_at:
            raise Killed
        return super().poll()


def rollouts(stage: Path) -> dict:
    """The stored rollouts by problem, state and index."""
    return {(r["problem_id"], r["state"], r["index"]): r for r in read_jsonl(stage / ROLLOUTS)}


def drawn(sampler) -> int:
    return sum(len(ids) for _, ids in sampler.seen)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(the folder of the stage, the sampler) of labels that nothing has disturbed."""
    sampler = ChainSampler()
    return compute(tmp_path_factory.mktemp("undisturbed"), labels(sampler)), sampler


def test_rows_are_those_of_the_rollouts(undisturbed):
    stage, sampler = undisturbed
    problems = FileWorld().problems("train", SETTINGS.problems, 0)
    settings, seed = labels(None)._rollout_settings, seed_of(0, "rollouts")
    plain = value_problems(
        problems, FileWorld(), ChainSampler(), labels(None).policy.model.tokenizer, settings, seed=seed
    )
    expected = [to_json(values) | {"problem": to_json(p)} for values, p in zip(sum(plain, []), problems, strict=True)]
    assert (stage / VALUES).read_text() == "".join(json.dumps(row) + "\n" for row in expected)
    assert count_rollouts(stage) == len(rollouts(stage)) == drawn(sampler)


def test_a_stored_rollout_is_a_state_and_what_was_written_behind_it(undisturbed):
    stage, _ = undisturbed
    values = {row["problem_id"]: row for row in read_jsonl(stage / VALUES)}
    by_state: dict = {}
    for (problem_id, state, _), row in rollouts(stage).items():
        by_state.setdefault((problem_id, state), []).append(row)
    checked = 0
    for problem_id, row in values.items():
        problem = Problem(**row["problem"])
        for valued in row["solutions"]:
            for t in range(len(valued["mc"]) - 1):
                request = RolloutRequest(problem, tuple(valued["solution"]["steps"][:t]), 0, row["rollouts"])
                of_state = by_state.get((problem_id, request.state), [])
                if of_state:
                    assert sum(r["correct"] for r in of_state) / len(of_state) == valued["mc"][t]
                    assert {r["given"] for r in of_state} == {t}
                    assert all(len(r["steps"]) == len(valued["solution"]["steps"]) - t for r in of_state)
                    checked += 1
                else:
                    assert valued["mc"][t] == 0
    assert checked > 100


def test_killed_at_random_moments_it_ends_in_the_same_bytes(undisturbed, tmp_path, monkeypatch):
    """What a kill takes along is what was not written, and a part of the line that was being written."""
    monkeypatch.setattr(rollout_store, "FLUSH_S", 0.0)
    stage, whole = undisturbed
    rng, total, lost = random.Random(3), 0, 0
    for _ in range(10):
        sampler = MortalSampler(rng.randrange(1, whole.polls // 12))
        with pytest.raises(Killed):
            compute(tmp_path, labels(sampler))
        log = Stages(tmp_path)[labels(None)].path / ROLLOUTS
        before = count_rollouts(log.parent)
        log.write_bytes(log.read_bytes()[: -rng.randrange(1, 3000)])
        lost += before - count_rollouts(log.parent)
        total += drawn(sampler) - len(sampler.pending)
    last = ChainSampler(order=1)
    again = compute(tmp_path, labels(last))
    assert (again / VALUES).read_bytes() == (stage / VALUES).read_bytes()
    assert rollouts(again) == rollouts(stage)
    assert total + drawn(last) == drawn(whole) + lost, "nothing that was stored is drawn again"


@pytest.mark.slow
def test_a_killed_process_ends_in_the_same_bytes(undisturbed, tmp_path):
    command = [sys.executable, "-m", "tests.tasks.pretend_labels", str(tmp_path)]
    log = Stages(tmp_path)[labels(None)].path / ROLLOUTS
    rng, killed = random.Random(5), 0
    for _ in range(10):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == before:
            time.sleep(0.01)  # it has not begun to draw
        time.sleep(0.3 * rng.random())
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert killed == 10
    assert (log.parent / VALUES).read_bytes() == (undisturbed[0] / VALUES).read_bytes()
    assert rollouts(log.parent) == rollouts(undisturbed[0])


def test_what_stops_the_work_finds_everything_stored(tmp_path):
    class Gone(ChainSampler):
        def poll(self):
            if self.polls == 6:
                raise UserError("http://there: no answer")
            return super().poll()

    sampler = Gone()
    with pytest.raises(StageFailed, match="http://there: no answer"):
        compute(tmp_path, labels(sampler))
    assert count_rollouts(Stages(tmp_path)[labels(None)].path) == drawn(sampler) - len(sampler.pending) > 0


def test_a_signal_is_heard_between_two_polls(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(rollout_store, "FLUSH_S", 0.0)

    class Asked(ChainSampler):
        def poll(self):
            if self.polls == 4:
                signal.raise_signal(signal.SIGTERM)
            return super().poll()

    sampler = Asked()
    with pytest.raises(Preempted):
        compute(tmp_path, labels(sampler))
    assert count_rollouts(Stages(tmp_path)[labels(None)].path) == drawn(sampler) - len(sampler.pending) > 0
    assert (compute(tmp_path, labels(ChainSampler())) / VALUES).read_bytes() == (undisturbed[0] / VALUES).read_bytes()


class LossySampler(ChainSampler):
    """Loses every rollout of some problems, as a server may that refuses their texts."""

    def __init__(self, of):
        super().__init__()
        self.of, self.refused = of, set()

    def submit(self, prompt, sample_ids, **asked):
        handles = super().submit(prompt, sample_ids, **asked)
        if any("".join(map(chr, prompt)).startswith(f"problem {i}\n") for i in self.of):
            self.refused.update(handles[1:])  # one of them comes through
        return handles

    def poll(self):
        return [
            Event(e.handle, e.tokens[:2], "lost", None, "HTTP status 413") if e.handle in self.refused else e
            for e in super().poll()
        ]


def test_lost_rollouts_cost_their_problems_until_the_next_run(undisturbed, tmp_path):
    with pytest.raises(
        StageFailed, match=r"2 of 70 problems have no values \(15 of 16 rollouts lost: HTTP status 413\)"
    ):
        compute(tmp_path, labels(LossySampler((3, 67))))
    stage = Stages(tmp_path)[labels(None)].path
    assert [row["problem_id"] for row in read_jsonl(stage / LOST)] == ["p3", "p67"]
    expected = (undisturbed[0] / VALUES).read_text().splitlines()
    assert (stage / VALUES).read_text().splitlines() == [line for i, line in enumerate(expected) if i not in (3, 67)]
    with pytest.raises(StageFailed) as again:
        compute(tmp_path, labels(LossySampler((67,))))
    assert isinstance(again.value.__cause__, ProblemsLost)
    last = ChainSampler()
    assert (compute(tmp_path, labels(last)) / VALUES).read_bytes() == (undisturbed[0] / VALUES).read_bytes()
    assert not (stage / LOST).exists() and rollouts(stage) == rollouts(undisturbed[0])
    assert {text.split("\n")[0] for text, _ in last.seen} == {"problem 67"}


def test_problems_that_cannot_be_asked_or_solved_are_rows_with_a_reason(undisturbed, tmp_path):
    first = read_jsonl(undisturbed[0] / VALUES)[0]
    assert (first["reason"], first["n"], first["solutions"]) == ("problem too long", 0, [])
    few = SETTINGS.model_copy(update={"problems": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainSampler, "_write", lambda *_: [ord("b"), ord("\n"), 0])
        stage = compute(tmp_path, labels(ChainSampler(), few))
    reasons = ["problem too long", "unsolvable problem", "unsolvable problem"]
    assert [row["reason"] for row in read_jsonl(stage / VALUES)] == reasons
    summary = Stages(tmp_path)[labels(None, few)].summary
    assert summary["unused"] == {"problem too long": 1, "unsolvable problem": 2} and summary["pass_at_1"] == 0


def test_every_key_of_rollouts_reaches_them():
    changed = SETTINGS.model_copy(update={"min_steps": 5, "max_steps": 30})
    found = labels(None, changed)._rollout_settings
    assert (found.min_steps, found.max_steps) == (5, 30)
    assert labels(None, changed).key != labels(None).key
    assert {"min_steps", "max_steps", "file"}.isdisjoint(labels(None).inputs()["labels"])


TEXTS = st.lists(st.text(st.characters(), max_size=8), max_size=3).map(tuple)


@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans(), st.booleans(), st.integers(0, 99)), max_size=6))
def test_stored_rollouts_are_read_as_they_were(tmp_path_factory, drawn_there):
    folder, problem = tmp_path_factory.mktemp("store"), Problem("p", "text\n", "1")
    store, expected = RolloutStore(folder, ()), {}
    for index, (given_steps, steps, correct, finished, tokens) in enumerate(drawn_there):
        request = RolloutRequest(problem, given_steps, 0, 99)
        rollout = WrittenSolution(given_steps + steps, correct, finished, tokens)
        store.add(request, index, rollout)
        expected.setdefault(given_steps, {})[index] = rollout
    store.flush()
    again = RolloutStore(folder, ())
    assert again.count == len(drawn_there)
    assert {steps: again.known(RolloutRequest(problem, steps, 0, 99)) for steps in expected} == expected
    assert RolloutStore(folder, ("p",)).known(RolloutRequest(problem, (), 0, 99)) == {}


def test_memory_holds_places_not_texts(tmp_path):
    n, chars = 4000, 1000
    row = {"state": "s", "given": 0, "steps": ["x" * chars], "correct": True, "finished": True, "tokens": 9}
    append_jsonl(tmp_path / ROLLOUTS, ({"problem_id": f"p{i % 40}", "index": i} | row for i in range(n)))
    tracemalloc.start()
    store = RolloutStore(tmp_path, ())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.count == n and held < n * chars / 20


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / ROLLOUTS).write_text('{"problem_id": "p"}\n')
    with pytest.raises(UserError, match=r"rollouts.jsonl:1: the field 'state' is missing"):
        RolloutStore(tmp_path, ())


@pytest.mark.parametrize("unfinished", [(), (1,)])
def test_parts_make_the_same_values_as_the_whole(unfinished, undisturbed, tmp_path):
    stage, sampler = undisturbed
    whole, own = labels(ChainSampler(), chunk_problems=5), ChainSampler()
    parts = whole.parts(Stages(tmp_path))
    assert [(part.start, part.stop) for part in parts] == [
        (start, min(start + 5, SETTINGS.problems)) for start in range(0, SETTINGS.problems, 5)
    ]
    assert whole.key == labels(None).key and len({part.key for part in parts}) == len(parts)
    for i, part in enumerate(parts):
        if i in unfinished:
            mortal = labels(MortalSampler(3), chunk_problems=5)
            with pytest.raises(Killed):
                compute(tmp_path, mortal.parts(Stages(tmp_path))[i])
        else:
            compute(tmp_path, part)
    left = labels(own, chunk_problems=5)
    found = compute(tmp_path, left)
    assert (found / VALUES).read_bytes() == (stage / VALUES).read_bytes()
    assert rollouts(found) == rollouts(stage) and count_rollouts(found) == drawn(sampler)
    assert (drawn(own) > 0) == bool(unfinished) and drawn(own) < drawn(sampler) / 2
    # whoever is killed while parts are taken over doubles no line
    (found / "DONE").unlink()
    lines = (found / ROLLOUTS).read_bytes().splitlines(keepends=True)
    (found / ROLLOUTS).write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:9])
    (found / VALUES).unlink()
    assert compute(tmp_path, labels(ChainSampler(), chunk_problems=5)) == found
    assert (found / VALUES).read_bytes() == (stage / VALUES).read_bytes()
    assert rollouts(found) == rollouts(stage) and count_rollouts(found) == drawn(sampler)
