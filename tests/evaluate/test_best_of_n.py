"""Choosing among candidates: against enumeration, and in cases decided by hand."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import ScoredCandidate, best_of_n

METHODS = ("pass", "best", "weighted", "majority")

candidates = st.lists(
    st.builds(
        lambda answer, score: ScoredCandidate(answer, answer == "a", score),
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from([0.0, 0.25, 0.5, 1.0, None]),
    ),
    min_size=1,
    max_size=6,
)


def _weighted_vote(chosen):
    weight = {}
    for c in chosen:
        if c.answer is not None and c.score is not None:
            weight[c.answer] = weight.get(c.answer, 0.0) + c.score
    if not weight:
        return 0.0
    top = [a for a in weight if weight[a] == max(weight.values())]
    return ("a" in top) / len(top)


@given(candidates, st.data())
def test_weighted_vote_equals_enumeration(pool, data):
    k = data.draw(st.integers(1, len(pool)))
    chosen = [_weighted_vote(c) for c in itertools.combinations(pool, k)]
    assert best_of_n([pool], [k]).accuracy["weighted", k][0] == pytest.approx(np.mean(chosen))


@given(candidates, st.data())
def test_no_choice_beats_the_ceiling_and_one_candidate_leaves_none(pool, data):
    k = data.draw(st.integers(1, len(pool)))
    found = best_of_n([pool], sorted({1, k}))
    for method in METHODS:
        assert found.accuracy[method, k][0] <= found.accuracy["pass", k][0] + 1e-12
        judged = [c.correct and (c.score is not None or method in ("pass", "majority")) for c in pool]
        assert found.accuracy[method, 1][0] == pytest.approx(np.mean(judged))


def test_listing_counting_and_drawing_agree(monkeypatch):
    rng = np.random.default_rng(0)
    draws = zip(rng.integers(0, 3, 12).tolist(), rng.integers(0, 4, 12).tolist(), strict=True)
    pool = [ScoredCandidate("abc"[answer], answer == 0, score / 4) for answer, score in draws]
    counted = best_of_n([pool], [5])
    module = sys.modules["jprm.evaluate.weighted_vote"]
    monkeypatch.setattr(module, "EXACT_LIMIT", 0)
    listed = best_of_n([pool], [5])
    expected = np.mean([_weighted_vote(c) for c in itertools.combinations(pool, 5)])
    assert counted.accuracy["weighted", 5][0] == pytest.approx(expected)
    assert listed.accuracy["weighted", 5][0] == pytest.approx(expected)
    many = _pool(("a", True, 0.5), ("a", True, 1.0), ("b", False, 0.5), ("b", False, 0.75)) * 9
    drawn = best_of_n([many], [15]).accuracy["weighted", 15][0]
    monkeypatch.undo()
    exact = best_of_n([many], [15]).accuracy["weighted", 15][0]
    assert drawn != exact and drawn == pytest.approx(exact, abs=0.05), "2,000 subsets stand in for all"


def _pool(*triples):
    return [ScoredCandidate(*t) for t in triples]


def test_by_hand():
    pool = _pool(("a", True, 0.9), ("b", False, 0.5), ("b", False, 0.3), ("c", False, 0.1))
    found = best_of_n([pool], [4])
    assert {m: found.accuracy[m, 4][0] for m in METHODS} == {
        "pass": 1.0,
        "best": 1.0,
        "weighted": 1.0,  # .9 against .8
        "majority": 0.0,
    }


def test_two_spellings_of_the_right_answer_count_each():
    pool = _pool(("1/2", True, 0.5), ("0.5", True, 0.5), ("3", False, 0.5))
    assert best_of_n([pool], [3]).accuracy["majority", 3][0] == pytest.approx(2 / 3)


def test_gain_is_paired_over_problems():
    easy = _pool(("a", True, 0.9), ("a", True, 0.8))
    rescued = _pool(("a", True, 0.9), ("b", False, 0.1))
    found = best_of_n([easy] * 20 + [rescued] * 20, [1, 2])
    gain = found.gain("best", "majority", 2)
    assert gain.value == pytest.approx(0.25) and gain.low > 0
    assert found.gain("best", "majority", 1).value == 0.0
    at = found.interval("best", 2)
    assert (at.value, at.high, found.missing_share("best", 2)) == (1.0, 1.0, 0.0)
    assert at.low == pytest.approx(0.05 ** (1 / 40), abs=0.01), "40 of 40 right leave room"


def test_a_contradictory_grade_and_too_few_candidates_are_refused():
    with pytest.raises(UserError, match="both right and wrong"):
        best_of_n([_pool(("a", True, 0.1), ("a", False, 0.1))], [1])
    with pytest.raises(UserError, match="between 1 and 1"):
        best_of_n([_pool(("a", True, 0.1))], [2])
