"""Branches that share beginnings: going on gives what judging from scratch gives, vote by vote."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.execute import Pool, PreloadLevel
from jprm.records import Problem, Solution
from jprm.verify import Branches, VerifySettings, verify
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler
from tests.verify.test_driver import SEED, coin, model

PROBLEM = Problem("p", "Ann has 8.\n", "19")
STEPS = ("S1: 8+3=11\n", "S2: 11+8=20\n", "S3: 20\n", "S1: again\n")
MODES = ("chain", "fork")


def branches_of(votes=2, mode="chain", script=model, executor=None, slots=4, **settings):
    sampler = ScriptedSampler(FakeTokenizer(), script, slots=slots)
    chosen = VerifySettings(**{"context_tokens": sampler.context_tokens, **settings}, mode=mode)
    executor = executor or FakeExecutor()
    branches = Branches(votes, sampler, executor, sampler.tokenizer, chosen, SEED)
    return branches, sampler, executor


def plain(rationales):
    """Rationales without the names of the texts that they are about."""
    return [(r.step, r.vote, r.text, r.executions, r.verdict, r.reason, r.shortened) for r in rationales]


def drawn(sampler):
    return sum(n for _, n in sampler.prompts)


trees = st.lists(st.lists(st.sampled_from(STEPS), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6)


@given(mode=st.sampled_from(MODES), votes=st.integers(1, 3), calls=st.lists(trees, min_size=1, max_size=4))
def test_any_order_of_branches_gives_what_each_gives_from_scratch(mode, votes, calls):
    branches, sampler, executor = branches_of(votes, mode)
    for tree in calls:
        found = branches.judge([(PROBLEM, steps) for steps in tree])
        for steps, rationales in zip(tree, found, strict=True):
            [alone] = branches_of(votes, mode)[0].judge([(PROBLEM, steps)])
            assert rationales == alone
    beginnings = {steps[:end] for tree in calls for steps in tree for end in range(1, len(steps) + 1)}
    assert drawn(sampler) == votes * len(beginnings), "each beginning once"
    assert sampler.conversations == {}, "no slot is held between calls"
    branches.forget(PROBLEM)
    assert executor.open_sessions == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_vote_reads_its_own_history(mode):
    """In fork mode that of vote 0, as `verify` has it; what is read is the whole text so far."""
    branches, sampler, _ = branches_of(3, mode)
    tree = [STEPS[:1], STEPS[:3], (STEPS[0], STEPS[2])]
    found = [branches.judge([(PROBLEM, steps)])[0] for steps in tree]
    said = {(steps[: r.step + 1], r.vote): r.text for steps, own in zip(tree, found, strict=True) for r in own}
    expected = set()
    for steps, vote in said:
        text = PROBLEM.text
        for end in range(1, len(steps)):
            text += steps[end - 1] + said[steps[:end], 0 if mode == "fork" else vote]
        expected.add(text + steps[-1] + said[steps, vote].removesuffix("}</output>\n"))
    read = {sampler.tokenizer.decode(c.ids) for c in sampler.released.values()}
    assert read == expected and len(sampler.released) == len(said) == 12


def test_scripts_meet_what_can_go_wrong():
    """The property above is about verdicts of None, second rounds and code, too."""
    steps = [STEPS[:3], STEPS[1:], STEPS[::-1]]
    found = branches_of(8)[0].judge([(PROBLEM, each) for each in steps])
    every = [r for rationales in found for r in rationales]
    silent = [r for r in every if r.verdict.correct is None]
    assert silent and any(r.step < 2 for r in silent), "histories with a vote that said nothing"
    assert any(len(r.executions) > 1 for r in every)


def without_chance(sample_id, text):
    """Says what depends on the text alone, so that it does not matter how draws are named."""
    return model(7 * len(re.findall("S", text)) + int(97 * coin(text[-40:])), text)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("context", [10_000, 280, 220])
def test_a_branch_is_judged_as_verify_judges_a_solution(mode, context):
    """Same histories, namespaces, shortening and ends, but for the names of the draws."""
    steps = (*STEPS[:3], *STEPS[:3])
    how = dict(mode=mode, script=without_chance, context_tokens=context, overflow="drop_code")
    branches, sampler, executor = branches_of(2, **how)
    for end in (1, 3, 6):
        [found] = branches.judge([(PROBLEM, steps[:end])])
    settings = VerifySettings(context_tokens=context, mode=mode, overflow="drop_code")
    sampler = ScriptedSampler(FakeTokenizer(), without_chance)
    solution = Solution("s", PROBLEM.id, steps, "planted")
    [whole] = verify(*([(PROBLEM, solution)], (0, 1), sampler, FakeExecutor(), sampler.tokenizer, settings, SEED))
    assert plain(found) == plain(whole)
    if context < 10_000:
        assert any(r.shortened for r in whole)
    assert any(r.reason == "context" for r in whole) == (context == 220)


@pytest.mark.parametrize("mode", MODES)
def test_a_conversation_that_outgrew_the_context_is_not_gone_on_from(mode):
    branches, sampler, _ = branches_of(2, mode, context_tokens=150)
    at_once = branches_of(2, mode, context_tokens=150)[0].judge([(PROBLEM, STEPS[:3])])
    for end in (1, 2, 3):
        found = branches.judge([(PROBLEM, STEPS[:end])])
    assert found == at_once
    [rationales] = found
    assert [r.reason for r in rationales][-2:] == ["context"] * 2
    assert [r.reason for r in rationales][:2] == [""] * 2
    assert rationales[-1].text == "" and rationales[-1].verdict.correct is None


def with_names(sample_id, text):
    """Binds a name at the first step and uses it at later ones."""
    number = int(50 * coin(sample_id))
    step = len(re.findall(r"S\d", text))
    code = f"x = {number}\nprint(x)" if step == 1 else f"x += {number}\nprint(x)"
    if text.endswith("]\n"):
        return "<output>\\boxed{Yes"
    return f"</analyze>\n<verify>{code}</verify>\n"


@pytest.mark.parametrize("mode", MODES)
def test_later_code_finds_the_names_of_its_own_branch(mode):
    """Siblings change the same name, each in a namespace of its own, in whichever call."""
    left, right = STEPS[:2], (STEPS[0], STEPS[2])
    with Pool(workers=1, warm=PreloadLevel.PLAIN) as pool:
        branches, _, _ = branches_of(2, mode, with_names, pool)
        branches.judge([(PROBLEM, left[:1])])
        [one] = branches.judge([(PROBLEM, left)])
        other, longer = branches.judge([(PROBLEM, right), (PROBLEM, (*left, STEPS[2]))])
        scratch, _, _ = branches_of(2, mode, with_names, pool)
        [alone] = scratch.judge([(PROBLEM, (*left, STEPS[2]))])
        for each in (branches, scratch):
            each.forget(PROBLEM)
    assert longer == alone and longer[: len(one)] == one
    for vote in range(2):
        past = 0 if mode == "fork" else vote
        numbers = [int(r.executions[0].text) for r in longer if r.vote == vote]
        added = [int(re.search(r"\d+", r.executions[0].code).group()) for r in longer if r.vote == vote]
        before = [int(r.executions[0].text) for r in longer if r.vote == past]
        assert numbers == [added[0], before[0] + added[1], before[1] + added[2]]
        beside = next(r for r in other if (r.step, r.vote) == (1, vote))
        grown = int(re.search(r"\d+", beside.executions[0].code).group())
        assert int(beside.executions[0].text) == before[0] + grown, "not what its sibling added"


def test_an_interrupted_call_leaves_nothing_behind_but_what_was_complete():
    calls = 0

    def failing(history, code):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return "1"

    branches, sampler, executor = branches_of(1, executor=FakeExecutor(failing), script=model)
    with pytest.raises(KeyboardInterrupt):
        branches.judge([(PROBLEM, STEPS)])
    assert sampler.conversations == {}
    before = drawn(sampler)
    [found] = branches.judge([(PROBLEM, STEPS)])
    [alone] = branches_of(1, executor=FakeExecutor(lambda history, code: "1"))[0].judge([(PROBLEM, STEPS)])
    assert found == alone and 0 < drawn(sampler) - before < len(STEPS)
    branches.forget(PROBLEM)
    assert executor.open_sessions == 0


def test_problems_are_forgotten_one_by_one():
    branches, sampler, executor = branches_of(1)
    other = Problem("q", "Bob has 7.\n", "7")
    branches.judge([(PROBLEM, STEPS[:2]), (other, STEPS[:1])])
    branches.forget(PROBLEM)
    branches.forget(PROBLEM)
    before = drawn(sampler)
    branches.judge([(other, STEPS[:1])])
    assert drawn(sampler) == before
    branches.judge([(PROBLEM, STEPS[:2])])
    assert drawn(sampler) == before + 2
