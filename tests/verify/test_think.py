"""ThinkPRM: forced verdicts, rounds, words on steps, and the filter against its closed form."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.verify import (
    Budget,
    Done,
    Generate,
    Settings,
    ThinkPRM,
    probability_yes,
    process_filter,
    step_verdicts,
    verify,
    whole,
)
from jprm.verify.think import ThinkDialogue
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler

TEMPLATE = ThinkPRM()
PIECES = ("<think>\n", "</think>", "Yes", "No")
PROBLEM = Problem("p", "Ann has 8.\n", "19")
SOLUTION = Solution("s", "p", ("S1: 8+3=11\n", "S2: 11+8=20\n"), "planted")


def rounds(n, max_tokens=1000):
    return dataclasses.replace(TEMPLATE, budget=Budget(max_tokens, n, 1))


def judged(script, template=TEMPLATE, votes=(0,)):
    tokenizer = FakeTokenizer(pieces=PIECES)
    sampler = ScriptedSampler(tokenizer, script, context_tokens=20_000)
    settings = Settings(20_000, style="analysis", execute="none", template=template)
    items = [(PROBLEM, whole(SOLUTION))]
    [found] = verify(items, votes, sampler, FakeExecutor(), tokenizer, settings, 0)
    assert not sampler.conversations
    return found, sampler


def chain(sample_id, text):
    if text.endswith(TEMPLATE.question):
        return "No"
    return f"thought {text.count('thought')}</think>"


def test_one_chain_over_the_whole_solution_and_a_forced_verdict():
    [rationale], sampler = judged(chain)
    assert sampler.prompts[0][0] == PROBLEM.text + "".join(SOLUTION.steps) + "<think>\n"
    assert rationale.text == "<think>\nthought 0</think>\nIs the solution correct? No"
    assert rationale.verdict.correct is False
    # the sampler's margin between the two words is 2 nats in favour of the one written
    assert rationale.verdict.p_yes_raw == pytest.approx(1 / (1 + np.exp(2.0)), abs=1e-9)
    assert probability_yes(-3.0, -1.0) == pytest.approx(np.exp(-3) / (np.exp(-3) + np.exp(-1)))


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_a_round_takes_the_end_back_and_goes_on(n):
    [rationale], _ = judged(chain, rounds(n))
    triggers = [TEMPLATE.triggers[i % 3] for i in range(n - 1)]
    thoughts = "".join(f"{trigger}thought {i + 1}" for i, trigger in enumerate(triggers))
    assert rationale.text == f"<think>\nthought 0{thoughts}</think>\nIs the solution correct? No"
    assert rationale.text.count("</think>") == 1


def test_a_chain_without_end_is_cut_and_asked():
    endless = lambda _, text: "Yes" if text.endswith(TEMPLATE.question) else "x" * 500  # noqa: E731
    [rationale], _ = judged(endless, rounds(3, max_tokens=40))
    assert rationale.text.count("x") == 40 and rationale.verdict.correct is True
    silent = lambda _, text: "hm" if text.endswith(TEMPLATE.question) else "x</think>"  # noqa: E731
    [rationale], _ = judged(silent)
    assert rationale.verdict.correct is None and rationale.reason == "no_verdict"


@given(st.lists(st.text("ab</think>YesNo", max_size=12), min_size=12), st.integers(1, 4))
def test_the_machine_is_total(texts, n):
    dialogue = ThinkDialogue(rounds(n, max_tokens=30), FakeTokenizer(pieces=PIECES))
    feeds = 0
    while not isinstance(action := dialogue.next_action(), Done):
        assert isinstance(action, Generate) and action.max_tokens >= 1
        text = texts[feeds][: action.max_tokens]
        dialogue.feed(text, len(text))
        feeds += 1
    assert feeds <= n + 1


def test_what_does_not_fit_is_said():
    tokenizer = FakeTokenizer(pieces=PIECES)
    wrong = Settings(20_000, template=TEMPLATE)
    with pytest.raises(UserError, match="style = 'analysis'"):
        list(verify([], [0], ScriptedSampler(tokenizer, chain), FakeExecutor(), tokenizer, wrong, 0))
    right = dataclasses.replace(wrong, style="analysis", execute="none")
    sampler = ScriptedSampler(tokenizer, chain, context_tokens=20_000)
    with pytest.raises(UserError, match="verify `whole"):
        list(verify([(PROBLEM, SOLUTION)], [0], sampler, FakeExecutor(), tokenizer, right, 0))


def test_words_on_steps():
    text = "Step 1: fine, \\boxed{correct}. Step 2: 11+8=19, \\boxed{Incorrect}"
    assert step_verdicts(text, 3) == [True, False, None]
    assert step_verdicts("\\boxed{correct} then \\boxed{incorrect}", 2) == [True, False]
    again = text + "\nDid I miss something? Step 2 is right: \\boxed{correct}"
    assert step_verdicts(again, 2) == [True, True], "a later round corrects"
    assert step_verdicts("Step 9: \\boxed{correct} \\boxed{19}", 2) == [None, None]


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        # The step of the heading, not one that is mentioned.
        ("Step 2: adds 9 to the 14 of step 1, so 23. \\boxed{correct}", [None, True, None]),
        ("Step 2: Step 1 gave 14. So 23. \\boxed{incorrect}", [None, False, None]),
        ("Step 1: \\boxed{correct}\nadds 9 to step 1: 23. \\boxed{correct}", [True, True, None]),
        ("**Step 3:** uses Step 1 and step 2. \\boxed{incorrect}", [None, None, False]),
        ("### Step 2\nThe 14 of Step 1 is right. \\boxed{correct}", [None, True, None]),
        ("### Step 2: sums\nStep 1 gave 14. \\boxed{correct}", [None, True, None]),
        ("In step 3 it doubles step 2. \\boxed{incorrect}", [None, None, False]),
        ("- Step 2) 5 + 5. \\boxed{correct}", [None, True, None]),
        ("Step 1. 8 + 3. \\boxed{correct}\nStep 2. 11. \\boxed{incorrect}", [True, False, None]),
        ("Step 1: 14\nStep 2: 23 \\boxed{correct}", [None, True, None]),
        # The word with marks around it.
        ("Step 1: \\boxed{\\text{correct}}", [True, None, None]),
        ("Step 1: \\boxed{ \\textbf{Incorrect}. }", [False, None, None]),
        ("Step 1: $\\boxed{**correct**}$", [True, None, None]),
        # What is no word on a step.
        ("Step 1: \\boxed{correct/incorrect} it is \\boxed{incorrect}", [False, None, None]),
        ("Step 1: \\boxed{not correct}", [None, None, None]),
        ("Step 1: \\boxed{23}, \\boxed{correct", [None, None, None]),
        ("", [None, None, None]),
    ],
)
def test_which_step_a_word_is_about(text, verdicts):
    assert step_verdicts(text, 3) == verdicts


@given(st.text(), st.integers(0, 4))
def test_any_chain_has_a_verdict_or_none_for_each_step(text, steps):
    assert len(step_verdicts(text, steps)) == steps


def test_the_filter_by_hand():
    text = "Step 1: \\boxed{correct} Step 2: \\boxed{incorrect}"
    assert process_filter(text, 1, 3, 100) == ""
    assert process_filter(text, -1, 2, 100) == "a verdict that is not the label"
    assert process_filter(text, 2, 3, 100) == "a step without a verdict"
    assert process_filter(text, 1, 3, 5000) == "chain beyond the token limit"


@pytest.mark.parametrize("steps", [3, 8])
def test_the_process_filter_keeps_what_the_formula_says_and_only_right_labels(steps):
    """A critic right on each step with .97; the outcome is whether any step is called wrong."""
    rate, n = 0.97, 3000
    rng = np.random.default_rng(steps)
    process = outcome = mislabelled = 0
    for _ in range(n):
        first = int(rng.integers(-1, steps))
        truth = np.array([t != first for t in range(steps)])
        said = np.where(rng.random(steps) < rate, truth, ~truth)
        text = " ".join(f"Step {t + 1}: \\boxed{{{'correct' if s else 'incorrect'}}}" for t, s in enumerate(said))
        judged = steps if first < 0 else first + 1
        wrong = (said[:judged] != truth[:judged]).any()
        if kept := not process_filter(text, first, steps, 10):
            assert not wrong
        process += kept
        if all(said[:judged]) == (first < 0):
            outcome += 1
            mislabelled += wrong
    lengths = [steps, *range(1, steps + 1)]
    at = binomtest(process, n).proportion_ci(0.999, "wilson")
    assert at.low <= np.mean([rate**length for length in lengths]) <= at.high
    # the outcome also keeps chains that call the flawed solution wrong, at a step that is right
    share = [1 - rate**t for t in range(steps)]
    expected = sum(share) / (steps + 1)
    at = binomtest(mislabelled, n).proportion_ci(0.999, "wilson")
    assert at.low <= expected <= at.high and at.low > 0.0


def test_a_box_in_a_box_is_one_word():
    assert step_verdicts(r"Step 1: \boxed{\boxed{correct}} \boxed{incorrect}", 2) == [True, False]


@pytest.mark.parametrize(
    "again", ["let me recheck Step 1: it", "we double-check step 1. It", "re-examine step 1, which"]
)
def test_a_step_that_is_looked_at_again(again):
    text = f"Step 1: \\boxed{{correct}}\nStep 2: \\boxed{{correct}}\nWait, {again} is \\boxed{{incorrect}}"
    assert step_verdicts(text, 2) == [False, True]
    assert step_verdicts("Step 1: \\boxed{correct}\nStep 2: we check step 1 by it. \\boxed{incorrect}", 2) == [
        True,
        False,
    ]
