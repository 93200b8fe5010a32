"""ThinkPRM: forced verdicts, rounds, the numbered solution, and words on steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.config import load
from jprm.errors import UserError
from jprm.records import Problem, Solution
from jprm.verify import Done, Generate, ThinkPRM, VerifySettings, step_verdicts, verify, whole
from jprm.verify.think import ThinkDialogue
from jprm.verify.votes import probability_yes
from tests.verify.fakes import FakeExecutor, FakeTokenizer, ScriptedSampler, within
from tests.verify.published import FILE, thinkprm

TEMPLATE = thinkprm()
PIECES = ("<think>", "</think>", "Yes", "No")
PROBLEM = Problem("p", "Ann has 8.\n", "19")
SOLUTION = Solution("s", "p", ("Step 1: 8+3=11\n", "11+8=20\n"), "planted")
NUMBERED = "Step 1: 8+3=11\nStep 2: 11+8=20"


def rounds(n, max_tokens=1000):
    return within(max_tokens, n, 1, TEMPLATE)


def judged(script, template=TEMPLATE, votes=(0,)):
    tokenizer = FakeTokenizer(pieces=PIECES)
    sampler = ScriptedSampler(tokenizer, script, context_tokens=20_000)
    settings = VerifySettings(context_tokens=20_000, style="analysis", execute="none", template=template)
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
    assert sampler.prompts[0][0] == f"Ann has 8. {NUMBERED}<think>"
    assert rationale.text == "<think>thought 0</think>\n? No"
    assert rationale.verdict.correct is False
    # the sampler's margin between the two words is 2 nats in favour of the one written
    assert rationale.verdict.p_yes_raw == pytest.approx(1 / (1 + np.exp(2.0)), abs=1e-9)
    assert probability_yes(-3.0, -1.0) == pytest.approx(np.exp(-3) / (np.exp(-3) + np.exp(-1)))


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_a_round_takes_the_end_back_and_goes_on(n):
    [rationale], _ = judged(chain, rounds(n))
    triggers = [TEMPLATE.triggers[i % 3] for i in range(n - 1)]
    thoughts = "".join(f"{trigger}thought {i + 1}" for i, trigger in enumerate(triggers))
    assert rationale.text == f"<think>thought 0{thoughts}</think>\n? No"
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
    wrong = VerifySettings(context_tokens=20_000, template=TEMPLATE)
    with pytest.raises(UserError, match="style = 'analysis'"):
        list(verify([], [0], ScriptedSampler(tokenizer, chain), FakeExecutor(), tokenizer, wrong, 0))
    right = wrong.model_copy(update={"style": "analysis", "execute": "none"})
    sampler = ScriptedSampler(tokenizer, chain, context_tokens=20_000)
    with pytest.raises(UserError, match="verify `whole"):
        list(verify([(PROBLEM, SOLUTION)], [0], sampler, FakeExecutor(), tokenizer, right, 0))


def test_the_file_is_the_reference():
    """What the published checkpoints are asked, but for the control tokens of their chat."""
    template = load(ThinkPRM, FILE.with_name("thinkprm.toml"))
    text = template.opening("Ann has 8.\n", NUMBERED, "analysis")
    assert text.startswith("<｜begin▁of▁sentence｜><｜User｜>You are given a math problem and a proposed")
    assert f"\n\n[Math Problem]\n\nAnn has 8.\n\n[Solution]\n\n{NUMBERED}\n\nReview and critique each" in text
    assert text.endswith("only verify the provided steps.<｜Assistant｜>")
    assert (template.question, *template.verdict_words) == ("\nIs the solution correct?", " Yes", " No")
    with pytest.raises(UserError, match="budget.*at least 1"):
        thinkprm("budget.max_rounds=0")


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
