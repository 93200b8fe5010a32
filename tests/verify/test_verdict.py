r"""Verdicts: the first box of the section, exactly one of two words, or None and what stood there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.grade import final_answer
from jprm.verify import EMBEDDED, ChatDialogue, CompactDialogue, Done
from jprm.verify.verdict import bare, boxed, first_box, first_word
from tests.verify.fakes import FakeTokenizer, within
from tests.verify.published import O0, codec, item, published, run
from tests.verify.test_chat_driver import scripted

REFERENCE = published("quirks.reference=true")
BOXES = [
    ("{Yes}", True, ""),
    ("{ Yes }", True, ""),
    ("{Yes.}", True, ""),
    ("{**Yes**}", True, ""),
    ("{__No__}", False, ""),
    ("{`No`}", False, ""),
    (r"{\text{Yes}}", True, ""),
    (r"{\textbf{ No }.}", False, ""),
    (r"{\mathrm{\text{Yes}}}", True, ""),
    (r"{\boldsymbol{Yes}}", True, ""),
    (r"{\boxed{Yes}}", True, ""),
    (r"{\fbox{\text{No}}}", False, ""),
    (r"{\underline{\mbox{No}}}", False, ""),
    (r"{\bf Yes}", True, ""),
    (r"{{\Large\bfseries No}}", False, ""),
    (r"{\quad Yes\,}", True, ""),
    (r"{\bfYes}", None, "box holds another text"),
    (r"{\boxed{Yes} \boxed{No}}", None, "box holds both words"),
    ("{$Yes$}", True, ""),
    ("{\u201cYes\u201d}", True, ""),
    ("{'No'}", False, ""),
    ("{{Yes}}", True, ""),
    ("{\nYes\n}", True, ""),
    (r"{Yes\ }", True, ""),
    ("{yes}", True, ""),
    (" {Yes}", True, ""),
    ("{Yes/No}", None, "box holds both words"),
    ("{Yes or No}", None, "box holds both words"),
    (r"{\text{Yes} or \text{No}}", None, "box holds both words"),
    ("{Yes}/{No}", True, ""),
    ("{Yes, but}", None, "box holds more than the word"),
    ("{Not Yes}", None, "box holds more than the word"),
    ("{58}", None, "box holds a number"),
    ("{-1}", None, "box holds a number"),
    ("{Correct}", None, "box holds another text"),
    ("{Nothing}", None, "box holds another text"),
    ("{}", None, "box is empty"),
    ("{...}", None, "box is empty"),
    ("{Yes", None, "cut off"),
    ("", None, "cut off"),
    ("Yes}$", None, "no box"),
    (r"\textbf{Yes}", None, "no box"),
    ("I say Yes.", None, "no box"),
    (r"? I mean \boxed{No}", False, ""),
    (r"{7} no: \boxed{Yes}", None, "box holds a number"),
]


@pytest.mark.parametrize(("text", "correct", "unread"), BOXES)
def test_the_first_box(text, correct, unread):
    found = first_box(text, "Yes", "No", True, opened=True)
    assert (found.correct, found.unread) == (correct, unread)
    if correct is not None:
        assert text[found.at :].lower().startswith("yes" if correct else "no")


@pytest.mark.parametrize(("text", "correct", "unread"), BOXES)
def test_a_dialogue_ends_with_it(text, correct, unread):
    template = published()
    dialogue = ChatDialogue(within(1, 0, 20, template), codec(), style="direct")
    dialogue.feed(f"{text}$\n</output>\n", 20)
    done = dialogue.next_action()
    assert isinstance(done, Done) and done.correct is correct
    assert done.unread == {"cut off": "no box" if not text else "cut off"}.get(unread, unread)


def test_case_is_the_protocols():
    assert first_box("{yes}", "Yes", "No", False, True).unread == "box holds the word in another case"
    assert first_box("{YES}", "Yes", "No", True, True).correct is True
    assert first_box("{Correct}", "Correct", "Incorrect", True, True).correct is True
    assert first_box("{Incorrect}", "Correct", "Incorrect", True, True).correct is False


def test_the_published_program_reads_the_first_word_of_all():
    """`(Yes|No)\\}` anywhere in the rationale, in any case, whatever the box says."""
    assert first_word("a yes} b {No}", "Yes", "No").correct is True
    for text, correct in (("{No}$", False), ("{Yes/No}$", False), ("{ Yes }$", None), ("Yes}", True)):
        dialogue = ChatDialogue(REFERENCE, codec(), style="direct")
        dialogue.feed(text + "\n</output>\n", 5)
        assert dialogue.next_action().correct is correct
    dialogue = ChatDialogue(REFERENCE, codec(), style="analysis")
    dialogue.feed(r"\textbf{Yes} so." + "\n</analyze>\n", 5)
    dialogue.feed("{No}$\n</output>\n", 5)
    assert dialogue.next_action().correct is True


def test_the_time_grows_with_the_text():
    """40 KB of nesting or of blanks; quadratic reading would take minutes."""
    for text in ("{" * 20_000 + "}" * 20_000, "\\boxed{" * 5000 + "}" * 5000, "{" + " " * 40_000):
        assert first_box(text, "Yes", "No", True, True).correct is None
        assert len(list(boxed(text))) <= 5000
        assert final_answer(text) is None or "boxed" in text
    assert final_answer("Answer: 5" + " " * 40_000 + "x") is not None


@given(st.text() | st.lists(st.sampled_from(["{", "}", "\\boxed", "Yes", "No", "\\text{", " ", "*"])).map("".join))
def test_any_text_has_a_verdict_or_a_kind(text):
    for opened in (True, False):
        found = first_box(text, "Yes", "No", True, opened)
        assert (found.correct is None) == bool(found.unread)
    assert all(text[at] == "\\" for at, _ in boxed(text))


@pytest.mark.parametrize(
    ("section", "p_yes"),
    [
        ("{No} although I first wrote Yes", 0.0),
        ("{**No**}$ and \\boxed{Yes}", 0.0),
        ("{ Yes } not \\boxed{No}", 1.0),
        ("{No", None),
    ],
)
def test_the_probability_is_that_of_the_box_that_was_read(section, p_yes):
    """The scripted model puts the word it writes 2 nats above the other."""
    words = ["Fine.\n</analyze>\n", f"</verify>\n{O0}{section}$\n</output>\n"]
    found, _ = run([item("a", "8+3=11\n")], scripted(words, words), style="full")
    verdict = found["s-a", 0, 0].verdict
    if p_yes is None:
        assert verdict.correct is None and found["s-a", 0, 0].unread == "cut off"
    else:
        assert verdict.correct is (p_yes == 1.0)
        assert abs(verdict.p_yes_raw - p_yes) < 0.2


@pytest.mark.parametrize("word", ["Yes", " Yes", "Yes.", "**Yes**", r"\text{Yes}", "\u201cYes\u201d"])
def test_a_word_alone_is_read_past_its_marks(word):
    assert bare(word) == "Yes" and bare("") == bare(" . ") == ""


def test_the_compact_protocol_says_what_it_could_not_read():
    for word, unread in (("8", "box holds a number"), ("", "cut off"), ("Maybe}", "box holds another text")):
        dialogue = CompactDialogue(EMBEDDED, FakeTokenizer(), style="direct")
        dialogue.feed(word, 1)
        done = dialogue.next_action()
        assert done.correct is None and done.unread in (unread, "cut off")
