"""Intervals over problems: against the slow way and closed forms, in their range, for speed."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from jprm.errors import UserError
from jprm.evaluate import (
    Interval,
    Resamples,
    difference,
    f1_difference,
    f1_interval,
    gap_samples,
    interval,
    mean_difference,
    mean_interval,
    over_seeds,
    ratio_interval,
    share_interval,
)

unit = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 1.0])


def _items(n_problems, per_problem, seed):
    """Correctness that hangs together within a problem."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(n_problems), per_problem)
    rate = np.repeat(rng.beta(0.8, 0.4, n_problems), per_problem)
    labels = np.where(rng.random(len(ids)) < 0.5, -1, rng.integers(0, 4, len(ids)))
    return ids, labels, (rng.random(len(ids)) < rate).astype(float)


def _slow_unseen(per_problem, weight, coins):
    """What one more problem adds to the outcomes, written out."""
    size = []
    for c, outcome in enumerate(per_problem.T):
        if per_problem.shape[1] == 4 and c in (1, 2):
            outcome = per_problem[:, 1] + per_problem[:, 2]
        whole = sum(row.sum() ** 2 for row in per_problem) / per_problem.sum()
        k = outcome.sum() ** 2 / (outcome**2).sum() if outcome.any() else 0.0
        size.append(((outcome**2).sum() + whole**2 / (k + 1)) / (outcome.sum() + whole / (k + 1)))
    place = coins % per_problem.shape[1]
    return [weight * size[c] * (c == place) for c in range(per_problem.shape[1])]


def _tosses(seed, stream, resamples):
    rng = np.random.default_rng((seed, stream, resamples))
    return rng.standard_exponential(resamples), rng.integers(0, 4, resamples)


def test_vectorised_resamples_equal_the_loop():
    ids, labels, right = _items(40, 3, seed=1)
    right = right * np.random.default_rng(2).random(len(right))
    other = np.random.default_rng(3).random(len(right))
    draws = Resamples.of(ids, seed=7, resamples=50)
    f1s = draws.f1(labels, np.stack([right, other], axis=1))
    gaps = gap_samples(right, other, draws, labels)
    tosses = [_tosses(7, stream, 50) for stream in (0, 1)]
    for r, weights in enumerate(draws.weights):
        alone, paired = [], []
        for stream, kind in enumerate((labels >= 0, labels < 0)):
            weight, coins = tosses[stream][0][r], tosses[stream][1][r]
            for mine in (right, other):
                table = np.zeros((40, 2))
                for i in np.flatnonzero(kind):
                    table[ids[i]] += mine[i], 1 - mine[i]
                hit, miss = weights @ table + _slow_unseen(table, weight, coins)
                alone.append(hit / (hit + miss))
            table = np.zeros((40, 4))
            for i in np.flatnonzero(kind):
                a, b = right[i], other[i]
                table[ids[i]] += min(a, b), max(a - b, 0), max(b - a, 0), 1 - max(a, b)
            both, first, second, neither = weights @ table + _slow_unseen(table, weight, coins)
            total = both + first + second + neither
            paired.append(((both + first) / total, (both + second) / total))
        for system, (a, b) in enumerate(zip(alone[:2], alone[2:], strict=True)):
            assert f1s[r, system] == pytest.approx(2 * a * b / (a + b))
        (a1, a2), (b1, b2) = paired
        assert gaps[r] == pytest.approx(2 * a2 * b2 / (a2 + b2) - 2 * a1 * b1 / (a1 + b1))


@pytest.mark.parametrize(("n", "right"), [(25, 25), (30, 29), (50, 40), (80, 0), (200, 3)])
def test_the_interval_of_single_items_is_that_of_clopper_and_pearson_at_mid_p(n, right):
    """Both ends solve P(more extreme) + P(as seen) / 2 = .025, up to the noise of the resamples."""
    from scipy.optimize import brentq
    from scipy.stats import binom

    def upper(p):
        return binom.sf(right, n, p) + binom.pmf(right, n, p) / 2

    low = brentq(lambda p: upper(p) - 0.025, 1e-9, 1 - 1e-9) if right else 0.0
    high = brentq(lambda p: upper(p) - 0.975, 1e-9, 1 - 1e-9) if right < n else 1.0
    values = np.arange(n) < right
    found = mean_interval(values, Resamples.of(range(n), resamples=20_000))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)
    assert found.low <= found.value == right / n <= found.high
    at = binomtest(right, n).proportion_ci(0.95, "wilson")  # near it, though not the same
    assert (found.low, found.high) == pytest.approx((at.low, at.high), abs=1.2 / n)


