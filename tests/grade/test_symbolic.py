"""The comparison itself, here in this process: arithmetic against Fraction, traps, guards."""

import operator
from fractions import Fraction

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jprm.grade.exact import DIFFERENT, EQUAL
from jprm.grade.expressions import TooLarge, _guard, parse_pair
from jprm.grade.normal import normalise
from jprm.grade.shapes import Bracketed, Many, Named, Scalar, Unreadable, read, split, thousands
from jprm.grade.symbolic import compare

WRITTEN = {
    operator.add: "({}+{})",
    operator.sub: r"\left({}-{}\right)",
    operator.mul: "({})({})",
    operator.truediv: r"\frac{{{}}}{{{}}}",
}


@st.composite
def arithmetic(draw, depth=3):
    """LaTeX of a rational expression, and its value by Fraction."""
    if depth == 0 or draw(st.booleans()):
        value = draw(st.integers(0, 12))
        text = draw(st.sampled_from([str(value), f"{{{value}}}", f"{value}.0", f"{{{value}}}^{{1}}"]))
        return text, Fraction(value)
    operation = draw(st.sampled_from(list(WRITTEN)))
    (left, a), (right, b) = (draw(arithmetic(depth=depth - 1)) for _ in range(2))
    assume(operation is not operator.truediv or b != 0)
    return WRITTEN[operation].format(left, right), operation(a, b)


def frac(value: Fraction) -> str:
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


@settings(max_examples=150, deadline=None)
@given(arithmetic(), st.fractions(min_value=-1, max_value=1, max_denominator=10**9))
def test_arithmetic_agrees_with_fractions(expression, error):
    text, value = expression
    assert compare(normalise(text), frac(value)) == EQUAL
    other = compare(normalise(text), frac(value + error))
    assert other == (EQUAL if error == 0 else DIFFERENT)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=4), st.lists(st.integers(-5, 5), min_size=2, max_size=4))
def test_collections_agree_with_python(left, right):
    written = {r"\{{{}\}}": frozenset, "({})": tuple, "[{}]": tuple}
    for form, kind in written.items():
        a, b = (form.format(",".join(map(str, values))) for values in (left, right))
        if normalise(a) != normalise(b):
            assert compare(normalise(a), normalise(b)) == (EQUAL if kind(left) == kind(right) else DIFFERENT)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=4), st.lists(st.integers(-4, 4), min_size=1, max_size=4))
def test_polynomials_agree_with_their_coefficients(left, right):
    texts = []
    for coefficients in (left, right):
        texts.append("+".join(f"({c})x^{{{power}}}" for power, c in enumerate(coefficients)))
    size = max(len(left), len(right))
    padded = [values + [0] * (size - len(values)) for values in (left, right)]
    verdict = compare(texts[0], texts[1])
    assert verdict == (EQUAL if padded[0] == padded[1] else DIFFERENT)


@pytest.mark.parametrize(
    "text", ["3 4", "x'", "5!!", "1/2x", r"\frac{1", "3x+", "2024-01-05", "1e3x", r"\sin", "hello", "a=b"]
)
def test_what_would_be_read_wrongly_is_refused(text):
    with pytest.raises(Unreadable):
        parse_pair(text, "1")


@pytest.mark.parametrize(
    "text", ["2^{10^{6}}", "x^{100000}", "5001!", r"\binom{1000}{2}", r"\sum_{k=1}^{10000}k", "9" * 1001]
)
def test_what_is_too_large_is_refused(text):
    with pytest.raises(TooLarge):
        parse_pair(text, "1")


@given(st.integers(2, 50), st.integers(1, 400))
def test_the_guard_bounds_a_power(base, exponent):
    size = _guard(sympy.Pow(base, exponent, evaluate=False))
    assert len(str(base**exponent)) - 1 <= size + 1e-6


def test_capitals_are_other_letters():
    capital, small = parse_pair("R^{2}", "r^{2}")
    assert capital.free_symbols != small.free_symbols


def test_read():
    assert read(r"\{1,2\}") == Many("set", (Scalar("1"), Scalar("2")))
    assert read(r"\pm 1,2") == Many("list", (Scalar("1"), Scalar("-1"), Scalar("2")))
    assert read(r"\{\pm 1\}") == Many("set", (Scalar("1"), Scalar("-1")))
    assert read("[0,1)") == Bracketed("[", ")", (Scalar("0"), Scalar("1")))
    assert read(r"x\geq 0") == Named("x", Bracketed("[", ")", (Scalar("0"), Scalar(r"\infty"))))
    assert read("(x+1)") == Scalar("x+1")
    assert read("(x+1)(x-1)") == Scalar("(x+1)(x-1)")
    assert read(thousands("1,000")) == Scalar("1000")
    assert read(thousands("40, 200")) == Many("list", (Scalar("40"), Scalar("200")))
    with pytest.raises(Unreadable, match="dots"):
        read(r"1,2,\ldots")


@given(st.lists(st.text("ab1()[]{}", max_size=4), min_size=1, max_size=4))
def test_split_loses_nothing(parts):
    text = ",".join(parts)
    found, met = split(text, (",",))
    assert ",".join(found) == text
    assert len(met) == len(found) - 1


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{array}{c|c}1&2\\ \hline 3&4\end{array}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}\hline 1\\\hline 2\\\hline\end{pmatrix}"),
        (r"\begin{pmatrix}\frac12\\3\end{pmatrix}", r"\begin{pmatrix}{1\over 2}\\3\end{pmatrix}"),
        (r"\frac{\sqrt{3}}{2}", r"{\sqrt{3} \over 2}"),
        (r"x^{1/2}", r"x^{1 \over 2}"),
        (r"|x|+1", r"\left\lvert x\right\rvert+1"),
        (r"(-\infty,3)\cup(4,\infty)", "(-oo, 3) U (4, oo)"),
        ("1,2", "x=2 \\text{ or } x=1"),
        ("x=1, x=2", r"\{1,2\}"),
        (r"\{1000,2000,3000\}", r"\{1,000,2,000,3,000\}"),
        ("(1000,2000)", "(1,000,2,000)"),
        ("1000", r"1\text{,}000"),
        ("5", "5\\ "),
        (r"\mathbb{R}", r"\mathbb R"),
        (r"\begin{pmatrix}a\\b\end{pmatrix}", r"\begin{pmatrix*}[r]a\\b\end{pmatrix*}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{array}{@{}c*{1}{r}@{}}1&2\\3&4\end{array}"),
    ],
)
def test_spellings_of_the_same(gold, answer):
    for left, right in ((gold, answer), (answer, gold)):
        assert compare(normalise(left), normalise(right)) == EQUAL
        assert normalise(normalise(right)) == normalise(right)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{array}{c|c}1&3\\ \hline 2&4\end{array}"),
        (r"\frac{2}{3}", r"{3 \over 2}"),
        ("1,2", "x=1 \\text{ or } x=3"),
        ("(1000,2000)", "(2,000,1,000)"),
        ("(1,200)", "1200"),
    ],
)
def test_spellings_of_others(gold, answer):
    for left, right in ((gold, answer), (answer, gold)):
        assert compare(normalise(left), normalise(right)) == DIFFERENT


def test_names_of_two_variables_are_no_list_of_values():
    assert compare("1,2", "x=1,y=2").grade == "unparsed"
