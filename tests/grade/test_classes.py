"""Which answers of a problem vote together."""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from jprm.execute import Pool
from jprm.grade import Equivalence, classes, representatives, spelled_alike, united

HALVES = ["0.5", "1/2", r"\frac{1}{2}"]


def test_equal_spellings_are_one_answer():
    (found,) = representatives([[*HALVES, "3", "3", None]])
    assert found == ["0.5", "0.5", "0.5", "3", "3", None]
    (found,) = representatives([["(1, 2)", "(2, 1)", r"\text{Dana}", "Dana", "7 cm", "7"]])
    assert found == ["(1, 2)", "(2, 1)", "Dana", "Dana", "7", "7"]


def test_the_most_frequent_spelling_represents():
    assert representatives([["1/2", "1/2", "0.5"]]) == [["1/2"] * 3]


def test_an_answer_graded_right_and_one_graded_wrong_are_two():
    (found,) = representatives([HALVES], [[True, False, True]])
    assert found == ["0.5", "1/2", "0.5"]
    # one spelling with both grades counts as what it was graded more often
    (found,) = representatives([["0.5", "0.5", "0.5", "1/2"]], [[True, True, False, True]])
    assert found == ["0.5"] * 4


spellings = st.builds(
    lambda top, bottom, form: form.format(top, bottom, top / bottom),
    st.integers(-6, 6),
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["{0}/{1}", r"\frac{{{0}}}{{{1}}}", "{2}", r"\dfrac{{{0}}}{{{1}}}"]),
)


@given(st.lists(st.none() | spellings, max_size=9), st.randoms(use_true_random=False))
def test_classes_are_values_in_any_order(answers, rng):
    (found,) = representatives([answers])
    of = dict(zip(answers, found, strict=True))
    for a in of:
        for b in of:
            if a is not None and b is not None:
                assert (of[a] == of[b]) == spelled_alike([(a, b)])[0]
    shuffled = rng.sample(answers, len(answers))
    assert representatives([shuffled]) == [[of[answer] for answer in shuffled]]


@given(st.lists(st.lists(st.integers(-99, 99).map(str), max_size=8), max_size=4))
def test_integers_stand_for_themselves_and_ask_nobody(problems):
    def nobody(pairs):
        raise AssertionError(pairs)

    assert representatives(problems, equal=nobody) == problems


def test_equality_that_is_not_transitive_gives_the_same_classes_in_any_order():
    answers = ["10100", "10,100", "10, 100", "10, 100"]
    expected = None
    with Equivalence(workers=1) as equal:
        for seed in range(6):
            shuffled = random.Random(seed).sample(answers, len(answers))
            (found,) = representatives([shuffled], equal=equal)
            of = dict(zip(shuffled, found, strict=True))
            expected = expected or of
            assert of == expected
            assert of["10100"] != of["10, 100"]


@dataclass(frozen=True)
class Sample:
    answer: object
    correct: bool


def test_candidates_keep_all_but_their_answers():
    pool = [Sample("1/2", True), Sample("0.5", True), Sample(None, False), Sample(4, False)]
    assert united([pool]) == [[Sample("0.5", True), Sample("0.5", True), Sample(None, False), Sample(4, False)]]


def test_the_pool_compares_what_spelling_cannot_and_each_pair_once(monkeypatch):
    opened = []

    def open_pool(*arguments, **named):
        opened.append(arguments)
        return Pool(*arguments, **named)

    monkeypatch.setattr(classes, "Pool", open_pool)
    problems = [["x+x", "2x", "3x"], ["x+x", "2x"], ["40", "41", "0.5", "1/2"]]
    with Equivalence(workers=1) as equal:
        assert representatives([problems[2]], equal=equal) == [["40", "41", "0.5", "0.5"]]
        assert opened == []  # numbers need no program
        expected = [["2x", "2x", "3x"], ["2x", "2x"], ["40", "41", "0.5", "0.5"]]
        assert representatives(problems, equal=equal) == expected
        assert equal._grader is not None and equal._grader.counts.total() == 2
        assert len(opened) == 1
        # what cannot be compared stands alone
        odd = ["", "  ", "???", r"\frac{1", "12345"]
        assert representatives([odd], equal=equal) == [odd]
        assert equal.untold["unparsed"] == 10
    assert representatives([["???", "???"]]) == [["???", "???"]]
