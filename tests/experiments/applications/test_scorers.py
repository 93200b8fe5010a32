"""Reward models around another one: shuffled, only whole steps; and judges over stored rewards."""

import dataclasses
import math

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.experiments.applications.gates import METRICS, Turns, choose, family, gate_rows
from jprm.experiments.applications.grid import by_problem, correctness, f1_of, last_step, missing_row, step_auc
from jprm.experiments.applications.judgements import Judgements, averaged
from jprm.experiments.applications.refined import calls_of, pool_accuracy, refinement_rows
from jprm.experiments.applications.search_command import settings_of
from jprm.records import Problem, Solution
from jprm.search import Choosing, Cost, RewardModel, StepRewards, behind, missing_share, summary
from jprm.search import correctness as search_correctness
from jprm.tasks.benchmark import Item
from jprm.tasks.reward_models import Changed, WholeSteps, blind, shuffled

PROBLEM = Problem("p", "How many?\n", "7")


class Counting(RewardModel):
    """Rewards 0.0, 0.1, ... and counts what it is asked."""

    def __init__(self):
        self.asked, self.forgotten = [], []

    def forget(self, problem):
        self.forgotten.append(problem.id)

    def score(self, items):
        self.asked += items
        return [StepRewards(tuple(t / 10 for t in range(len(steps))), Cost(1, 1, 1.0), steps) for _, steps in items]


def test_shuffling_keeps_the_rewards_and_takes_their_places():
    steps = tuple(f"{i}\n" for i in range(8))
    [reply] = Changed(Counting(), shuffled(0)).score([(PROBLEM, steps)])
    [same] = Changed(Counting(), shuffled(0)).score([(PROBLEM, steps)])
    plain = [t / 10 for t in range(8)]
    assert sorted(reply.rewards) == plain != list(reply.rewards) and reply == same
    assert [float(a) / 10 for a in reply.analyses] == list(reply.rewards), "analyses go along"


def test_blind_rewards_are_those_of_others_and_the_same_for_the_same_text():
    items = [(PROBLEM, tuple(f"{i} {t}\n" for t in range(4))) for i in range(200)]
    stock = [0.1, 0.1, None, 0.9]
    replies = Changed(Counting(), blind(stock, 0)).score(items)
    drawn = [r for reply in replies for r in reply.rewards]
    assert [drawn.count(r) / len(drawn) for r in (0.1, None, 0.9)] == pytest.approx([0.5, 0.25, 0.25], abs=0.06)
    assert Changed(Counting(), blind(stock, 0)).score(items[5:6]) == replies[5:6]
    assert replies[0].cost == Cost(1, 1, 1.0) and replies[0].analyses == items[0][1]


def test_what_was_cut_off_has_no_rewards():
    inner = Counting()
    scorer = WholeSteps(inner, lambda step: "?" not in step)
    cases = [("a\n", "b\n"), ("a\n", "b"), ("?\n",)]
    replies = scorer.score([(PROBLEM, steps) for steps in cases])
    assert [r.rewards for r in replies] == [(0.0, 0.1), (None, None), (None,)]
    assert len(inner.asked) == 1
    Changed(scorer, shuffled(0)).forget(PROBLEM)
    assert inner.forgotten == ["p"], "and it is told when a problem is over"


def items_of(*solutions):
    """Items with (first error, right answer)."""
    return [
        Item(Problem(f"p{i}", "?\n", "1"), Solution(f"s{i}", f"p{i}", ("a\n", "b\n", "c\n"), "", first), right)
        for i, (first, right) in enumerate(solutions)
    ]


def judge_of(*rewards):
    return Judgements("j", True, {f"s{i}": StepRewards(r) for i, r in enumerate(rewards)}, None)


