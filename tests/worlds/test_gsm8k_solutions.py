"""Numbers in text, chains of calculations, their truth, planted errors and the annotator, on cases
worked by hand.
"""

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.worlds.gsm8k.arithmetic import NUMBER, evaluate, format_value, number, numbers, operators, rewrite, skeleton
from jprm.worlds.gsm8k.documents import annotate
from jprm.worlds.gsm8k.planted import PLANTED_KINDS, plant
from jprm.worlds.gsm8k.solutions import UnsoundMark, first_error, read_solution, stated_calculations

WORKED = (
    "Ann buys 12 pens at $1.50 each: 12 x $1.50 = $<<12*1.50=18>>18.\n"
    "She sells them for $2,500, so she has 2,500-18=$<<2500-18=2482>>2,482 more\n"
    "Half of it is 2482/2 = 1241\n"
    "#### 1241"
)
QUESTION = "Ann buys 12 pens at $1.50 each and sells all for $2,500. What is half her gain?\n"
LINES, ANSWER = read_solution(WORKED)
STEPS = tuple(line.text for line in LINES)


def test_a_solution_is_read():
    assert ANSWER == "1241"
    assert STEPS == (
        "Ann buys 12 pens at $1.50 each: 12 x $1.50 = $18.\n",
        "She sells them for $2,500, so she has 2,500-18=$2,482 more\n",
        "Half of it is 2482/2 = 1241. Answer: 1241.\n",
    )
    marks = [mark for line in LINES for mark in line.marks]
    assert [(m.expression, m.value) for m in marks] == [("12*1.50", 18), ("2500-18", 2482), ("2482/2", 1241)]
    assert [(m.operands, m.result) for m in marks] == [((2, 3), 4), ((1, 2), 3), ((0, 1), 2)]


@pytest.mark.parametrize(
    ("worked", "error", "message"),
    [
        ("2+2=<<2+2=4>>4", ValueError, "'#### answer'"),
        ("#### 4", ValueError, "no step"),
        ("2+2=<<2+2=5>>5\n#### 5", UnsoundMark, "2\\+2=5>> does not add up"),
        ("2+2=<<2+2=4\n#### 4", UnsoundMark, "damaged"),
        ("2//2=<<2//2=1>>1\n#### 1", UnsoundMark, "does not add up"),
    ],
)
def test_what_is_no_solution_is_said(worked, error, message):
    with pytest.raises(error, match=message):
        read_solution(worked)


@pytest.mark.parametrize(
    ("step", "change", "error"),
    [
        (0, ("= $18", "= $19"), (0, "slip")),
        (0, ("12 x", "13 x"), (0, "operand")),
        (0, ("12 x $1.50 = $18", "12 + $1.50 = $13.50"), (0, "op")),
        (1, ("2,500-18", "2500-18"), (-1, "")),  # the same number in another style
        (1, ("2,482", "2,483"), (1, "slip")),
        (2, ("Answer: 1241", "Answer: 1240"), (2, "operand")),
        (2, ("Half of it", "One half"), (None, "unknown")),
    ],
)
def test_truth_of_cases_worked_by_hand(step, change, error):
    steps = list(STEPS)
    assert change[0] in steps[step]
    steps[step] = steps[step].replace(*change)
    assert first_error(LINES, steps) == error


def test_truth_of_too_few_and_too_many_steps():
    assert first_error(LINES, STEPS) == (-1, "")
    assert first_error(LINES, STEPS[:2]) == (1, "noanswer")
    assert first_error(LINES, ()) == (0, "noanswer")
    assert first_error(LINES, (*STEPS, "More.\n")) == (None, "unknown")


