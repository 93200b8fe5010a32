"""U-statistics against the enumeration of every subset."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import best_of_k, maj_at_k, pass_at_k, subsets

answers = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8)


def _mean_over_subsets(n, k, value):
    return float(np.mean([value(chosen) for chosen in itertools.combinations(range(n), k)]))


def _plurality(votes, truth):
    counts = Counter(v for v in votes if v is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    top = [a for a in counts if counts[a] == most]
    return (truth in top) / len(top)


@given(answers, st.data())
@settings(max_examples=60, deadline=None)
def test_majority_equals_enumeration(votes, data):
    k = data.draw(st.integers(1, len(votes)))
    expected = _mean_over_subsets(
        len(votes), k, lambda chosen: _plurality([votes[i] for i in chosen], "a")
    )
    assert maj_at_k(votes, "a", k) == pytest.approx(expected)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.9, None]), st.booleans()), min_size=1, max_size=8
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_best_of_k_equals_enumeration(candidates, data):
    k = data.draw(st.integers(1, len(candidates)))

    def chosen_outcome(chosen):
        rank = [-1.0 if candidates[i][0] is None else candidates[i][0] for i in chosen]
        top = [i for i, r in zip(chosen, rank, strict=True) if r == max(rank)]
        return np.mean([candidates[i][1] for i in top])

    scores, correct = zip(*candidates, strict=True)
    expected = _mean_over_subsets(len(candidates), k, chosen_outcome)
    assert best_of_k(scores, correct, k) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "c"), [(10, 0), (10, 3), (10, 10), (7, 1)])
def test_pass_at_k_equals_enumeration(n, c):
    for k in range(1, n + 1):
        expected = _mean_over_subsets(n, k, lambda chosen: min(chosen) < c)
        assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_pass_at_k_is_unbiased_where_the_plug_in_is_not():
    """Success rates Beta(.3, 2), 64 samples, k = 16: truth .5069, plug-in too low by .018."""
    rng = np.random.default_rng(0)
    rate = rng.beta(0.3, 2, 20_000)
    c = rng.binomial(64, rate)
    by_count = {x: pass_at_k(64, x, 16) for x in range(65)}
    truth = (1 - (1 - rate) ** 16).mean()
    assert np.mean([by_count[x] for x in c]) == pytest.approx(truth, abs=0.004)
    assert (1 - (1 - c / 64) ** 16).mean() < truth - 0.01


def test_majority_of_many_votes_is_exact():
    """60 votes have 1e17 subsets of 30; with two answers the count is hypergeometric."""
    from scipy.stats import hypergeom

    votes = ["a"] * 32 + ["b"] * 28
    law = hypergeom(60, 32, 31)
    assert maj_at_k(votes, "a", 31) == pytest.approx(law.sf(15))
    assert maj_at_k(votes, "c", 31) == 0.0


def test_the_first_and_the_last_k():
    votes = ["a", "b", "a", None]
    assert maj_at_k(votes, "a", 1) == 0.5
    assert maj_at_k(votes, "a", 4) == 1.0
    assert best_of_k([0.2, 0.7, 0.7], [1, 0, 1], 3) == 0.5
    assert best_of_k([None, None], [1, 0], 1) == 0.5


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_the_samples_is_refused(k):
    for call in (
        lambda: pass_at_k(3, 1, k),
        lambda: maj_at_k(["a"] * 3, "a", k),
        lambda: best_of_k([0.1] * 3, [1] * 3, k),
        lambda: subsets(3, k),
    ):
        with pytest.raises(UserError, match="between 1 and 3"):
            call()


def test_a_nan_score_is_refused():
    with pytest.raises(UserError, match="nan"):
        best_of_k([float("nan"), 0.1], [1, 0], 1)


def test_all_subsets_once():
    members, exact = subsets(6, 3)
    assert exact and members.shape == (20, 6)
    assert (members.sum(1) == 3).all() and len(np.unique(members, axis=0)) == 20


def test_drawn_subsets_are_uniform_and_repeatable():
    members, exact = subsets(40, 12, draws=4000)
    assert not exact and members.shape == (4000, 40) and (members.sum(1) == 12).all()
    # Each element lies in a subset with probability .3; 5 standard errors of 4000 draws.
    assert np.abs(members.mean(0) - 0.3).max() < 5 * np.sqrt(0.21 / 4000)
    subsets.cache_clear()
    assert np.array_equal(members, subsets(40, 12, draws=4000)[0])
