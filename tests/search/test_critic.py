"""Refinement: the reference's message, what makes it pay, and what it loses without localisation."""

import dataclasses
import math

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import Resamples, mean_interval
from jprm.records import Problem
from jprm.search import (
    ROOT,
    BestOfN,
    Branch,
    Choosing,
    Gate,
    Grow,
    JudgedBranch,
    Redraw,
    Revision,
    RewardModel,
    StepRewards,
    accuracy,
    behind,
    candidates_of,
    correctness,
    feedback,
    fit_gate,
    make_strategy,
    run_search,
)
from jprm.search.gate import confidence
from jprm.seeds import rng_of
from tests.search.toys import Answers, ToyPolicy, ToyRefiner, gain, is_good, noise, perfect, soft

VOTE = Choosing("min", "weighted", "first")
N = 8
WRONG = 20  # wrong answers scatter; with three of them, votes cannot be spread enough to open the gate


class Mixed(ToyPolicy):
    """Two thirds of the problems are easy (slip .02), one third is hard (.25)."""

    def _continue(self, problem, branch, path, request):
        self.slip = 0.02 if problem.tier == "easy" else 0.25
        return super()._continue(problem, branch, path, request)


def mixed(n):
    tiers = ("easy", "hard", "easy")
    return [Problem(f"p{i}", "5 steps\n", "0", tiers[i % 3]) for i in range(n)]


class Shuffled(RewardModel):
    """Another scorer's rewards, dealt out anew to the steps of each solution."""

    def __init__(self, scorer):
        self.scorer = scorer

    def score(self, items):
        return [
            StepRewards(tuple(rng_of(7, *s).permutation(r.rewards).tolist()), r.cost, r.analyses)
            for (_, s), r in zip(items, self.scorer.score(items), strict=True)
        ]


def searched(folder, name, strategy, items, scorer, policy=None):
    refiner = ToyRefiner()
    rows = run_search(items, strategy, policy or Mixed(), scorer, Answers(wrong=WRONG), folder / name, refiner=refiner)
    assert not any(row["error"] for row in rows)
    return rows, refiner.calls


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    """Best-of-N, and refinement of everything, of hard problems, and with shuffled scores."""
    folder, items, scorer = tmp_path_factory.mktemp("critic"), mixed(300), soft()
    plain, _ = searched(folder, "plain", BestOfN(N), items, scorer)
    gate = fit_gate(plain)
    how = {"n": N, "turns": 1, "pool": "union"}
    runs = {
        "all": searched(folder, "all", make_strategy("critic", **how), items, scorer),
        "gated": searched(folder, "gated", make_strategy("critic", gate=gate, **how), items, scorer),
        "shuffled": searched(folder, "shuffled", make_strategy("critic", **how), items, Shuffled(scorer)),
    }
    return plain, gate, runs


def test_the_message_is_the_references():
    step = "Step 1: Joe = 2 + 2 = 5.\n"
    message = feedback(step, "**Paragraph Analysis**: 2 + 2 is: 4\n")
    assert message == (
        "There might be some problem in this paragraph of your reasoning, please rethink and "
        "refine your answer:\n>Step 1: Joe = 2 + 2 = 5.\n\n2 + 2 is: 4"
    )
    assert feedback(step, "no heading").endswith("\n\nno heading")


def test_only_doubted_solutions_are_rewritten_turn_by_turn(tmp_path):
    asked = []

    class Listening(ToyRefiner):
        def revise(self, items):
            asked.extend(items)
            return super().revise(items)

    rows = run_search(
        mixed(40),
        make_strategy("critic", n=3, turns=3),
        ToyPolicy(slip=0.3),
        perfect(),
        Answers(),
        tmp_path / "x",
        refiner=Listening(mend=0.5, damage=1.0),
    )
    for _, revision in asked:
        first = next(t for t, step in enumerate(revision.steps) if not is_good(step))
        assert revision.step == first, "a perfect critic names the first fault"
        quoted = revision.steps[first].strip()
        assert f">{quoted}\n\nlooked at {quoted}" in revision.feedback
    assert len({(p.id, r.path) for p, r in asked}) == len(asked), "no randomness is used twice"
    by_turn = [correctness(rows, Choosing("min", pool=turn)).mean() for turn in range(4)]
    assert by_turn == sorted(by_turn) and by_turn[3] > by_turn[0] + 0.1
    for row in rows:
        assert [len(pool) for pool in row["pools"]] == [3] * 4
        for before, after in zip(row["pools"], row["pools"][1:], strict=False):
            for old, new in zip(before, after, strict=True):
                assert new == old or min(row["candidates"][old]["rewards"]) < 0.5