def test_the_last_step_and_lucky_answers():
    items = items_of((-1, True), (1, True), (0, True), (2, False))
    judge = judge_of((0.9, 0.8, 0.7), (0.9, 0.2, 0.1), (0.6, 0.9, 0.9), (0.9, 0.9, 0.1))
    found = last_step(judge, items)
    assert found["min_at_last"] == 3 / 4, "the third solution is lowest at its first step"
    assert found["lucky"] == 2 and found["lucky_accepted"] == 1 / 2
    assert correctness(judge, items).tolist() == [1, 1, 0, 1]
    # right steps .9 .8 .7, .9, .9 .9; first wrong ones .2, .6, .1: every pair in order
    assert step_auc(judge, items).value == 1.0
    assert step_auc(judge_of(*[(0.5,) * 3] * 4), items).value == 0.5


def test_a_judge_without_a_verdict_is_wrong_or_left_out():
    """The first two are silent where they would be right; the third is found."""
    items = items_of((-1, True), (0, True), (1, False))
    judge = judge_of((None,) * 3, (None, 0.9, 0.9), (0.9, 0.2, None))
    out = dataclasses.replace(judge, missing="excluded")
    assert correctness(judge, items).tolist() == [0, 0, 1]
    assert missing_row(judge, items) == {"missing_share": 2 / 3, "missing_as": "wrong"}
    values = correctness(out, items)
    assert math.isnan(values[0]) and values[1:].mean() == 1.0, "of the wrong ones, one has a verdict"
    whole = items_of((-1, True), (1, False), (1, False))
    at = f1_of(dataclasses.replace(judge_of(*[(0.9, 0.2, 0.9)] * 3), missing="excluded"), whole, by_problem(whole))
    assert at.value == 0.0, "all are judged"
    assert math.isnan(f1_of(out, items, by_problem(items)).value), "no right one has a verdict"
    assert last_step(judge, items)["lucky_accepted"] == 1.0 and last_step(out, items)["lucky"] == 0
    assert last_step(judge, items)["min_at_last"] is None, "of none is every step judged"
    # right steps: three silent and .9; first wrong ones: one silent and .2
    assert step_auc(out, items).value == 1.0 and step_auc(judge, items).value == 1 / 8


def test_a_search_of_which_nothing_is_judged_is_wrong_or_left_out():
    def searched(name, *rewards):
        found = row(name, [])
        made = [{"answer": "1", "correct": True, "rewards": list(r), "steps": []} for r in rewards]
        return found | {"candidates": made, "error": "" if rewards else "E: no"}

    rows = [searched("a", (0.5,)), searched("b", (None,), (0.9, None)), searched("lost")]
    assert search_correctness(rows).tolist() == [1, 0, 0] and missing_share(rows) == 1 / 3
    out = Choosing(missing="excluded")
    assert search_correctness(rows, out).mean() == 1 / 2, "a lost problem is wrong all the same"
    assert search_correctness(rows, Choosing(choice="majority")).tolist() == [1, 1, 0]
    assert summary(rows, out)["missing_share"] == 1 / 3
    at = summary([searched("b", (None,)), searched("c", (None,))], out)
    assert math.isnan(at["accuracy"]) and at["missing_share"] == 1.0


def test_the_mean_of_judges_costs_both():
    first = Judgements("a", True, {"s": StepRewards((0.2, None), Cost(1, 2, 3.0))}, None)
    second = Judgements("b", True, {"s": StepRewards((0.4, 0.6), Cost(1, 0, 1.0))}, None)
    reply = averaged("both", [first, second]).rewards["s"]
    assert reply.rewards == pytest.approx((0.3, 0.6)) and reply.cost == Cost(2, 2, 4.0)


def row(name, turns, refined=0):
    """A row of a critic: per turn, which of its candidates were right."""
    candidates = [{"answer": "1", "correct": c, "rewards": [0.5]} for turn in turns for c in turn]
    n = len(turns[0]) if turns else 0
    pools = [list(range(t * n, (t + 1) * n)) for t in range(len(turns))]
    spent = {"prompt_tokens": 1, "generated_tokens": 1, "flops": 1.0}
    return {
        "problem_id": name,
        "candidates": candidates,
        "pools": pools,
        "error": "" if turns else "E: no",
        "notes": {"refined": [refined]} if turns else {},
        "budget": {"generator": spent, "verifier": spent},
    }


