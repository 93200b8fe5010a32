"""The driver: one row per problem whatever happens to the others, and to the process."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jprm.errors import UserError
from jprm.records import read_jsonl
from jprm.search import ROOT, BestOfN, Found, grow, judge, make_strategy, run_search, strategy, summary
from tests.search.killed import SETTINGS, search
from tests.search.toys import Answers, Scored, ToyPolicy, gain, is_good, noise, perfect, problems

ROOT_FOLDER = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_search_goes_on_to_the_same_table(tmp_path, name):
    whole = search(tmp_path / "whole.jsonl", name)
    store = tmp_path / "killed.jsonl"
    command = [sys.executable, "-m", "tests.search.killed", str(store), name, "0.05"]
    process = subprocess.Popen(command, cwd=ROOT_FOLDER, env=os.environ)
    deadline = time.monotonic() + 60
    while len(store.read_bytes().splitlines() if store.exists() else ()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = read_jsonl(store)
    assert 3 <= len(kept) < 24, "it was killed at work"
    with open(store, "a") as file:
        file.write('{"run": "torn')
    assert search(store, name) == whole
    assert read_jsonl(store)[: len(kept)] == kept, "finished problems are not searched again"
    assert len(read_jsonl(store)) == 24


@pytest.mark.parametrize("name", SETTINGS)
def test_rows_do_not_depend_on_company(tmp_path, name):
    alone = search(tmp_path / "alone.jsonl", name, in_flight=1)
    assert alone == search(tmp_path / "together.jsonl", name, in_flight=100)


def fails_on(bad, text):
    """A scorer that raises whenever a batch holds this problem."""

    def rewards(problem, steps):
        if problem.id == bad:
            raise RuntimeError(text)
        return [float(is_good(s)) for s in steps]

    return Scored(rewards)


@pytest.mark.parametrize("name", ["best_of_n", "beam", "dvts", "mcts"])
def test_a_scorer_that_raises_on_one_problem_loses_that_problem_only(tmp_path, name):
    how = make_strategy(name, **SETTINGS[name])
    items = problems(12)
    good = run_search(items, how, ToyPolicy(), perfect(), Answers(), tmp_path / "good")
    rows = run_search(items, how, ToyPolicy(), fails_on("p5", "no such tensor"), Answers(), tmp_path / "bad")
    assert [r["candidates"] for r in rows if r["problem_id"] != "p5"] == [
        r["candidates"] for r in good if r["problem_id"] != "p5"
    ]
    assert rows[5]["error"] == "RuntimeError: no such tensor" and rows[5]["candidates"] == []
    assert rows[5]["budget"]["generator"]["generated_tokens"] > 0, "what it spent is not forgotten"
    table = summary(rows)
    assert table["lost"] == {"RuntimeError: no such tensor": 1} and table["n_problems"] == 12
    assert gain(good, rows).value == pytest.approx(1 / 12), "a lost problem counts as wrong"


def test_an_answer_may_be_an_exception(tmp_path):
    class Careful(Scored):
        def score(self, items):
            replies = super().score(items)
            return [UserError("too long") if p.id == "p1" else r for (p, _), r in zip(items, replies, strict=True)]

    scorer = Careful(lambda problem, steps: [1.0] * len(steps))
    rows = run_search(problems(3), BestOfN(2), ToyPolicy(), scorer, Answers(), tmp_path / "x")
    assert [row["error"] for row in rows] == ["", "UserError: too long", ""]
    assert scorer.calls == 1, "nobody was asked twice"


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [
        (lambda problem, steps: [1.0], "1 rewards for 5 steps"),
        (lambda problem, steps: [float("nan")] * 5, "a reward is a number or None"),
    ],
)
def test_rewards_that_are_none_lose_the_problem(tmp_path, rewards, reason):
    rows = run_search(problems(2), BestOfN(2), ToyPolicy(), Scored(rewards), Answers(), tmp_path / "x")
    assert all(reason in row["error"] for row in rows)


def test_one_decorator_adds_a_strategy_and_its_faults_are_its_own(tmp_path):
    @strategy("picky")
    @dataclass(frozen=True)
    class Picky:
        limit: int = 2

        def search(self, problem, answer):
            [drawn] = yield from grow([ROOT], n=self.limit, steps=None)
            judged = yield from judge(drawn)
            if problem.id == "p1":
                raise KeyError("p1")
            if problem.id == "p2":
                yield "a wish"
            return Found(tuple(judged), notes={"bad": {1, 2}} if problem.id == "p3" else {})

    try:
        assert "picky" in strategy.names()
        rows = run_search(problems(5), make_strategy("picky", limit=3), ToyPolicy(), noise(), Answers(), tmp_path / "x")
        assert [len(row["candidates"]) for row in rows] == [3, 0, 0, 0, 3]
        assert rows[1]["error"] == "KeyError: 'p1'"
        assert "'a wish', which is no request" in rows[2]["error"]
        assert "set is not JSON serializable" in rows[3]["error"]
    finally:
        del strategy._entries["picky"]


def test_a_grader_that_raises_loses_the_problem(tmp_path):
    class Strict(Answers):
        def is_correct(self, problem, steps):
            if problem.id == "p0":
                raise ValueError("no gold answer")
            return super().is_correct(problem, steps)

    rows = run_search(problems(2), BestOfN(2), ToyPolicy(), noise(), Strict(), tmp_path / "x")
    assert [row["error"] for row in rows] == ["ValueError: no gold answer", ""]


def test_an_interrupt_is_not_a_failed_problem(tmp_path):
    def interrupted(problem, steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(problems(2), BestOfN(2), ToyPolicy(), Scored(interrupted), Answers(), tmp_path / "x")
    assert read_jsonl(tmp_path / "x") == []


def test_equal_texts_are_scored_once(tmp_path):
    class Stubborn(ToyPolicy):
        def _continue(self, problem, branch, path, request):
            same = super()._continue(problem, branch, path, request)
            return type(same)(("step good 1\n",) * length_of(same), path, same.ended)

    length_of = lambda branch: len(branch.steps)  # noqa: E731
    scorer = perfect()
    rows = run_search(problems(4), BestOfN(8), Stubborn(), scorer, Answers(), tmp_path / "x")
    assert scorer.items == 4 and all(len(row["candidates"]) == 8 for row in rows)
    assert all(row["budget"]["verifier"]["generated_tokens"] == 5 for row in rows)


def test_a_store_belongs_to_one_search(tmp_path):
    arguments = (ToyPolicy(), noise(), Answers(), tmp_path / "x")
    run_search(problems(2), BestOfN(2), *arguments, inputs={"weights": "a"})
    more = run_search(problems(4), BestOfN(2), *arguments, inputs={"weights": "a"})
    assert len(more) == 4
    for how, inputs in [(BestOfN(3), {"weights": "a"}), (BestOfN(2), {"weights": "b"})]:
        with pytest.raises(UserError, match="holds rows of another search"):
            run_search(problems(2), how, *arguments, inputs=inputs)
    with pytest.raises(UserError, match="same id"):
        run_search(problems(2) * 2, BestOfN(2), *arguments)


def test_a_missing_refiner_is_the_users_to_give(tmp_path):
    how = make_strategy("critic", n=2)
    with pytest.raises(UserError, match="give run_search a refiner"):
        run_search(problems(2), how, ToyPolicy(slip=0.9), perfect(), Answers(), tmp_path / "x")


def test_a_summary_is_json_and_says_how_was_chosen(tmp_path):
    rows = run_search(problems(4), BestOfN(2), ToyPolicy(), noise(), Answers(), tmp_path / "x")
    assert json.loads(json.dumps(summary(rows)))["by aggregation"] == "min"
