"""Solutions cut into steps: nothing is lost, whatever separates them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.worlds.problems.steps import SEPARATORS, split

PARAGRAPHS, LINES = (re.compile(SEPARATORS[layout]) for layout in ("paragraphs", "lines"))
PATTERNS = (PARAGRAPHS, LINES, re.compile(r"(?=Step \d)"), re.compile(r"\. ?"), re.compile(r"<sep>\n?"))
TEXTS = (
    st.lists(
        st.sampled_from(
            ["\n", "\n\n", " ", "\t", "\r\n", "\u2028", "a", "b = 2", ". ", "Step 1: ", "Step 2", "<sep>", "é"]
        )
    ).map("".join)
    | st.text()
)


@given(TEXTS, st.sampled_from(PATTERNS))
def test_steps_are_the_text(text, separator):
    steps = split(text, separator)
    if not text.strip():
        assert steps == ()
        return
    whole = "".join(steps)
    assert whole == (text if text.endswith("\n") else text + "\n")
    assert all(step.strip() for step in steps)


@given(TEXTS, st.sampled_from([PARAGRAPHS, LINES]))
def test_a_step_ends_with_all_that_separates_it_and_holds_no_separator(text, separator):
    for step in split(text, separator):
        body = step.lstrip() if step == split(text, separator)[0] else step
        assert step.endswith("\n")
        assert not separator.search(body.rstrip())


@given(st.lists(st.text("ab \n", min_size=1), max_size=6))
def test_paragraphs_are_what_blank_lines_part(texts):
    text = "".join(texts)
    slow, current = [], []  # line by line
    for line in text.split("\n"):
        if line.strip():
            current.append(line.strip())
        elif current:
            slow.append("\n".join(current))
            current = []
    slow += ["\n".join(current)] * bool(current)
    found = ["\n".join(line.strip() for line in step.strip().split("\n")) for step in split(text, PARAGRAPHS)]
    assert found == slow


@given(st.lists(st.text("ab \n"), max_size=6))
def test_lines_are_those_that_are_not_blank(texts):
    text = "".join(texts)
    assert [step.strip() for step in split(text, LINES)] == [line.strip() for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize(
    ("text", "separator", "steps"),
    [
        ("One.\n\nTwo.", PARAGRAPHS, ("One.\n\n", "Two.\n")),
        ("One,\nstill one.\n \n\nTwo.\n", PARAGRAPHS, ("One,\nstill one.\n \n\n", "Two.\n")),
        ("\n\nOne.\r\n\r\n  Two.\n\n", PARAGRAPHS, ("\n\nOne.\r\n\r\n", "  Two.\n\n")),
        ("One.\nTwo.\n\nThree.", LINES, ("One.\n", "Two.\n\n", "Three.\n")),
        ("Plan.\nStep 1: a\nStep 2: b", PATTERNS[2], ("Plan.\n", "Step 1: a\n", "Step 2: b\n")),
        ("a<sep>b", PATTERNS[4], ("a<sep>", "b\n")),
    ],
)
def test_examples(text, separator, steps):
    assert split(text, separator) == steps
