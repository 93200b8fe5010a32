"""Label rules against the definitions, exact binomial sums and the simulated policy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from jprm.errors import UserError
from jprm.label import difference_labels, first_error_of, hard_labels, relative_progress, rollouts_needed, truncate


@pytest.mark.parametrize(
    ("pass_at_1", "rollouts"),
    [(0.0, 128), (0.0999, 128), (0.1, 64), (0.5, 64), (0.8999, 64), (0.9, 32), (1.0, 32), (np.float32(0.5), 64)],
)
def test_rollouts_by_success_rate(pass_at_1, rollouts):
    assert rollouts_needed(pass_at_1) == rollouts


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan")])
def test_a_rate_outside_the_unit_interval_is_refused(bad):
    with pytest.raises(UserError, match="pass_at_1"):
        rollouts_needed(bad)


def test_relative_progress_by_hand():
    assert relative_progress([0.5, 0.45, 0.2, 0.3]) == [1, 0, 1]
    assert relative_progress([0.5, 0.45, 0.2, 0.3], epsilon=0.3) == [1, 1, 1]
    assert relative_progress((1.0, 1.0)) == [1]
    assert relative_progress([0.7]) == []


def test_equality_with_epsilon_is_reached_whatever_the_division_rounds():
    # In floating point 4/24 < .8 * (5/24) and 4/7 < .8 * (5/7).
    for k in (7, 10, 24, 32):
        assert relative_progress([5 / k, 4 / k]) == [1]
        assert relative_progress([5 / k, 4 / k - 1e-6]) == [0]
    assert difference_labels([0.4, 0.1], -0.3) == difference_labels([0.9, 0.6], -0.3) == [1]


def test_truncation_at_the_first_zero():
    mc = [0.5, 0.5, 0.0, 0.9, 1.0]
    assert relative_progress(mc) == [1, 0, 0, 0]
    assert hard_labels(mc) == [1, 0, 0, 0]
    # A fall of .05 passes the difference rule, but no rollout lives on after it.
    assert difference_labels([0.05, 0.0, 0.0], -0.1) == [0, 0]
    assert relative_progress([0.0, 1.0, 1.0]) == hard_labels([0.0, 1.0, 1.0]) == [0, 0]
    assert relative_progress(mc, epsilon=0.0) == [1, 0, 0, 0]
    assert truncate(mc).tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]


def test_difference_labels_by_hand():
    assert difference_labels([0.9, 0.6, 0.5], -0.3) == [1, 1]
    assert difference_labels([0.9, 0.6, 0.5], -0.1) == [0, 1]


@pytest.mark.parametrize("mc", [[], [0.5, 1.2], [0.5, -0.1], [0.5, float("nan")], [[0.5, 0.5], [0.5, 0.5]], 0.5])
def test_impossible_values_are_refused(mc):
    for rule in (relative_progress, hard_labels, difference_labels):
        with pytest.raises(UserError, match="mc"):
            rule(mc)


counts = st.integers(1, 128).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.integers(0, k), min_size=2, max_size=6))
)


@given(counts, st.sampled_from([Fraction(4, 5), Fraction(3, 10), Fraction(1), Fraction(1, 2)]))
def test_relative_progress_is_the_rational_comparison(counts, epsilon):
    k, c = counts
    alive, expected = True, []
    for before, after in zip(c[:-1], c[1:], strict=True):
        alive = alive and before > 0 and after > 0
        expected.append(int(alive and Fraction(after, before) >= epsilon))
    got = relative_progress(np.array(c) / k, float(epsilon))
    assert got == expected
    assert all(type(label) is int for label in got)


@given(counts)
def test_rules_are_nested(counts):
    """A step right by relative progress is right by the hard rule; a lower epsilon keeps more."""
    k, c = counts
    mc = [x / k for x in c]
    strict, loose, hard = relative_progress(mc, 0.8), relative_progress(mc, 0.3), hard_labels(mc)
    assert all(a <= b <= h for a, b, h in zip(strict, loose, hard, strict=True))
    assert hard == sorted(hard, reverse=True)


def test_first_error_of():
    assert first_error_of([1, 1, 0, 1]) == 2
    assert first_error_of([0]) == 0
    assert first_error_of([1, 1]) == first_error_of([]) == -1


def _rate_of_ones(rule, p, q, rollouts):
    """P(label = 1) of a step with true values p before it and q after it, by binomial sums."""
    counts = np.arange(rollouts + 1)
    labels = np.array([[rule([i / rollouts, j / rollouts])[0] for j in counts] for i in counts])
    return binom.pmf(counts, rollouts, p) @ labels @ binom.pmf(counts, rollouts, q)


# p, q, then the rate at which a right step is labelled 0: by the schedule's K, K = 32, K = 8.
@pytest.mark.parametrize(
    ("p", "q", "scheduled", "at_32", "at_8", "hard"),
    [
        (0.05, 0.05, 0.334, 0.574, 0.903, 0.001),
        (0.10, 0.10, 0.330, 0.420, 0.753, 0.001),
        (0.10, 0.10 / 0.9, 0.257, 0.362, 0.732, 0.001),
        (0.30, 0.30 / 0.9, 0.102, 0.180, 0.388, 0.0),
        (0.50, 0.50 / 0.9, 0.025, 0.081, 0.231, 0.0),
        (0.70, 0.70 / 0.9, 0.001, 0.013, 0.112, 0.0),
        (0.90, 1.00, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_false_negatives_of_right_steps(p, q, scheduled, at_32, at_8, hard):
    k = rollouts_needed(p)
    for rollouts, expected in ((k, scheduled), (32, at_32), (8, at_8)):
        assert 1 - _rate_of_ones(relative_progress, p, q, rollouts) == pytest.approx(expected, abs=5.1e-4)
    # p = 1 before the step: the hard rule by itself, without truncation at MC(s_1) = 0.
    assert 1 - _rate_of_ones(hard_labels, 1.0, q, k) == pytest.approx(hard, abs=5.1e-4)


@pytest.mark.parametrize(
    ("p", "kept_share", "relative", "hard"),
    [
        (0.30, 0.1, 0.000, 0.858),
        (0.30, 0.3, 0.006, 0.998),
        (0.30, 0.5, 0.084, 1.000),
        (0.05, 0.1, 0.012, 0.474),
        (0.05, 0.3, 0.091, 0.856),
        (0.05, 0.5, 0.243, 0.961),
    ],
)
def test_false_positives_of_wrong_steps(p, kept_share, relative, hard):
    k = rollouts_needed(p)
    got = _rate_of_ones(relative_progress, p, kept_share * p, k)
    assert got == pytest.approx(relative, abs=5.1e-4)
    assert _rate_of_ones(hard_labels, 1.0, kept_share * p, k) == pytest.approx(hard, abs=5.1e-4)


@pytest.mark.parametrize("recovers", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("first_error", [-1, 0, 2])
def test_exact_values_of_a_two_state_policy(recovers, first_error):
    """With n steps left the success rates are M^n (1, 0)'; exact values give exact labels."""
    errs, steps = 0.1, 4
    chain = np.array([[1 - errs, errs], [recovers, 1 - recovers]])
    value = [np.linalg.matrix_power(chain, n) @ [1.0, 0.0] for n in range(steps + 1)]
    is_bad = [int(0 <= first_error < t) for t in range(steps + 1)]
    mc = [value[steps - t][bad] for t, bad in enumerate(is_bad)]
    labels = relative_progress(mc)
    assert first_error_of(labels) == first_error
    # The hard rule misses every error that the policy can still mend.
    can_mend = recovers > 0 and first_error < steps - 1
    if first_error >= 0 and can_mend:
        assert first_error_of(hard_labels(mc)) != first_error
