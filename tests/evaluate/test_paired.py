"""Paired tests against enumeration, closed forms and each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import compare, mcnemar, minimum_detectable_effect, permutation_test, score

outcome = st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))


@given(st.lists(st.tuples(outcome, st.integers(0, 5), st.booleans()), min_size=2, max_size=9))
def test_permutations_of_means_and_of_f1_equal_enumeration(rows):
    first, second = (np.array([r[0][i] for r in rows]) for i in (0, 1))
    ids = [r[1] for r in rows]
    labels = np.array([0 if r[2] else -1 for r in rows])
    problems = sorted(set(ids))
    means, f1s = [], []
    for swaps in itertools.product([False, True], repeat=len(problems)):
        swapped = np.array([swaps[problems.index(p)] for p in ids])
        one, two = np.where(swapped, second, first), np.where(swapped, first, second)
        means.append(abs(np.mean(two) - np.mean(one)))
        f1s.append(abs(score(labels, two).f1 - score(labels, one).f1))
    expected = np.mean(np.array(means) >= means[0] - 1e-12)
    assert permutation_test(first, second, ids) == pytest.approx(expected)
    if len(set(labels.tolist())) == 2:
        expected = np.mean(np.array(f1s) >= f1s[0] - 1e-12)
        assert permutation_test(first, second, ids, labels=labels) == pytest.approx(expected)


def test_random_swaps_agree_with_all_of_them(monkeypatch):
    rng = np.random.default_rng(0)
    first, second = rng.random(14), rng.random(14) + 0.15
    exact = permutation_test(first, second, range(14))
    monkeypatch.setattr("jprm.evaluate.paired.EXACT_PROBLEMS", 0)
    drawn = permutation_test(first, second, range(14), permutations=20_000)
    assert 0.01 < exact < 0.9
    assert drawn == pytest.approx(exact, abs=5 * math.sqrt(exact / 20_000))


def test_swaps_go_by_problem():
    """One problem with twenty items is one piece of evidence: no p below 1."""
    first, second = np.zeros(20), np.ones(20)
    assert permutation_test(first, second, ["p"] * 20) == 1.0
    assert permutation_test(first, second, range(20)) < 0.001


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 5))
def test_mcnemar_is_the_sign_test(b, c, same):
    first = np.array([1.0] * b + [0.0] * c + [1.0] * same + [0.0])
    second = np.array([0.0] * b + [1.0] * c + [1.0] * same + [0.0])
    found = mcnemar(first, second)
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert found == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_equals_the_permutation_test_of_single_items():
    rng = np.random.default_rng(3)
    first, second = (rng.random(13) < 0.4).astype(float), (rng.random(13) < 0.7).astype(float)
    assert mcnemar(first, second) == pytest.approx(permutation_test(first, second, range(13)))


def test_compare_gives_everything_at_once():
    rng = np.random.default_rng(1)
    first = (rng.random(300) < 0.6).astype(float)
    second = np.where(rng.random(300) < 0.3, 1.0, first)
    found = compare(first, second, range(300))
    assert found.difference.low > 0 and found.permutation_p < 0.001
    assert found.mcnemar_p is not None and found.mcnemar_p < 0.001
    half = (found.difference.high - found.difference.low) / 2
    assert found.detectable == pytest.approx(2.80 / 1.96 * half, rel=0.05)
    # siblings are no independent evidence, and half a point is no outcome of McNemar's
    assert compare(first, second, [i // 2 for i in range(300)]).mcnemar_p is None
    assert compare(first / 2, second / 2, range(300)).mcnemar_p is None
    labels = np.where(np.arange(300) % 3, -1, 0)
    gap = compare(first, second, range(300), labels=labels).difference
    assert gap.value == pytest.approx(score(labels, second).f1 - score(labels, first).f1)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="shapes"):
        mcnemar([1, 0], [1])
    with pytest.raises(UserError, match="0 and 1"):
        mcnemar([0.5], [1])
    with pytest.raises(UserError, match="2 outcomes but 1 problem"):
        permutation_test([1, 0], [1, 1], ["p"])
    with pytest.raises(UserError, match="items without"):
        permutation_test([1, 0], [1, 1], "ab", labels=[-1, -1])


def test_where_an_outcome_is_unknown_nothing_is_significant():
    one, two = [1.0, 0.0, 1.0, 0.0], [float("nan"), 1.0, float("nan"), 1.0]
    found = compare(one, two, range(4), labels=[-1, 0, -1, 0])
    assert np.isnan([found.difference.value, found.difference.low, found.permutation_p]).all()


def test_the_detectable_effect_is_detected_four_times_in_five():
    rng, effect = np.random.default_rng(1), minimum_detectable_effect(0.1)
    assert effect == pytest.approx(0.280, abs=5e-4)
    z = (effect + 0.1 * rng.normal(size=100_000)) / 0.1
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.005)
    stricter = minimum_detectable_effect(0.1, power=0.9, level=0.99)
    z = (stricter + 0.1 * rng.normal(size=100_000)) / 0.1
    assert (np.abs(z) > 2.575829).mean() == pytest.approx(0.9, abs=0.005)
    with pytest.raises(UserError):
        minimum_detectable_effect(0.1, power=1.0)
