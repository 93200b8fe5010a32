"""Final answers: which one a text states, and when two are the same."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.grade import as_number, final_answer, same_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so Kim has 19. Answer: 19.\n", "19"),
        ("first \\boxed{3}, no, \\boxed{ 4 }", "4"),
        ("work\n#### 1,000\n", "1,000"),
        ("The answer is 3.5.", "3.5"),
        ("Answer: $70.00", "$70.00"),
        ("the final answer is 15 * 8 = 120 pints. Answer: 120.\n", "120"),
        ("Answer: 3.5. More text", "3.5"),
        ("\\boxed{}", None),
        ("no such thing: 12", None),
        ("", None),
    ],
)
def test_final_answer(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("72", "72.0", True),
        ("1,000", "$1000.00", True),
        ("1/2", "0.5", True),
        ("50%", "1/2", True),
        (".5", "0.50", True),
        ("-3", "3", False),
        ("0.333", "1/3", False),
        ("x+1", "x+1 ", True),
        ("x+1", "1+x", False),
        ("1/0", "0", False),
        ("", "0", False),
    ],
)
def test_same_answer(a, b, same):
    assert same_answer(a, b) is same
    assert same_answer(b, a) is same


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_numbers_are_exact(numerator, denominator):
    assert as_number(f"{numerator}/{denominator}") == Fraction(numerator, denominator)
    assert as_number(f"{numerator:,}") == numerator


@given(st.text(max_size=20))
def test_any_text_is_graded_without_an_error(text):
    assert same_answer(text, text)
    as_number(text)
    final_answer(text)
