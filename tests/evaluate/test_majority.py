"""The elected first error against an enumeration of all subsets, and its difference from the mean reward's."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.evaluate import NO_VERDICT, SOME_ERROR, majority, majority_shares, verdict_shares

STEPS = 4


def table(named):
    """The rewards [steps, votes] of votes that name a first error, -1 for none, None for no verdict."""
    rows = [[np.nan if n is None else float(n < 0 or step < n) for n in named] for step in range(STEPS)]
    return np.array(rows)


def enumerated(named, k, outcome):
    """The share of k-subsets that elect an outcome, ties shared, by the definition."""
    shares = []
    for chosen in itertools.combinations(named, k):
        counts = Counter(n for n in chosen if n is not None)
        top = [n for n in counts if counts[n] == max(counts.values())]
        if outcome == NO_VERDICT:
            shares.append(Fraction(not top))
        elif outcome == SOME_ERROR:
            shares.append(Fraction(sum(n >= 0 for n in top), max(len(top), 1)))
        else:
            shares.append(Fraction(outcome in top, max(len(top), 1)))
    return float(sum(shares) / len(shares))


@given(st.lists(st.sampled_from([None, -1, 0, 1, 2, 3]), min_size=1, max_size=6))
def test_all_subsets_are_counted(named):
    ks, outcomes = range(1, len(named) + 1), (NO_VERDICT, SOME_ERROR, -1, 0, 2)
    shares, exact = majority_shares(table(named), outcomes, ks)
    assert all(exact) and shares.shape == (len(outcomes), len(ks))
    for i, outcome in enumerate(outcomes):
        np.testing.assert_allclose(shares[i], [enumerated(named, k, outcome) for k in ks], atol=1e-12)


def test_the_majority_is_not_the_median():
    named = [2, 2, 2, 3, 3, -1, -1]
    assert majority_shares(table(named), (2, -1), [7])[0].tolist() == [[1.0], [0.0]]
    assert verdict_shares(table(named), (2, 3), [7])[0].tolist() == [[0.0], [1.0]]


def test_where_choices_are_too_many_subsets_stand_in(monkeypatch):
    named = [-1, 0, 0, 1, None, 3, 3, 3]
    exact, _ = majority_shares(table(named), (0, 3, -1), (1, 3, 8))
    monkeypatch.setattr(majority, "EXACT_LIMIT", 0)
    listed, complete = majority_shares(table(named), (0, 3, -1), (1, 3, 8))
    assert complete == [True] * 3
    np.testing.assert_allclose(listed, exact, atol=1e-12)


@pytest.mark.parametrize("named", [[None], [None, None]])
def test_votes_without_a_verdict_elect_nothing(named):
    shares, _ = majority_shares(table(named), (NO_VERDICT, -1, SOME_ERROR), [len(named)])
    assert shares.tolist() == [[1.0], [0.0], [0.0]]