def test_planted_errors_are_carried_on():
    found = {kind: 0 for kind in PLANTED_KINDS}
    for seed in range(300):
        drawn = plant(QUESTION, LINES, random.Random(seed))
        assert drawn is not None
        steps, at, kind = drawn
        found[kind] += 1
        assert first_error(LINES, steps) == (at, kind)
        assert steps[:at] == STEPS[:at] and len(steps) == 3
        assert [skeleton(s) for s in steps] == [skeleton(s) for s in STEPS]
        for step in steps[at + (kind == "slip") :]:  # but for the slip itself, what is shown adds up
            assert all(evaluate(e) == value for e, value in stated_calculations(step))
        gain = numbers(steps[1])[3]
        assert at == 2 or (gain != 2482 and numbers(steps[2])[0] == gain)
        assert numbers(steps[2])[-1] == numbers(steps[2])[-2] != 1241
        assert [eval(annotate(LINES, steps, i, "full").code[5:]) for i in range(at + 1)] == [True] * at + [False]
    assert min(found.values()) > 40


def test_nothing_is_planted_where_a_value_could_mean_two_things():
    lines, _ = read_solution("So 2*3=<<2*3=6>>6.\nThen 6+1=<<6+1=7>>7\n#### 7")
    seen = {drawn[1] for seed in range(60) if (drawn := plant("Of 6 pens, twice 3.\n", lines, random.Random(seed)))}
    assert seen == {1}, "6 stands in the question: step 0 is left alone"
    assert plant("Why?\n", read_solution("It is so.\n#### 7")[0], random.Random(0)) is None


def test_annotations_in_every_style():
    texts = {style: annotate(LINES, STEPS, 1, style) for style in ("full", "code", "analysis", "direct")}
    assert {a.code for a in texts.values()} == {"print(abs(2500-18 - 2482) < 0.01)"}
    assert {style: a.analysis for style, a in texts.items()} == {
        "full": "The step needs 2500-18 and states 2482. ",
        "analysis": "The step needs 2500-18 = 2482 and states 2482. ",
        "code": "",
        "direct": "",
    }
    assert annotate(LINES, ("It is so.\n",), 0, "full").code == "print(True)"
    foreign = annotate((), ("so 3 + 4 = 8 and 2*5=10.\n",), 0, "full")
    assert foreign.code == "print(abs(3+4 - 8) < 0.01 and abs(2*5 - 10) < 0.01)"


def test_noise_is_half_misread_and_half_sycophantic():
    wrong = (STEPS[0].replace("12 x $1.50 = $18", "13 x $1.50 = $19.50"), *STEPS[1:])
    codes = [annotate(LINES, wrong, 0, "full", random.Random(s), 1.0).code for s in range(1000)]
    sycophantic = codes.count("print(abs(13*1.50 - 19.5) < 0.01)") / len(codes)
    assert 0.45 < sycophantic < 0.55
    assert "print(abs(2500-18 - 19.5) < 0.01)" in codes


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda x: st.tuples(x, st.sampled_from("+-*/"), x).map("({0[0]}{0[1]}{0[2]})".format),
    )
)
def test_expressions_are_exact(expression):
    try:
        expected = eval(NUMBER.sub(lambda m: f"Fraction({m[0]})", expression))
    except ZeroDivisionError:
        expected = None
    assert evaluate(expression) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "2**9", "2 3", "__import__('os')", "1e999", "True", "2//3", "(" * 500, "1/0"]
)
def test_what_is_no_arithmetic_has_no_value(text):
    assert evaluate(text) is None


@given(st.text(max_size=30))
def test_any_text_is_evaluated_without_an_error(text):
    assert evaluate(text) is None or isinstance(evaluate(text), Fraction)
    assert isinstance(stated_calculations(text), list)


@given(st.integers(0, 10**8), st.sampled_from(["", "7", "1.50", "1,000", "1,000.00"]))
def test_formatted_values_are_read_back(cents, like):
    value = Fraction(cents, 100)
    text = format_value(value, like)
    assert text is not None and number(text) == value
    assert ("," in text) == ("," in like and value >= 1000)


def test_numbers_are_replaced_in_their_style():
    text = "for $2,500 at 1.50 each, 3.\n"
    assert rewrite(text, {0: Fraction(3200), 1: Fraction(2), 2: Fraction(7, 2)}) == "for $3,200 at 2.00 each, 3.5.\n"
    assert rewrite(text, {}) == text
    assert rewrite(text, {0: Fraction(1, 3)}) is None and rewrite(text, {0: Fraction(-1)}) is None
    assert operators("12 x 3 - 4/5 of a two-piece") == ["*", "-", "/"]
