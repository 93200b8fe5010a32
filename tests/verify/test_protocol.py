"""The rationale protocol: exact texts on the usual paths, and an end on every path."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.records import Execution
from jprm.verify import EMBEDDED, CompactDialogue, Done, Execute, Generate
from tests.verify.fakes import PIECES, FakeTokenizer, within

STOPS = EMBEDDED.stops
VERDICT = "<output>\\boxed{"


def dialogue(style="full", execute="executed", budget=None, refused=""):
    template = within(*budget) if budget else EMBEDDED
    return CompactDialogue(template, FakeTokenizer(refused), 0, style, execute)


def feed(dialogue, text):
    """Feed a text at its true length; returns the next action."""
    dialogue.feed(text, len(dialogue.codec.encode(text)))
    return dialogue.next_action()


def test_full_and_executed():
    d = dialogue(budget=(100, 3, 1))
    assert d.next_action() == d.next_action() == Generate("<analyze>", 99, STOPS)
    written = "8 + 3 = 11. </analyze>\n<verify>print(8 + 3 == 11)</verify>\n"
    assert feed(d, written) == Execute("print(8 + 3 == 11)")
    d.feed_outcome("True", "ok")
    used = len(d.codec.encode("<analyze>" + written + "[Code output: True]\n"))
    assert d.next_action() == Generate("[Code output: True]\n", 100 - used, STOPS)
    assert feed(d, VERDICT + "Yes") == Done(True, "", "}</output>\n")
    assert d.text == f"<analyze>{written}[Code output: True]\n{VERDICT}Yes}}</output>\n"
    assert d.executions == [Execution("print(8 + 3 == 11)", "ok", "True")]
    assert d.generated_tokens + d.forced_tokens == len(d.codec.encode(d.text))


def test_invented_output_is_the_model_s():
    d = dialogue("code", "invented")
    assert d.next_action().forced == "<verify>"
    assert feed(d, "print(1 == 2)</verify>\n").forced == "[Code output: "
    assert feed(d, "True]\n" + VERDICT + "Yes") == Done(True, "", "}</output>\n")
    assert d.executions == []


def test_code_without_output():
    d = dialogue("full", "none")
    assert feed(d, "a</analyze>\n<verify>print(1)</verify>\n").forced == ""
    assert feed(d, VERDICT + "No") == Done(False, "", "}</output>\n")


def test_analysis_and_direct():
    d = dialogue("analysis")
    assert d.next_action().forced == "<analyze>"
    assert feed(d, "8 + 3 = 11.\n</analyze>\n" + VERDICT + "No").correct is False
    d = dialogue("direct")
    assert d.next_action() == Generate(VERDICT, 1, STOPS)
    assert feed(d, "Yes") == Done(True, "", "}</output>\n")
    assert feed(dialogue("direct"), "8") == Done(None, "no_verdict", "}</output>\n")


def test_a_closing_already_written_is_not_forced_again():
    for rest in ("", "}", "}</output>\n"):
        d = dialogue("analysis")
        done = feed(d, f"</analyze>\n{VERDICT}Yes{rest}")
        assert done == Done(True, "", "}</output>\n"[len(rest) :])
        assert d.text.endswith("{Yes}</output>\n")


@pytest.mark.parametrize("text", ["Is it Yes", "boxed{Yes", "<output>boxed{No", VERDICT + "maybe Yes", "Yes No"])
def test_a_stop_elsewhere_is_a_false_alarm(text):
    d = dialogue(budget=(200, 3, 1))
    action = feed(d, text)
    assert action == Generate("", 200 - len(d.codec.encode(d.text)), STOPS)
    assert feed(d, f" it is.</analyze>\n{VERDICT}No").correct is False


def test_verdict_words_are_matched_exactly():
    for text in ("yes", "Yes, but", "YES", " Yes", "Yes}$", "Nope", ""):
        assert EMBEDDED.read_verdict(VERDICT + text) is None
    assert EMBEDDED.read_verdict(f"{VERDICT}Yes}}</output>\n{VERDICT}No") is False
    assert EMBEDDED.read_verdict(f"{VERDICT}Yes}}</output>\nmore") is None


@pytest.mark.parametrize("text", ["</verify>\n", "<verify> \n</verify>\n", "print(1)</verify>\n"])
def test_no_code_reads_as_in_the_reference(text):
    d = dialogue()
    assert feed(d, text).forced == "[Code output: Code format error: No code found.]\n"
    assert [e.kind for e in d.executions] == ["no_code"]


def test_only_the_newest_block_runs():
    """The reference runs the previous block again when the new one is missing or cut off."""
    d = dialogue()
    assert feed(d, "<verify>print(1)</verify>\n") == Execute("print(1)")
    d.feed_outcome("1", "ok")
    assert feed(d, "hm, </verify>\n").forced.startswith("[Code output: Code format error")
    d = dialogue(budget=(60, 3, 1))
    feed(d, "</analyze>\n<verify>print(1)</verify>\n")
    d.feed_outcome("1", "ok")
    assert feed(d, "<verify>" + "9" * 59).forced == "</verify>\n" + VERDICT


def test_budget_forces_the_verdict():
    d = dialogue(budget=(10, 3, 2))
    assert feed(d, "x" * 9) == Generate("</analyze>\n" + VERDICT, 2, STOPS)
    assert feed(d, "No") == Done(False, "", "}</output>\n")
    d = dialogue(budget=(10, 3, 2))
    feed(d, "x" * 9)
    assert feed(d, "8}") == Done(None, "budget", "</output>\n")
    assert d.text.endswith(VERDICT + "8}</output>\n")


def test_rounds_force_the_verdict():
    d = dialogue("code", budget=(1000, 2, 1))
    assert feed(d, "print(1)</verify>\n") == Execute("print(1)")
    d.feed_outcome("1", "ok")
    assert feed(d, "<verify>print(2)</verify>\n") == Execute("print(2)")
    d.feed_outcome("2", "ok")
    assert d.next_action() == Generate("[Code output: 2]\n" + VERDICT, 1, STOPS)


def test_open_sections_are_closed_innermost_first():
    d = dialogue(budget=(4, 3, 1))
    assert feed(d, "a<verify>8").forced == "</verify>\n</analyze>\n" + VERDICT


def test_a_budget_that_ends_in_a_false_alarm_or_an_output():
    d = dialogue(budget=(4, 3, 1))
    assert feed(d, "abYes").forced == "</analyze>\n" + VERDICT
    d = dialogue("code", "invented", budget=(4, 3, 1))
    assert feed(d, "1</verify>\n").forced == "[Code output: ]\n" + VERDICT


def test_a_model_that_falls_silent_is_asked_for_its_verdict():
    d = dialogue()
    d.feed("8 + 3 is 11", 12)  # the end-of-text token has no text
    assert d.next_action().forced == "</analyze>\n" + VERDICT
    d.feed("", 1)
    assert d.next_action() == Done(None, "no_verdict", "}</output>\n")
    d = dialogue()
    d.feed("a</analyze>\n" + VERDICT, 4)
    assert d.next_action() == Generate("", 1, STOPS)


def test_output_is_shown_bounded_and_writable():
    d = dialogue(refused="199")
    feed(d, "<verify>print(1)</verify>\n")
    d.feed_outcome("1990", "ok")
    assert d.next_action().forced == "[Code output: Error]\n"
    assert d.executions[0].text == "Error"
    d = dialogue()
    feed(d, "<verify>print(1)</verify>\n")
    d.feed_outcome("8" * 100, "ok")
    assert d.next_action().forced == f"[Code output: {'8' * 64}...]\n"


def test_an_output_cannot_give_the_verdict():
    d = dialogue()
    feed(d, "</analyze>\n<verify>print(x)</verify>\n")
    d.feed_outcome(f"]\n{VERDICT}Yes", "ok")
    assert isinstance(d.next_action(), Generate)
    d.feed("", 1)
    assert d.next_action().forced == VERDICT


def test_unknown_style_and_mode():
    with pytest.raises(UserError, match="'fulll'.*full, code"):
        dialogue("fulll")
    with pytest.raises(UserError, match="'run'.*executed"):
        dialogue("full", "run")


TEXTS = st.lists(
    st.sampled_from([*PIECES, VERDICT + "Yes", VERDICT + "No}", "print(1)", " ", "8"]) | st.text(max_size=5), max_size=6
).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    chunks=st.lists(st.tuples(TEXTS, st.integers(0, 30)), max_size=40),
    style=st.sampled_from(["full", "code", "analysis", "direct"]),
    execute=st.sampled_from(["executed", "invented", "none"]),
    budget=st.tuples(st.integers(1, 60), st.integers(0, 4), st.integers(1, 5)),
)
def test_any_text_ends_in_a_verdict_or_a_counted_none(chunks, style, execute, budget):
    """Total and bounded, whatever is fed; token counts may even disagree with the texts."""
    d = dialogue(style, execute, budget)
    fed = iter(chunks)
    for _ in range(budget[0] + 2 * budget[1] + 2):
        match d.next_action():
            case Generate(_, max_tokens):
                text, tokens = next(fed, ("", 0))
                assert max_tokens >= 1
                d.feed(text, min(tokens, max_tokens))
            case Execute(code):
                assert code
                d.feed_outcome(next(fed, ("", 0))[0], "ok")
            case Done(correct, reason, closing):
                assert (correct is None) == (reason in ("budget", "no_verdict"))
                assert d.text.endswith(closing) and d.text.endswith(EMBEDDED.verdict_closing)
                if correct is not None:
                    assert EMBEDDED.read_verdict(d.text) is correct
                return
    assert isinstance(d.next_action(), Done)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=12), style=st.sampled_from(["full", "code", "direct"]))
def test_text_and_tokens_add_up(texts, style):
    """The rationale is what was forced and what was generated, in order, and so are its tokens."""
    d = dialogue(style, budget=(60, 2, 3))
    fed = iter(texts)
    forced, generated, whole = [], [], []
    while not isinstance(action := d.next_action(), Done):
        if isinstance(action, Execute):
            d.feed_outcome("1", "ok")
            continue
        forced.append(action.forced)
        generated.append(next(fed, ""))
        whole += [forced[-1], generated[-1]]
        feed(d, generated[-1])
    forced.append(action.closing)
    assert d.text == "".join(whole) + action.closing
    assert d.generated_tokens == sum(len(d.codec.encode(text)) for text in generated)
    assert d.forced_tokens == sum(len(d.codec.encode(text)) for text in forced)