def test_a_right_critic_gains_and_the_union_never_forgets(refined):
    plain, _, runs = refined
    rows, _ = runs["all"]
    assert gain(rows, plain, VOTE).low > 0
    before = [candidates_of(row, 0) for row in rows]
    assert [candidates_of(row) for row in plain] == before, "the same samples to begin with"
    for row in rows:
        kept, pool = set(row["pools"][1]), set(row["pools"][0])
        scores = {i: min(c["rewards"]) for i, c in enumerate(row["candidates"])}
        dropped = [scores[i] for i in pool - kept]
        assert len(kept) == N and all(s <= min(scores[i] for i in kept) for s in dropped)


def test_shuffled_scores_lose_the_advantage(refined):
    """Of the wrong solutions that are rewritten, those whose fault was named are mended."""
    _, _, runs = refined

    def mended(rows):
        out = []
        for row in rows:
            old, new = row["candidates"][:N], row["candidates"][N:]
            doubted = [c for c in old if min(c["rewards"]) < 0.5]
            pairs = zip(doubted, new, strict=True)
            out += [after["correct"] for before, after in pairs if not before["correct"]]
        return np.mean(out)

    told, blind = mended(runs["all"][0]), mended(runs["shuffled"][0])
    assert 0.5 < told < 0.65, "the refiner mends a named fault with probability .6"
    assert blind < 0.35
    assert gain(runs["all"][0], runs["shuffled"][0], VOTE).low > 0.0


def test_the_gate_finds_wrong_majorities_and_keeps_the_gain_at_half_the_calls(refined):
    plain, gate, runs = refined
    wrong = accuracy([candidates_of(r) for r in plain], pick="majority") == 0.0
    opened = np.array([sum(row["notes"]["refined"]) > 0 for row in runs["gated"][0]])
    hits = (wrong & opened).sum()
    assert hits / wrong.sum() >= 0.6, "recall"
    assert hits / opened.sum() >= 0.8, "precision"
    (every, every_calls), (gated, gated_calls) = runs["all"], runs["gated"]
    assert gated_calls <= every_calls / 2
    kept, full = gain(gated, plain, VOTE), gain(every, plain, VOTE)
    assert kept.low > 0.0 and kept.value >= 0.9 * full.value


@pytest.mark.parametrize("pool", ["replace", "union"])
@pytest.mark.parametrize("how", [{}, {"whose": "best", "confidence": 2.0, "below": 0.4}])
def test_a_gate_read_off_afterwards_is_the_gate_itself(refined, tmp_path, pool, how):
    plain, scale, _ = refined
    gate, items = dataclasses.replace(scale, **how), mixed(60)
    settings = {"n": N, "turns": 3, "pool": pool}
    every, _ = searched(tmp_path, "all", make_strategy("critic", **settings), items, soft())
    gated, _ = searched(tmp_path, "gated", make_strategy("critic", gate=gate, **settings), items, soft())
    left = [behind(row, gate) for row in every]
    assert [row["notes"] for row in left] == [row["notes"] for row in gated]
    for turn in range(4):
        assert [candidates_of(r, turn) for r in left] == [candidates_of(r, turn) for r in gated]
    opened = {sum(row["notes"]["refined"]) > 0 for row in gated}
    assert opened == {True, False} and left != every, "some are refined, some are not"


