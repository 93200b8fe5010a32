"""U-statistics against the enumeration of every subset."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
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
def test_majority_equals_enumeration(votes, data):
    k = data.draw(st.integers(1, len(votes)))
    expected = _mean_over_subsets(len(votes), k, lambda chosen: _plurality([votes[i] for i in chosen], "a"))
    assert maj_at_k(votes, "a", k) == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9, None]), st.booleans()), min_size=1, max_size=8), st.data())
def test_best_of_k_equals_enumeration(candidates, data):
    k = data.draw(st.integers(1, len(candidates)))

    def chosen_outcome(chosen):
        rank = [candidates[i][0] for i in chosen if candidates[i][0] is not None]
        top = [i for i in chosen if rank and candidates[i][0] == max(rank)]
        return np.mean([candidates[i][1] for i in top]) if top else 0.0

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
    assert best_of_k([None, None], [1, 0], 1) == 0.0, "what nobody judged is not chosen"
    assert best_of_k([None, 0.1], [1, 0], 2) == best_of_k([None, 0.1], [1, 0], 1) == 0.0


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


def test_the_plug_in_majority_is_biased_where_the_subsets_are_not():
    """Votes right at rate p: drawing k with replacement from n = 9 stored ones is another quantity."""
    from scipy.stats import binom

    rng = np.random.default_rng(1)
    rate = rng.beta(2, 2, 20_000)
    c = rng.binomial(9, rate)
    subsets_at = {x: maj_at_k([True] * x + [False] * (9 - x), True, 5) for x in range(10)}
    truth = binom.sf(2, 5, rate).mean()
    error = 3 * np.std(binom.sf(2, 5, rate)) / np.sqrt(len(rate)) + 0.004
    assert np.mean([subsets_at[x] for x in c]) == pytest.approx(truth, abs=error)
    skewed = rng.beta(6, 2, 20_000)  # a symmetrical spread would cancel the bias
    c = rng.binomial(9, skewed)
    truth = binom.sf(2, 5, skewed).mean()
    assert np.mean([subsets_at[x] for x in c]) == pytest.approx(truth, abs=0.005)
    assert binom.sf(2, 5, c / 9).mean() < truth - 0.01


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 3), st.integers(1, 6), st.data())
def test_grouping_small_answers_changes_no_count(others, silent, true_votes, data):
    """The polynomial over the answers against the sum over every multiset of votes."""
    votes: list = ["t"] * true_votes + [None] * silent
    votes += [f"o{i}" for i, count in enumerate(others) for _ in range(count)]
    k = data.draw(st.integers(1, len(votes)))
    counts = [true_votes, *others]
    total = 0.0
    for chosen in itertools.product(*(range(min(c, k) + 1) for c in counts)):
        rest = k - sum(chosen)
        if not 0 <= rest <= silent or chosen[0] == 0 or chosen[0] < max(chosen):
            continue
        ways = np.prod([float(math.comb(c, x)) for c, x in zip(counts, chosen, strict=True)])
        total += ways * math.comb(silent, rest) / chosen.count(chosen[0])
    assert maj_at_k(votes, "t", k) == pytest.approx(total / math.comb(len(votes), k))


def test_thousands_of_votes_do_not_overflow():
    from scipy.stats import hypergeom

    votes = [True] * 1600 + [False] * 1400
    assert maj_at_k(votes, True, 301) == pytest.approx(hypergeom(3000, 1600, 301).sf(150))
    assert pass_at_k(3000, 3, 1500) == pytest.approx(1 - hypergeom(3000, 3, 1500).pmf(0))


def test_many_different_answers_take_little():
    votes = [f"a{i % 40}" for i in range(128)]
    shares = [maj_at_k(votes, answer, 64) for answer in set(votes)]  # of 10**37 choices, which nobody enumerates
    assert sum(shares) == pytest.approx(1.0)  # some answer wins, and ties are shared


def test_no_answer_cannot_be_true():
    with pytest.raises(UserError, match="None"):
        maj_at_k(["a", None], None, 1)
