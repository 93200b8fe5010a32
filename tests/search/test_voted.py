"""The verifier's votes as step rewards: their mean, their cost, their analysis; and in a search."""

import itertools
import re

import pytest

from jprm.records import Problem, Rationale, Verdict
from jprm.search import Choosing, Cost, ModelCost, VotedScorer, correctness, make_strategy, run_search
from jprm.verify import VerifySettings, verify
from tests.search.test_embedded import PROBLEMS, WORLD, generator
from tests.verify.fakes import FakeExecutor, ScriptedSampler

PROBLEM = Problem("p", "ab\n", "")
STEPS = ("c\n", "defg\n")


class Letters:
    def encode(self, text):
        return list(text)


def votes_of(table):
    """A judge from P(Yes) by (step, vote); None judges nothing."""

    def judge(items, votes):
        for _, solution in items:
            for t, v in itertools.product(range(len(solution.steps)), votes):
                p = table[t][v]
                verdict = Verdict(None if p is None else p > 0.5, p, p)
                text = f"step {t} vote {v}"
                yield Rationale(solution.id, t, v, "chain", text, (), verdict, 10, 5)

    return judge


def test_the_mean_of_the_votes_that_judged_and_the_analysis_nearest_to_it():
    judge = votes_of([[0.9, 0.8, 0.1], [None, 0.4, 0.2]])
    [reply] = VotedScorer(judge, 3, "prob_raw", Letters()).score([(PROBLEM, STEPS)])
    assert reply.rewards == pytest.approx((0.6, 0.3))
    assert reply.analyses == ("step 0 vote 1", "step 1 vote 1")
    [words] = VotedScorer(judge, 2, "vote", Letters()).score([(PROBLEM, STEPS)])
    assert words.rewards == (1.0, 0.0)
    [silent] = VotedScorer(votes_of([[None], [None]]), 1, "vote", Letters()).score([(PROBLEM, STEPS)])
    assert silent.rewards == (None, None) and silent.analyses == ("", "")


def test_what_votes_cost():
    """3 letters of problem once; per vote 2 + 5 and 5 + 5 read, 10 written after each."""
    [reply] = VotedScorer(votes_of([[1.0] * 4] * 2), 4, "vote", Letters(), ModelCost(per_token=2.0)).score(
        [(PROBLEM, STEPS)]
    )
    assert reply.cost == Cost(3 + 4 * (2 + 5 + 5 + 5), 4 * 20, 2.0 * (3 + 4 * 37))
    pairs = ModelCost(per_pair=1.0)
    [reply] = VotedScorer(votes_of([[1.0]] * 2), 1, "vote", Letters(), pairs).score([(PROBLEM, STEPS)])
    length = 3 + 2 + 5 + 10 + 5 + 5 + 10
    assert reply.cost.flops == length * (length + 1) / 2, "every token reads all before it"


def test_equal_items_are_judged_once_and_replies_keep_their_places():
    asked = []

    def judge(items, votes):
        asked.extend(solution.steps for _, solution in items)
        return votes_of([[0.25], [0.75]])(items, votes)

    items = [(PROBLEM, STEPS), (PROBLEM, STEPS[:1]), (PROBLEM, STEPS)]
    replies = VotedScorer(judge, 1, "prob_raw", Letters()).score(items)
    assert asked == [STEPS, STEPS[:1]]
    assert [r.rewards for r in replies] == [(0.25, 0.75), (0.25,), (0.25, 0.75)]


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

    def judge(items, votes):
        sampler = ScriptedSampler(tokenizer, verdict, slots=64)
        found = verify(items, votes, sampler, FakeExecutor(), tokenizer, settings, 3)
        return itertools.chain.from_iterable(found)

    rows = run_search(
        PROBLEMS,
        make_strategy("beam", width=2, expand=4),
        generator()[0],
        VotedScorer(judge, 2, "vote", tokenizer),
        WORLD,
        tmp_path / "x",
    )
    assert not any(row["error"] for row in rows)
    assert correctness(rows, Choosing("min")).mean() == 1.0
    for row in rows:
        spent = row["budget"]["verifier"]
        assert 0 < spent["generated_tokens"] < spent["prompt_tokens"]