def refinement_gain(folder, scorer, n=500):
    """Accuracy after refinement minus the exact rate of the policy, with its interval."""
    policy, items = ToyPolicy(slip=0.15), mixed(n)
    how = make_strategy("critic", n=2, turns=2)
    redraw = Redraw(policy)
    rows = run_search(items, how, policy, scorer, Answers(), folder / "x", refiner=redraw)
    right = correctness(rows, Choosing("min")) - policy.value(items[0], ())
    return mean_interval(right, Resamples.of([p.id for p in items]), level=0.99)


def test_a_critic_that_knows_nothing_gains_nothing(tmp_path):
    """Redrawn from any step, a solution is as likely right as the policy is from there; what is
    redrawn is chosen blindly."""
    blind = refinement_gain(tmp_path, noise(seed=5))
    assert blind.low <= 0.0 <= blind.high and blind.high - blind.low < 0.13


def test_a_critic_with_a_leak_of_the_truth_is_seen_by_the_same_test(tmp_path):
    assert refinement_gain(tmp_path, noise(seed=5, leak=0.3)).low > 0.0


def test_redrawing_keeps_what_stands_before_the_doubted_step():
    policy, problem = ToyPolicy(slip=0.9), mixed(1)[0]
    [grown] = policy.grow([(problem, Grow((ROOT,), steps=None))])
    steps = grown.branches[0][0].steps
    revisions = [(problem, Revision(steps, at, "", ("revise", at))) for at in (0, 3)]
    whole, tail = Redraw(policy).revise(revisions)
    assert tail.branch.steps[:3] == steps[:3] and tail.branch.steps[3:] != steps[3:]
    assert len(whole.branch.steps) == 5 and whole.branch.steps[0] != steps[0]
    assert tail.cost.generated_tokens == 2


def judged(*rewards):
    return [JudgedBranch(Branch(("s",) * len(r)), tuple(r)) for r in rewards]


def test_the_gate_by_hand():
    assert confidence([0.3]) == pytest.approx(1.0)
    assert confidence([1.0] * 3) == pytest.approx(0.5), "H = ln 3"
    assert confidence([0.5, 0.5]) == pytest.approx(2 / (1 + math.exp(math.log(2))))
    assert confidence([0.0]) == 0.0
    gate = Gate(mean=1.0, std=0.5)
    low, answers = judged([0.4], [0.4], [0.4], [0.4]), ["a", "b", "c", "d"]
    assert gate.is_hard(low, answers)
    assert not gate.is_hard(low, ["a"] * 4), "low, but of one opinion"
    assert not gate.is_hard(judged(*[[0.9]] * 4), answers), "spread, but above the mean"
    assert gate.is_hard(low, [None] * 4), "nobody has an answer"
    best = dataclasses.replace(gate, whose="best", confidence=2.0, below=1.0)
    one_good = judged([0.4], [0.8], [0.4])
    assert best.quality({"a": [(0.4,)], "b": [(0.8,)]}) == pytest.approx((1.6 - 1) / 0.5)
    assert not best.is_hard(one_good, ["a"] * 3) and best.is_hard(low, ["a"] * 4)
    with pytest.raises(UserError, match="'majority' or 'best'"):
        Gate(mean=1.0, std=0.5, whose="worst")  # pyright: ignore[reportArgumentType]
    assert gate.quality({"a": [(0.5, 0.8)], "b": [(1.0,)]}) == pytest.approx((0.8 + 0.4 - 1) / 0.5)
    with pytest.raises(UserError, match="were all scores equal"):
        fit_gate([{"candidates": [{"rewards": [0.5]}] * 2}])
    assert make_strategy("critic", gate={"mean": 1.0, "std": 0.5}).gate == gate
    with pytest.raises(UserError, match="'replace' or 'union'"):
        make_strategy("critic", pool="both")


def test_an_open_step_is_no_reason_to_doubt_or_to_wait():
    critic = make_strategy("critic")
    for rewards, doubted in (((None, 0.2), 1), ((None, 0.9), -1), ((0.4, None), 0)):
        assert critic._doubted(JudgedBranch(Branch(("a\n", "b\n")), rewards)) == doubted
