"""What the spelling alone decides."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.grade import as_number, final_answer, same_answer
from jprm.grade.exact import DIFFERENT, EQUAL, Number, decide, number, split_unit
from jprm.grade.normal import normalise


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
        ("9" * 5000, "9" * 4999 + "8", False),  # longer than Python reads integers
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


@st.composite
def rationals(draw):
    """A rational number in one of its spellings, with its value."""
    top, bottom = draw(st.integers(0, 60)), draw(st.integers(1, 60))
    sign = draw(st.sampled_from(["", "-"]))
    value = Fraction(top, bottom) * (-1 if sign else 1)
    spelling = draw(st.sampled_from(["slash", "frac", "dfrac", "mixed", "decimal", "percent"]))
    if spelling == "slash":
        return f"{sign}{top}/{bottom}", value
    if spelling == "mixed":
        return f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}", value
    if spelling in ("frac", "dfrac"):
        return f"{sign}\\{spelling}{{{top}}}{{{bottom}}}", value
    decimal = Decimal(top) / 100
    value = Fraction(decimal) * (-1 if sign else 1)
    if spelling == "percent":
        return f"{sign}{decimal}\\%", value / 100
    return f"{sign}{decimal}", value


@given(rationals(), rationals())
def test_rationals_compare_as_fractions(left, right):
    verdict = decide(normalise(left[0]), normalise(right[0]))
    assert verdict == (EQUAL if left[1] == right[1] else DIFFERENT)


@given(st.text(r"0123456789.,/%\{}frac:_()+-$ abAB", max_size=12), st.text("0123456789.:_{}", max_size=8))
def test_a_verdict_by_spelling_is_symmetric_and_reflexive(a, b):
    a, b = normalise(a), normalise(b)
    assert decide(a, b) == decide(b, a)
    if a:
        assert decide(a, a) == EQUAL


@given(st.fractions(min_value=Fraction(1, 997), max_value=1000, max_denominator=997))
def test_a_decimal_of_enough_digits_is_the_number_it_rounds(value):
    places = 9
    scaled = value * 10**places
    written = [scaled.__round__(), int(scaled), int(scaled) + 2, int(scaled) - 1]
    texts = [f"{Decimal(digits) / 10**places:.{places}f}" for digits in written]
    ratio = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    exact = scaled.denominator == 1
    rounded, cut, above, below = (decide(text, ratio) for text in texts)
    assert (rounded, cut) == (EQUAL, EQUAL)
    assert (above, below) == (DIFFERENT, DIFFERENT)
    if not exact:
        short = f"{float(value):.2f}"
        assert Fraction(short) == value or decide(short, ratio) == DIFFERENT


def test_percent_can_be_either():
    assert decide("50%", "50") == DIFFERENT
    assert decide("50%", "50", "either") == EQUAL
    assert decide("0.5", "50%", "either") == EQUAL
    assert decide("50%", "5", "either") == DIFFERENT


def test_a_number_has_caps():
    assert decide("9" * 4001, "1") == ("unparsed", "too large")
    assert decide("1e4001", "1") == ("unparsed", "too large")
    assert decide("9" * 4000, "9" * 4000 + ".0") == EQUAL
    assert number("2\\frac{1}{2}%") == Number(Fraction(1, 40), None, True)


@given(st.text(max_size=30))
def test_normalising_twice_is_normalising_once(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (r"$\dfrac12$", r"\frac{1}{2}"),
        (r"\left( 1 , 2 \right)", "(1,2)"),
        ("x²", "x^{2}"),
        (r"\frac123", r"\frac{1}{2}3"),
        (r"\sqrt 2", r"\sqrt{2}"),
        (r"1{,}000", "1000"),
        (r"3{,}5", "3.5"),
        ("40,\\, 200", "40, 200"),
        ("40,200", "40,200"),
        ("(1,000, 2 , 5)", "(1000,2,5)"),
        ("\\begin{bmatrix}1\\\\[2pt] 2\\cr\\frac12\\end{bmatrix}", r"\begin{matrix}1\\2\\\frac{1}{2}\end{matrix}"),
        (r"$1$, $200$", "1, 200"),
        ("3 4", "3 4"),
        (r"\mathrm{e}^x", "e^{x}"),
        (r"30^\circ", r"30^{\circ}"),
        (r"\text{ and }", "and"),
        ("25 percent", "25%"),
    ],
)
def test_normalise(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5 cm", "5", "cm"),
        (r"5\text{centimeters}", "5", "cm"),
        (r"5\text{cm}^{2}", "5", "cm^2"),
        (r"\$5", "5", "dollar"),
        ("12 apples", "12", "apple"),
        ("3t", "3t", ""),
        ("5ab", "5ab", ""),
        (r"5\text{ million}", r"5\text{ million}", ""),
        (r"\sin 30^{\circ}", r"\sin 30^{\circ}", ""),
        (r"30^{\circ}", "30", "°"),
    ],
)
def test_split_unit(text, value, unit):
    assert split_unit(text) == (value, unit)
