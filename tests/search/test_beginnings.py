"""Rewards that belong to beginnings, what they cost, and a search that is judged so."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.records import Problem, Solution
from jprm.score import Scorer, SharedBeginnings
from jprm.search import Cost, ModelCost, VoteRewards, make_strategy, run_search
from jprm.verify import Branches, VerifySettings
from tests.search.test_embedded import PROBLEMS, WORLD, generator
from tests.search.test_rewards import verdict
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler
from tests.verify.test_branches import MODES, PROBLEM, STEPS, trees
from tests.verify.test_driver import SEED, model

PAIRS = ModelCost(1.0, 0.25, 3.0)


def scorer(mode="chain", votes=2):
    sampler = ScriptedSampler(FakeTokenizer(), model)
    settings = VerifySettings(context_tokens=sampler.context_tokens, mode=mode)
    branches = Branches(votes, sampler, FakeExecutor(), sampler.tokenizer, settings, SEED)
    made = VoteRewards(SharedBeginnings(branches), votes, "prob_raw", sampler.tokenizer, PAIRS)
    return made, sampler


def beginnings(**how):
    return scorer(**how)[0]


@functools.cache
def alone(steps, **how):
    """What the nodes on the way to a branch say and cost: each judged by a scorer of its own."""
    [reply] = beginnings(**how).score([(PROBLEM, steps)])
    [before] = beginnings(**how).score([(PROBLEM, steps[:-1])]) if steps[1:] else [None]
    return reply, reply.cost.flops - (before.cost.flops if before else 0.0)


@given(mode=st.sampled_from(MODES), calls=st.lists(trees, min_size=1, max_size=4))
def test_a_tree_costs_the_sum_over_its_beginnings_in_any_order(mode, calls):
    how = dict(mode=mode)
    tree, _ = scorer(**how)
    spent = Cost()
    for call in calls:
        replies = tree.score([(PROBLEM, steps) for steps in call])
        for steps, reply in zip(call, replies, strict=True):
            spent += reply.cost
            scratch, _ = alone(steps, **how)
            assert (reply.rewards, reply.analyses) == (scratch.rewards, scratch.analyses)
    beginnings = {steps[:end] for call in calls for steps in call for end in range(1, len(steps) + 1)}
    assert abs(spent.flops - sum(alone(steps, **how)[1] for steps in beginnings)) < 1e-6


def test_what_is_read_is_what_the_sampler_reads():
    """All prompts and forced tokens; the votes on a first step share the problem."""
    for mode in MODES:
        tree, sampler = scorer(mode)
        spent = Cost()
        for call in ([STEPS[:1]], [STEPS[:2], (STEPS[0], STEPS[2])], [STEPS[:3]]):
            for reply in tree.score([(PROBLEM, steps) for steps in call]):
                spent += reply.cost
        turns = [c.turns for c in sampler.released.values()]
        written = sum(len(turn) for each in turns for turn in each[1::2])
        read = sum(len(turn) for each in turns for turn in each[0::2])
        assert len(turns) == 2 * 4 and spent.generated_tokens == written
        encode = sampler.tokenizer.encode
        closing = len(encode("}</output>\n"))  # counted where it is written, read by what follows
        shared = _shared(tree, mode, encode)
        assert spent.prompt_tokens == read - shared + len(turns) * closing


def _shared(tree, mode, encode):
    """Tokens that each of the two votes is prompted with and that are read once."""
    if mode == "chain":
        return len(encode(PROBLEM.text))
    heard = []
    list(tree.scorer.judge([(PROBLEM, Solution("s", "p", STEPS[:3], ""))], range(2), {}, heard.append))
    history, shared = len(encode(PROBLEM.text)), 0
    for t, many in enumerate((1, 2, 1)):
        shared += many * history
        history += len(encode(STEPS[t] + next(r for r in heard if (r.step, r.vote) == (t, 0)).text))
    return shared


class Whole(Scorer):
    """The same verifier, whose solutions are charged as wholes."""

    def judge(self, items, votes, known, heard):
        yield from beginnings().scorer.judge(items, votes, known, heard)


def test_all_but_what_is_read_again_is_what_a_solution_costs_as_a_whole():
    whole = VoteRewards(Whole(None), 2, "prob_raw", FakeTokenizer(), PAIRS)
    for steps in (STEPS[:1], STEPS[:3]):
        [mine] = beginnings().score([(PROBLEM, steps)])
        [theirs] = whole.score([(PROBLEM, steps)])
        spent, once = mine.cost, theirs.cost
        assert mine.rewards == theirs.rewards and spent.generated_tokens == once.generated_tokens
        assert spent.prompt_tokens - spent.reread_tokens == once.prompt_tokens
        assert spent.flops - spent.reread_flops == once.flops and not once.reread_tokens
        assert bool(spent.reread_tokens) == (len(steps) > 1)


def test_another_search_pays_for_itself_and_draws_nothing():
    tree, sampler = scorer()
    first = tree.score([(PROBLEM, STEPS[:2]), (PROBLEM, STEPS[:3])])
    assert tree.score([(PROBLEM, STEPS[:3])])[0].cost == Cost(), "the same search"
    tree.forget(PROBLEM)
    drawn = len(sampler.prompts)
    second = tree.score([(PROBLEM, STEPS[:2]), (PROBLEM, STEPS[:3])])
    assert first == second and len(sampler.prompts) == drawn
    [longer] = tree.score([(PROBLEM, STEPS)])
    assert longer.rewards == alone(STEPS)[0].rewards, "gone on from what was forgotten"


def search(tmp_path, name, judge, strategy="beam", **settings):
    made = make_strategy(strategy, **settings or {"width": 2, "expand": 2})
    return run_search(PROBLEMS, made, generator()[0], judge, WORLD, tmp_path / name)


def truth():
    tokenizer = WORLD.tokenizer()
    settings = VerifySettings(context_tokens=4000, style="direct", execute="none")
    sampler = ScriptedSampler(tokenizer, verdict, slots=64)
    branches = Branches(2, sampler, FakeExecutor(), tokenizer, settings, 3)
    return VoteRewards(SharedBeginnings(branches), 2, "vote", tokenizer, PAIRS)


def test_rows_do_not_depend_on_other_searches_of_the_sitting(tmp_path):
    """Nor on one that was interrupted: a problem starts anew, and so does its bill."""
    alone_rows = search(tmp_path, "alone", truth())
    together, interrupted = truth(), truth()
    search(tmp_path, "before", together, "dvts")
    assert search(tmp_path, "after", together) == alone_rows
    calls, score = 0, interrupted.score

    def failing(items):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return score(items)

    interrupted.score = failing
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, "killed", interrupted)
    assert search(tmp_path, "killed", interrupted) == alone_rows


def test_problems_are_told_apart():
    tree, _ = scorer()
    other = Problem("q", PROBLEM.text, "")
    one, two = tree.score([(PROBLEM, STEPS[:1]), (other, STEPS[:1])])
    assert one.cost.prompt_tokens and two.cost.prompt_tokens
    tree.forget(PROBLEM)
    assert tree.score([(other, STEPS[:1])])[0].cost == Cost()