def test_refinement_is_counted_by_turn_and_a_lost_problem_counts_as_wrong():
    critic = [row(f"p{i}", [(0, 0), (1, 0)], 2) for i in range(4)] + [row("lost", [])]
    control = [row(f"p{i}", [(0, 0), (0, 0)], 2) for i in range(4)] + [row("lost", [])]
    gated = [row(f"p{i}", [(0, 0), (int(i < 2), 0)], 1) for i in range(4)] + [row("lost", [])]
    assert np.allclose(pool_accuracy(critic, 1), [0.5] * 4 + [0])
    rows = refinement_rows({"critic": critic, "shuffled": control, "gated": gated})
    last = {r["method"]: r for r in rows if r["turn"] == 1}
    assert last["critic"]["gain"] == pytest.approx(0.4) == last["critic"]["over_shuffled"]
    assert last["critic"]["kept"] == pytest.approx(1) and last["gated"]["kept"] == pytest.approx(0.5)
    assert last["shuffled"]["gain"] == 0 and last["critic"]["lost"] == 1
    assert last["gated"]["calls"] == pytest.approx(4 / 5)


def refined(name, rewards, correct, refined):
    """A row of a critic with one solution: its reward and grade before and after each turn."""
    candidates = [
        {"steps": ["s"], "answer": "1", "correct": c, "rewards": [r]} for r, c in zip(rewards, correct, strict=True)
    ]
    made = row(name, [(c,) for c in correct])
    return made | {"candidates": candidates, "notes": {"refined": refined}}


def test_a_gate_is_chosen_on_dev_and_its_share_is_of_the_gain():
    """A solution scored low is wrong and mended, one in the middle wrong and not, a high one right."""
    rows = [refined(f"low {i}", [0.1, 0.9], [0, 1], [1]) for i in range(10)]
    rows += [refined(f"middle {i}", [0.5, 0.5], [0, 0], [1]) for i in range(10)]
    rows += [refined(f"high {i}", [0.9, 0.9], [1, 1], [0]) for i in range(10)]
    gates, turns = family(rows), Turns.of(rows)
    (gain, full), (calls, every) = turns.behind(gates[0], "accuracy")
    assert full.sum() == 10 and every.sum() == 20
    assert gain.sum() == calls.sum() == 0, "one solution agrees with itself: the paper's gate is shut"
    for metric in METRICS:
        gate = choose(turns, gates, metric)
        (gain, _), (calls, _) = turns.behind(gate, metric)
        assert gain.sum() == 10 and calls.sum() == 10, "only what can be mended"
        shut = [behind(row, gate) for row in rows]
        assert np.array_equal(calls, calls_of(shut, 1)), "as of the rows behind the gate"
        assert np.array_equal(gain, pool_accuracy(shut, 1) - pool_accuracy(rows, 0))
    found = [r for r in gate_rows(rows, rows) if r["gate"] == "chosen on dev"]
    assert [r["kept"] for r in found] == [1.0, 1.0] and [r["calls"] for r in found] == [0.5, 0.5]
    assert all(r["calls_low"] < 0.5 < r["calls_high"] for r in found)
    never = [r | {"candidates": [c | {"correct": 0} for c in r["candidates"]]} for r in rows]
    assert all(r["kept"] is None for r in gate_rows(never, rows)), "no gain, no part of it"


def test_settings_are_toml_else_text():
    assert settings_of(["width=4", "aggregation=min", "gate={mean = 1.5, std = 2.0}"]) == {
        "width": 4,
        "aggregation": "min",
        "gate": {"mean": 1.5, "std": 2.0},
    }
    with pytest.raises(UserError, match="key=value"):
        settings_of(["width"])
