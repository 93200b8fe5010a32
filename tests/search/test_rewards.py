"""Votes as rewards, of whole solutions: their mean, their cost, their analysis; and models made of models."""

import itertools
import re

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.records import Problem, Rationale, Verdict
from jprm.score import Ended, Scorer
from jprm.search import (
    Cascade,
    Choosing,
    Cost,
    ModelCost,
    RewardModel,
    StepRewards,
    VoteRewards,
    correctness,
    make_strategy,
    mean_rewards,
    run_search,
)
from jprm.verify import VerifySettings, verify
from tests.search.test_embedded import PROBLEMS, WORLD, generator
from tests.search.toys import Answers, Scored, ToyPolicy, noise, problems
from tests.verify.fakes import FakeExecutor, ScriptedSampler

PROBLEM = Problem("p", "ab\n", "")
STEPS = ("c\n", "defg\n")


class Letters:
    def encode(self, text):
        return list(text)


class Asked(Scorer):
    """A scorer from a function of (items, votes) to rationales; "lost" as a problem's text loses it."""

    def __init__(self, rationales):
        self.rationales, self.asked = rationales, []

    def judge(self, items, votes, known, heard):
        self.asked += [solution.steps for _, solution in items]
        for rationale in self.rationales(items, votes):
            heard(rationale)
        for problem, solution in items:
            yield Ended(solution.id, "no verdicts" if problem.text == "lost" else "")


def votes_of(table):
    """A scorer from P(Yes) by (step, vote); None judges nothing."""

    def rationales(items, votes):
        for _, solution in items:
            for t, v in itertools.product(range(len(solution.steps)), votes):
                p = table[t][v]
                verdict = Verdict(None if p is None else p > 0.5, p, p)
                text = f"step {t} vote {v}"
                yield Rationale(solution.id, t, v, "chain", text, (), verdict, 10, 5)

    return Asked(rationales)


def test_the_mean_of_the_votes_that_judged_and_the_analysis_nearest_to_it():
    judge = votes_of([[0.9, 0.8, 0.1], [None, 0.4, 0.2]])
    [reply] = VoteRewards(judge, 3, "prob_raw", Letters()).score([(PROBLEM, STEPS)])
    assert reply.rewards == pytest.approx((0.6, 0.3))
    assert reply.analyses == ("step 0 vote 1", "step 1 vote 1")
    [words] = VoteRewards(judge, 2, "vote", Letters()).score([(PROBLEM, STEPS)])
    assert words.rewards == (1.0, 0.0)
    [silent] = VoteRewards(votes_of([[None], [None]]), 1, "vote", Letters()).score([(PROBLEM, STEPS)])
    assert silent.rewards == (None, None) and silent.analyses == ("", "")


def test_what_votes_cost():
    """3 letters of problem once; per vote 2 + 5 and 5 + 5 read, 10 written after each."""
    model = VoteRewards(votes_of([[1.0] * 4] * 2), 4, "vote", Letters(), ModelCost(per_token=2.0))
    [reply] = model.score([(PROBLEM, STEPS)])
    assert reply.cost == Cost(3 + 4 * (2 + 5 + 5 + 5), 4 * 20, 2.0 * (3 + 4 * 37))
    assert model.score([(PROBLEM, STEPS)]) == [reply], "a whole solution costs the same whenever it is asked about"
    pairs = ModelCost(per_pair=1.0)
    [reply] = VoteRewards(votes_of([[1.0]] * 2), 1, "vote", Letters(), pairs).score([(PROBLEM, STEPS)])
    length = 3 + 2 + 5 + 10 + 5 + 5 + 10
    assert reply.cost.flops == length * (length + 1) / 2, "every token reads all before it"


def test_equal_items_are_judged_once_and_replies_keep_their_places():
    judge = votes_of([[0.25], [0.75]])
    items = [(PROBLEM, STEPS), (PROBLEM, STEPS[:1]), (PROBLEM, STEPS), (PROBLEM, ())]
    replies = VoteRewards(judge, 1, "prob_raw", Letters()).score(items)
    assert judge.asked == [STEPS, STEPS[:1]]
    assert [r.rewards for r in replies] == [(0.25, 0.75), (0.25,), (0.25, 0.75), ()]


def test_what_a_scorer_loses_is_an_error_of_that_item_and_asked_again():
    judge = votes_of([[0.25], [0.75]])
    model = VoteRewards(judge, 1, "prob_raw", Letters())
    items = [(PROBLEM, STEPS), (Problem("q", "lost", ""), STEPS)]
    for _ in range(2):
        good, lost = model.score(items)
        assert good.rewards == (0.25, 0.75) and repr(lost) == repr(UserError("no verdicts"))
    assert judge.asked == [STEPS] * 3