@pytest.mark.parametrize("n", [25, 30, 50, 80])
def test_coverage_of_means_by_enumeration(n):
    """The n + 1 outcomes of n single items, at each p and averaged over logits up to .3 away."""
    from scipy.special import expit, logit
    from scipy.stats import binom

    draws, seen = Resamples.of(range(n)), np.arange(n + 1)
    found = [mean_interval(np.arange(n) < x, draws) for x in seen]
    low, high = (np.array([getattr(i, end) for i in found]) for end in ("low", "high"))
    for p in (0.5, 0.8, 0.9, 0.95, 0.97, 0.99):
        near = expit(logit(p) + np.linspace(-0.3, 0.3, 61))
        inside = (low[:, None] <= near) & (near <= high[:, None])
        covered = (binom.pmf(seen[:, None], n, near) * inside).sum(axis=0)
        assert covered.min() > 0.91 and 0.937 < covered.mean() < 0.99
        if n * (1 - p) >= 5:
            assert covered.mean() < 0.965


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.booleans(), unit, unit), min_size=2, max_size=25), st.integers(0, 24))
def test_ends_stay_in_their_range_hold_the_value_and_rise_with_it(rows, at):
    ids, labels = [r[0] for r in rows], [-1 if r[1] else 0 for r in rows]
    first, second = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    draws = Resamples.of(ids, resamples=99)
    whole, f1 = mean_interval(first, draws), f1_interval(labels, first, draws)
    gap = mean_difference(first, second, draws)
    if len(set(ids)) == 1:
        assert all(math.isnan(x) for x in (whole.low, whole.high, f1.low, gap.high, gap.p))
        return
    assert 0 <= whole.low <= whole.high <= 1 and -1 <= gap.low <= gap.high <= 1
    assert whole.low < 1 and whole.high > 0 and gap.low < gap.high
    if not math.isnan(f1.low):
        assert 0 <= f1.low <= f1.high <= 1
    assert (gap.p < 0.05) == (gap.low > 0 or gap.high < 0)
    back = mean_difference(second, first, draws)
    assert back.value == -gap.value
    binary = np.round(first)  # one more right item moves both ends up or leaves them
    more = binary.copy()
    more[at % len(more)] = 1.0
    if len(set(ids)) == len(ids):
        less, more = mean_interval(binary, draws), mean_interval(more, draws)
        assert less.low <= more.low and less.high <= more.high


def test_what_was_seen_once_and_hardly_does_not_close_the_interval():
    """A miss of .001 among 30 items says no more of the misses to come than none at all."""
    draws, values = Resamples.of(range(30)), np.ones(30)
    none = mean_interval(values, draws)
    values[3] = 0.999
    hardly = mean_interval(values, draws)
    assert hardly.low == pytest.approx(none.low, abs=0.01) and none.low < 0.92
    gap = mean_difference(np.ones(30), values, draws)
    assert gap.low < -0.05 and gap.high > 0.05 and gap.p > 0.3


def test_many_small_gains_are_told_from_none():
    first = np.random.default_rng(0).random(60) * 0.9
    gap = mean_difference(first, first + 0.01, Resamples.of(range(60)))
    assert gap.low > 0 and gap.high < 0.02


def test_order_and_names_change_no_more_than_the_draw():
    ids, labels, right = _items(60, 2, seed=5)
    names = np.array([f"problem {p}" for p in ids])
    found = f1_interval(labels, right, Resamples.of(names.tolist()))
    assert found == f1_interval(labels, right, Resamples.of(ids.tolist()))
    order = np.random.default_rng(0).permutation(len(ids))
    turned = f1_interval(labels[order], right[order], Resamples.of(names[order].tolist()))
    assert turned.value == pytest.approx(found.value)
    width = found.high - found.low
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high), abs=0.06 * width)


def test_an_interval_is_written_in_any_format_with_its_ends_or_without():
    known, none = Interval(0.5, 0.25, 0.75), Interval(1.0, math.nan, math.nan)
    assert str(known) == "0.500 [0.250, 0.750]" and f"{known:.0%}" == "50% [25%, 75%]"
    assert f"{known:+.2f}" == "+0.50 [+0.25, +0.75]"
    assert str(none) == "1.000 (no interval)" and f"{none:.0%}" == "100% (no interval)"


