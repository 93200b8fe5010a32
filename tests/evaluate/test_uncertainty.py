"""Bootstrap over problems: against the slow way, for coverage of truth, for speed."""

import math
import time

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import (
    Resamples,
    cluster_bootstrap,
    difference,
    f1_difference,
    f1_interval,
    first_error_f1,
    interval,
    mean_difference,
    mean_interval,
    over_seeds,
    wilson,
)


def _items(n_problems, per_problem, seed):
    """Correctness that hangs together within a problem."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_problems), per_problem)
    rate = np.repeat(rng.beta(0.8, 0.4, n_problems), per_problem)
    labels = np.where(rng.random(len(ids)) < 0.5, -1, rng.integers(0, 4, len(ids)))
    return ids, labels, (rng.random(len(ids)) < rate).astype(float)


def test_vectorised_resamples_equal_the_loop():
    ids, labels, right = _items(40, 3, seed=1)
    draws = Resamples.of(ids, seed=7, resamples=50)
    for counts, got in zip(draws.counts, draws.f1(labels, right)[:, 0], strict=True):
        assert counts.sum() == 40
        items = np.concatenate(
            [np.flatnonzero(ids == p) for p in range(40) for _ in range(int(counts[p]))]
        )
        predicted = [labels[i] if right[i] else None for i in items]
        assert got == pytest.approx(first_error_f1(labels[items], predicted).f1)


def test_draws_depend_on_the_seed_and_not_on_names():
    one, same = Resamples.of(["a", "b", "a", "c"], seed=3), Resamples.of([9, 1, 9, 0], seed=3)
    assert np.array_equal(one.counts, same.counts)
    assert not np.array_equal(one.counts, Resamples.of("abac", seed=4).counts)
    assert one.group.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(("problems", "resamples"), [(1, 5), (7, 250), (601, 101)])
def test_draws_in_pieces_are_those_at_once(problems, resamples):
    drawn = np.random.default_rng(3).integers(problems, size=(resamples, problems))
    expected = [np.bincount(row, minlength=problems) for row in drawn]
    found = Resamples.of(range(problems), seed=3, resamples=resamples).counts
    assert np.array_equal(found, expected)


def test_clusters_widen_the_interval():
    """Ten copies of every item are no new evidence, and only clustering knows it."""
    values = np.repeat((np.random.default_rng(0).random(60) < 0.6).astype(float), 10)
    problems = np.repeat(np.arange(60), 10)
    clustered = mean_interval(values, Resamples.of(problems))
    naive = mean_interval(values, Resamples.of(np.arange(600)))
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)


def test_mean_interval_covers_its_share():
    """About 95 of 100 intervals hold the true mean of .7 (binomial bounds at 300 trials)."""
    rng, hits = np.random.default_rng(5), 0
    for trial in range(300):
        found = mean_interval(
            (rng.random(80) < 0.7).astype(float), Resamples.of(range(80), seed=trial, resamples=400)
        )
        hits += found.low <= 0.7 <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_paired_difference_is_narrower_than_two_intervals():
    ids, labels, first = _items(300, 2, seed=2)
    second = np.where(np.random.default_rng(3).random(len(first)) < 0.1, 1.0, first)
    draws = Resamples.of(ids)
    gap = f1_difference(labels, first, second, draws)
    a, b = f1_interval(labels, first, draws), f1_interval(labels, second, draws)
    assert gap.value == pytest.approx(b.value - a.value)
    assert gap.high - gap.low < 0.6 * math.hypot(a.high - a.low, b.high - b.low)
    assert gap.is_positive and gap.p < 0.01
    reverse = f1_difference(labels, second, first, draws)
    assert (reverse.low, reverse.high) == pytest.approx((-gap.high, -gap.low))


def test_no_difference_has_p_of_one():
    same = np.array([1.0, 0.0, 1.0, 1.0])
    gap = mean_difference(same, same, Resamples.of(range(4)))
    assert (gap.value, gap.low, gap.high, gap.p) == (0.0, 0.0, 0.0, 1.0)
    assert not gap.is_positive


def test_p_is_never_zero():
    assert difference(1.0, np.ones(999)).p == pytest.approx(2 / 1000)


def test_resamples_without_a_class_are_left_out():
    draws = Resamples.of(range(2), resamples=200)
    samples = draws.f1(np.array([-1, 0]), np.array([1.0, 1.0]))
    assert 0.3 < np.isnan(samples).mean() < 0.7
    assert f1_interval([-1, 0], [1.0, 1.0], draws).low == 1.0
    assert math.isnan(interval(0.5, [math.nan]).low)


def test_speed_of_the_documented_size():
    ids, labels, right = _items(600, 1, seed=4)
    best = math.inf
    for attempt in range(3):
        start = time.perf_counter()
        f1_interval(labels, right, Resamples.of(ids, seed=attempt, resamples=2000))
        best = min(best, time.perf_counter() - start)
    assert best < 0.2


def test_wilson_against_published_values():
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    found = wilson(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert (wilson(0, 20).low, wilson(0, 20).high) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(UserError):
        wilson(3, 2)


def test_over_seeds_is_students_t():
    found = over_seeds([0.80, 0.84, 0.88])
    assert found.value == pytest.approx(0.84)
    assert found.high - found.value == pytest.approx(4.3027 * 0.04 / math.sqrt(3), abs=1e-4)
    assert math.isnan(over_seeds([0.8]).low)


def test_any_statistic_can_be_bootstrapped():
    ids, labels, right = _items(50, 3, seed=6)
    draws = Resamples.of(ids, resamples=300)

    def mean(weights):
        return float(weights @ right / weights.sum())

    assert cluster_bootstrap(mean, draws) == mean_interval(right, draws)

    values = np.random.default_rng(0).normal(2.0, 1.0, 150)

    def median(weights):
        order = np.argsort(values)
        return values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)]

    found = cluster_bootstrap(median, draws)
    assert found.low < np.median(values) < found.high
    # each problem's items are drawn together: the slow way, item by item
    listed = [np.repeat(values, counts[ids].astype(int)) for counts in draws.counts]
    slow = [np.sort(v)[(len(v) + 1) // 2 - 1] for v in listed]
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)


def test_nothing_to_resample():
    with pytest.raises(UserError):
        Resamples.of([])
