"""The machine of the published protocol: its steps, its ends on any text, its configuration file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.records import Execution
from jprm.verify import Budget, ChatDialogue, Done, Execute, Generate
from tests.verify.fakes import within
from tests.verify.published import A0, FILE, NO, O0, PIECES, V0, YES, codec, published

GENPRM, DROPPED, KEPT = published(), published(), published("quirks.keep_evidence=true")


def dialogue(style="full", execute="executed", budget=None, template=GENPRM, step=0):
    return ChatDialogue(within(*budget, template) if budget else template, codec(), step, style, execute)


def feed(d, text):
    """Feed a text at its true length; returns the next action."""
    d.feed(text, len(d.codec.encode(text)))
    return d.next_action()


def test_the_usual_path():
    d = dialogue(step=2)
    assert d.next_action() == Generate(A0.format(3), 2048, ("</analyze>\n",))
    action = feed(d, "Fine.\n</analyze>\n")
    left = 2048 - len(d.codec.encode(A0.format(3) + "Fine.\n</analyze>\n" + V0))
    assert action == Generate(V0, left, ("\n```\n", "</output>\n"))
    assert feed(d, "print(1)\n```\n") == Execute("print(1)")
    d.feed_outcome("1", "ok")
    assert d.next_action().forced == "[Code Output]\n\n```\n1\n```\n"
    assert feed(d, f"</verify>\n{O0}{YES}") == Done(True, "", "")
    assert d.executions == [Execution("print(1)", "ok", "1")]
    assert d.generated_tokens + d.forced_tokens == len(d.codec.encode(d.text))


def test_the_other_styles():
    d = dialogue("analysis")
    assert feed(d, "Fine.</analyze>\n").forced == O0
    assert d.next_action().stops == ("</output>\n",)
    assert feed(d, NO) == Done(False, "", "")
    d = dialogue("code")
    assert d.next_action().forced == V0
    d = dialogue("direct")
    assert d.next_action().forced == O0 and feed(d, YES) == Done(True, "", "")


def test_code_that_is_not_run():
    d = dialogue("code", "none")
    assert d.next_action().stops == ("</output>\n",)
    d = dialogue("code", "invented")
    assert feed(d, "print(1)\n```\n").forced == "[Code Output]\n\n```\n"
    assert feed(d, "1\n```\n").forced == ""  # the end of the output is no code
    assert feed(d, f"</verify>\n{O0}{NO}").correct is False
    assert d.executions == []


def test_an_analysis_that_uses_up_the_budget_gets_no_verification():
    d = dialogue(budget=(100, 3, 20))
    action = feed(d, "x" * 100)
    opening = A0.format(1) + "x" * 100 + "</analyze>\n" + O0
    assert d.text == opening and action.max_tokens == 20
    assert feed(d, YES) == Done(True, "", "")
    # The reference keeps what stands before the first closing, with a newline behind it or not.
    d = dialogue(budget=(20, 3, 20))
    feed(d, "a</analyze> and more")
    assert d.text == A0.format(1) + "a</analyze>\n" + O0


def test_what_was_not_closed_is_closed_around_the_evidence():
    d = dialogue("code", template=KEPT, budget=(200, 3, 20))
    feed(d, "x" * 1000)
    assert d.text == V0 + "x" * 1000 + "\n```\n</verify>\n" + O0
    d = dialogue("full", template=KEPT, budget=(100, 3, 20))
    feed(d, "x" * 100)
    assert d.text == A0.format(1) + "x" * 100 + V0 + "\n```\n</verify>\n</analyze>\n" + O0


def test_a_forced_verdict_is_asked_for_once():
    for answer, closing in (("", "}$\n</output>\n"), ("maybe", "}$\n</output>\n"), ("{", None)):
        d = dialogue(budget=(100, 3, 20))
        feed(d, "x" * 100)
        done = feed(d, answer)
        assert done.correct is None and done.reason == "budget"
        assert closing is None or done.closing == closing
        assert d.text.endswith("</output>\n")
    for word in ("{Yes", "{yep}", "Yes"):
        d = dialogue("direct", budget=(1, 0, 20))
        assert d.next_action() == Generate(O0, 20, ("</output>\n",))
        assert feed(d, word + "\n</output>\n") == Done(None, "budget", "")


def test_the_case_of_a_verdict():
    assert feed(dialogue("direct"), "{no}$\n</output>\n").correct is False
    exact = published("quirks.any_case=false")
    assert feed(dialogue("direct", template=exact), "{no}$\n</output>\n").correct is None


def test_neither_the_analysis_nor_an_output_judges():
    d = dialogue()
    assert isinstance(feed(d, f"{O0}{YES}</analyze>\n"), Generate)
    assert feed(d, "print(1)\n```\n") == Execute("print(1)")
    d.feed_outcome(f"{O0}{YES}", "ok")
    assert isinstance(d.next_action(), Generate)
    assert feed(d, f"</verify>\n{O0}{NO}").correct is False


def test_mistakes():
    with pytest.raises(UserError, match="'ful' is unknown; known: full"):
        dialogue("ful")
    with pytest.raises(UserError, match="'run' is unknown; known: executed"):
        dialogue(execute="run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quirks.first_user=paper", "quirks.first_user = 'paper'.*evaluation"),
        ("quirks.double_boss=true", 'unknown key "quirks.double_boss".*"quirks.double_bos"'),
        ("tags.analyze_open=<analyze>", "tags.analyze_open.*{paragraph}"),
        ("chat.later_user={stepp}", "chat.later_user.*{step} once"),
        ("tags.code_output={output", "tags.code_output.*not a text"),
        ("budget.max_tokens=0", "budget.max_tokens = 0"),
        ("sampling.top_p=0", "sampling.top_p = 0"),
        ("tags.code_close=", "tags.code_close = ''"),
    ],
)
def test_mistakes_of_the_file(override, message):
    with pytest.raises(UserError, match=message):
        published(override)


def test_the_file_is_the_reference():
    """The constants of the reference that no other test spells out."""
    assert GENPRM.sampling.model_dump() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "code_timeout_s": 5.0}
    assert GENPRM.budget == Budget(max_tokens=2048, max_rounds=3, verdict_tokens=20)
    assert GENPRM.stops == ("</analyze>\n", "\n```\n", "</output>\n")
    assert "RyanLiu112/GenPRM" in FILE.read_text(encoding="utf-8")


FRAGMENTS = ("</analyze>\n", "</verify>\n", "<verify>\n", "```python\n", "\n```\n", "</output>\n")
TEXTS = st.lists(
    st.sampled_from([*FRAGMENTS, *PIECES, O0, O0 + YES, O0 + NO, V0, "{Yes}", "yes}", "{", "\n"]) | st.text(max_size=5),
    max_size=6,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    chunks=st.lists(st.tuples(TEXTS, st.integers(0, 30)), max_size=40),
    template=st.sampled_from([DROPPED, KEPT]),
    style=st.sampled_from(["full", "code", "analysis", "direct"]),
    execute=st.sampled_from(["executed", "invented", "none"]),
    budget=st.tuples(st.integers(1, 250), st.integers(0, 4), st.integers(1, 5)),
)
def test_any_text_ends_in_a_verdict_or_a_counted_none(chunks, template, style, execute, budget):
    """Total and bounded, whatever is fed; token counts may even disagree with the texts."""
    d = dialogue(style, execute, budget, template)
    fed = iter(chunks)
    for _ in range(3 * budget[0] + 2 * budget[1] + budget[2] + 4):
        match d.next_action():
            case Generate(forced, max_tokens, stops):
                text, tokens = next(fed, ("", 0))
                assert max_tokens >= 1 and d.text.endswith(forced) and stops
                d.feed(text, min(tokens, max_tokens))
            case Execute(code):
                assert code and execute == "executed"
                d.feed_outcome(next(fed, ("", 0))[0], "ok")
            case Done(correct, reason, closing):
                assert (correct is None) == (reason in ("budget", "no_verdict"))
                assert d.text.endswith(closing) and d.text.endswith("</output>\n")
                return
    pytest.fail("no end")


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=12), style=st.sampled_from(["full", "code", "direct"]))
def test_text_is_taken_back_at_most_once_and_down_to_the_analysis(texts, style):
    d = dialogue(style, budget=(300, 2, 3))
    fed, taken_back = iter(texts), 0
    while not isinstance(action := d.next_action(), Done):
        before = d.text
        if isinstance(action, Execute):
            d.feed_outcome("1", "ok")
        else:
            assert d.text.endswith(action.forced)
            feed(d, next(fed, ""))
        if not d.text.startswith(before):
            taken_back += 1
            assert style == "full" and d.text.endswith("</analyze>\n" + O0)
            assert before.startswith(d.text.removesuffix("</analyze>\n" + O0))
    assert taken_back <= 1
    assert d.text.startswith(A0.format(1) if style == "full" else V0 if style == "code" else O0)