def test_shares_and_ratios():
    draws = Resamples.of(range(40))
    part, whole = np.full(40, 2.0), np.full(40, 8.0)
    part[:10] = 8.0
    at = share_interval(part, whole, draws)
    assert at.value == 7 / 16 and at.low < 7 / 16 < at.high
    assert ratio_interval(part, whole, draws).value == 7 / 16
    assert share_interval(whole, whole, draws).high == 1.0 > share_interval(whole, whole, draws).low
    kept = ratio_interval(whole, whole, draws)  # all of the gain, and perhaps more next time
    assert kept.low < 1.0 < kept.high
    assert math.isnan(ratio_interval(part, np.zeros(40), draws).value)
    assert math.isnan(share_interval(np.zeros(40), np.zeros(40), draws).value)
    with pytest.raises(UserError, match="between 0 and its whole"):
        share_interval(whole, part, draws)
    rounded = np.full(40, 1.0 + 1e-15)  # a sum of shares
    assert mean_interval(rounded, draws).high == 1.0
    assert mean_difference(rounded, np.ones(40), draws).p == 1.0
    gains = np.tile([-0.5, 1.0], 20)  # of either sign, as beyond 1
    for values in (gains, 3 * gains):
        found = mean_interval(values, draws)
        assert found.low < values.mean() < found.high
        gap = mean_difference(np.zeros(40), values, draws)
        assert (gap.value, gap.low, gap.high) == (found.value, found.low, found.high)
    with pytest.raises(UserError, match="not finite"):
        mean_interval(np.full(40, math.nan), draws)
    for bad in (1.1, -0.1, math.nan):
        with pytest.raises(UserError, match="between 0 and 1"):
            f1_interval([-1, 0] * 20, np.full(40, bad), draws)


def test_draws_depend_on_the_seed_and_not_on_names():
    one, same = Resamples.of(["a", "b", "a", "c"], seed=3), Resamples.of([9, 1, 9, 0], seed=3)
    assert np.array_equal(one.weights, same.weights)
    assert not np.array_equal(one.weights, Resamples.of("abac", seed=4).weights)
    assert one.group.tolist() == [0, 1, 0, 2]


def test_clusters_widen_the_interval():
    """Ten copies of every item are no new evidence, and only clustering knows it."""
    values = np.repeat((np.random.default_rng(0).random(60) < 0.6).astype(float), 10)
    problems = np.repeat(np.arange(60), 10)
    clustered = mean_interval(values, Resamples.of(problems))
    naive = mean_interval(values, Resamples.of(np.arange(600)))
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)


def test_paired_difference_is_narrower_than_two_intervals():
    ids, labels, first = _items(300, 2, seed=2)
    second = np.where(np.random.default_rng(3).random(len(first)) < 0.1, 1.0, first)
    draws = Resamples.of(ids)
    gap = f1_difference(labels, first, second, draws)
    a, b = f1_interval(labels, first, draws), f1_interval(labels, second, draws)
    assert gap.value == pytest.approx(b.value - a.value)
    assert gap.high - gap.low < 0.6 * math.hypot(a.high - a.low, b.high - b.low)
    assert gap.low > 0 and gap.p < 0.01
    reverse = f1_difference(labels, second, first, draws)
    assert (reverse.low, reverse.high) == pytest.approx((-gap.high, -gap.low), abs=0.005)


def test_no_difference_has_p_of_one_and_room_for_a_problem_to_come():
    same = np.array([1.0, 0.0, 1.0, 1.0] * 10)
    gap = mean_difference(same, same, Resamples.of(range(40)))
    assert (gap.value, gap.p) == (0.0, 1.0) and gap.low <= 0
    # a quarter of the unseen problems speak for either: P(Beta(1, 40) > x) / 4 = .025
    room = 1 - 0.1 ** (1 / 40)
    assert (gap.low, gap.high) == pytest.approx((-room, room), abs=0.01)


def test_p_is_never_zero():
    assert difference(1.0, np.ones(999)).p == pytest.approx(2 / 1000)


def test_one_problem_of_a_kind_tells_nothing_of_others():
    assert math.isnan(f1_interval([-1, 0, 0], [1.0, 1.0, 1.0], Resamples.of("abc")).low)
    assert math.isnan(f1_interval([-1, 0, 0], [1.0, 1.0, 1.0], Resamples.of("aab")).low)
    assert f1_interval([-1, 0, 0, -1], [1.0] * 4, Resamples.of("aabb")).low < 0.6
    assert math.isnan(f1_interval([0, 0], [1.0, 1.0], Resamples.of("ab")).low), "no class, no F1"
    assert math.isnan(interval(0.5, [math.nan]).low)


@pytest.mark.slow
@pytest.mark.alone
def test_speed_of_the_documented_size():
    ids, labels, right = _items(600, 1, seed=4)
    best = math.inf
    for attempt in range(3):
        start = time.perf_counter()
        f1_interval(labels, right, Resamples.of(ids, seed=attempt, resamples=2000))
        best = min(best, time.perf_counter() - start)
    assert best < 0.2


def test_over_seeds_is_students_t():
    found = over_seeds([0.80, 0.84, 0.88])
    assert found.value == pytest.approx(0.84)
    assert found.high - found.value == pytest.approx(4.3027 * 0.04 / math.sqrt(3), abs=1e-4)
    assert math.isnan(over_seeds([0.8]).low)


def test_nothing_to_resample():
    with pytest.raises(UserError):
        Resamples.of([])