def verdict(sample_id, text):
    """A verifier that knows the truth and says so in one word."""
    problem = next(p for p in PROBLEMS if text.startswith(p.text))
    steps = WORLD.split_steps(re.sub(r"<output>.*?(</output>\n|$)", "", text[len(problem.text) :]))
    first, kind = WORLD.truth(problem, steps)
    right = first < 0 or kind == "noanswer" or first >= len(steps)
    return "Yes" if right else "No"


def test_a_search_with_the_verifiers_own_driver(tmp_path):
    tokenizer = WORLD.tokenizer()
    settings = VerifySettings(context_tokens=4000, style="direct", execute="none")

    def judged(items, votes):
        sampler = ScriptedSampler(tokenizer, verdict, slots=64)
        found = verify(items, votes, sampler, FakeExecutor(), tokenizer, settings, 3)
        return itertools.chain.from_iterable(found)

    rows = run_search(
        PROBLEMS,
        make_strategy("beam", width=2, expand=4),
        generator()[0],
        VoteRewards(Asked(judged), 2, "vote", tokenizer),
        WORLD,
        tmp_path / "x",
    )
    assert not any(row["error"] for row in rows)
    assert correctness(rows, Choosing("min")).mean() == 1.0
    for row in rows:
        spent = row["budget"]["verifier"]
        assert 0 < spent["generated_tokens"] < spent["prompt_tokens"]


def test_the_mean_of_two_passes():
    first = StepRewards((None, 0.5, None), Cost(1, 2, 3.0), ("a", "b", "c"))
    second = StepRewards((0.2, 1.0, None), Cost(1, 0, 1.0), ("d", "e", "f"))
    both = mean_rewards([first, second])
    assert both.rewards == (0.2, 0.75, None), "a None leaves the step to the other"
    assert both.cost == Cost(2, 2, 4.0) and both.analyses == first.analyses


class Failing(RewardModel):
    """Answers the second item by an exception."""

    def score(self, items):
        good = noise().score(items)
        return [ValueError("broken") if i == 1 else reply for i, reply in enumerate(good)]


def test_a_failed_item_stays_one_failed_item():
    replies = Cascade(Failing(), noise()).score([(PROBLEM, ("a",))] * 3)
    assert [isinstance(reply, ValueError) for reply in replies] == [False, True, False]


def test_the_slow_model_reads_only_what_the_fast_one_is_unsure_of():
    asked = []

    def slow(problem, steps):
        asked.append(steps)
        return [0.01] * len(steps)

    rewards = {"sure": [0.9, 0.1, 1.0], "unsure": [0.9, 0.5, 0.95], "silent": [0.9, 0.9, None]}
    cascade = Cascade(Scored(lambda p, s: rewards[s[0]]), Scored(slow), 0.3, 0.7)
    items = [(PROBLEM, (name, "x", "y")) for name in rewards]
    sure, unsure, silent = cascade.score(items)
    assert sure.rewards == (0.9, 0.1, 1.0)
    assert unsure.rewards == (0.9, 0.01, 0.95)
    assert silent.rewards == (0.9, 0.9, 0.01)
    assert asked == [("unsure", "x"), ("silent", "x", "y")]
    assert [reply.cost.tokens for reply in (sure, unsure, silent)] == [3, 5, 6]
    with pytest.raises(UserError, match="band"):
        Cascade(noise(), noise(), -0.1, 0.5)


def test_the_ends_of_the_band():
    items = [(PROBLEM, tuple(f"{i} {t}" for t in range(4))) for i in range(50)]
    fast, slow = noise(1), noise(2)
    always = Cascade(fast, slow, 0.0, 1.0).score(items)
    never = Cascade(fast, slow, 0.6, 0.4).score(items)
    assert [r.rewards for r in always] == [r.rewards for r in slow.score(items)]
    assert [r.rewards for r in never] == [r.rewards for r in fast.score(items)]
    some = [Cascade(fast, slow, 0.5 - w, 0.5 + w).score(items) for w in (0.0, 0.1, 0.3, 0.5)]
    tokens = [sum(r.cost.tokens for r in replies) for replies in some]
    assert tokens == sorted(tokens) and tokens[0] == 200 and tokens[-1] == 400
    assert np.isfinite(tokens).all()


class Telling(RewardModel):
    """Keeps the problems that it was told to forget."""

    def __init__(self):
        self.forgotten = []

    def score(self, items):
        return [StepRewards((0.5,) * len(steps)) for _, steps in items]

    def forget(self, problem):
        self.forgotten.append(problem.id)


def test_models_around_others_pass_the_end_of_a_problem_on(tmp_path):
    first, second = Telling(), Telling()
    asked, strategy = problems(5, steps=3), make_strategy("beam", width=2, expand=2)
    run_search(asked, strategy, ToyPolicy(), Cascade(first, second), Answers(), tmp_path / "x", in_flight=2)
    for each in (first, second):
        assert sorted(each.forgotten) == [p.id for p in asked]
