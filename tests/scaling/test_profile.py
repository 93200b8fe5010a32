"""Profile intervals: against brute force, under changes of unit, and how often they hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.scaling.profile import LEAST, MOST, profile

X = np.geomspace(1e5, 1e7, 9)


def _noisy(seed, x=X, sd=0.01):
    return 1.0 + 30.0 * x**-0.3 + np.random.default_rng(seed).normal(0, sd, len(x))


def _least_squares(x, y, fixed):
    """The least sum of squares with one of c >= 0, ln a and b fixed, by a general optimiser."""
    from scipy.optimize import least_squares

    low, high = np.array([0.0, -20.0, LEAST]), np.array([y.max() * 2, 40.0, MOST])
    free = [i for i in range(3) if i not in fixed]

    def residual(p):
        values = dict(zip(free, p, strict=True)) | fixed
        return values[0] + np.exp(values[1] - values[2] * np.log(x)) - y

    found = []
    for b in (0.1, 0.3, 0.8, 2.0):
        b = fixed.get(2, b)
        slope, c = np.polyfit(x**-b, y, 1)
        start = np.array([fixed.get(0, c), math.log(max(slope, 1e-6)), b])
        start = np.clip(start, low + 1e-9, high - 1e-9)[free]
        best = least_squares(residual, start, bounds=(low[free], high[free]), xtol=1e-14, ftol=1e-14)
        found.append(2 * best.cost)
    return min(found)


@pytest.mark.parametrize(("seed", "sd"), [(0, 0.01), (1, 0.01), (2, 0.03)])
def test_an_end_is_where_the_f_test_begins_to_reject(seed, sd):
    """Just inside an end the other parameters can bring the squares below the limit, just outside not."""
    from scipy.stats import f

    y = _noisy(seed, sd=sd)
    found = profile(X, y)
    least = _least_squares(X, y, {})
    assert found.rms == pytest.approx(math.sqrt(least / len(y)), rel=1e-6)
    limit = least * (1 + f.ppf(0.95, 1, 6) / 6)
    for i, x in enumerate((found.c, found.a, found.b)):
        place = math.log if i == 1 else float
        for end in (x.low, x.high):
            if end in (0.0, LEAST, MOST):
                continue  # the range ends before the test rejects
            step = 0.002 * (x.high - x.low) * (1 if end == x.high else -1)
            assert _least_squares(X, y, {i: place(end - step)}) < limit
            assert _least_squares(X, y, {i: place(end + step)}) > limit


def test_the_estimate_is_the_least_squares_fit():
    from scipy.optimize import curve_fit

    y = _noisy(3)
    best, _ = curve_fit(lambda x, c, a, b: c + a * x**-b, X, y, p0=(1, 30, 0.3))
    found = profile(X, y)
    assert [found.c.value, found.a.value, found.b.value] == pytest.approx(best.tolist(), rel=1e-3)


def test_without_noise_the_interval_closes():
    found = profile(X, 1.0 + 30.0 * X**-0.3)
    for x, truth in ((found.c, 1.0), (found.a, 30.0), (found.b, 0.3)):
        assert (x.low, x.value, x.high) == pytest.approx((truth,) * 3, rel=1e-5)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2), st.integers(4, 9))
def test_units_change_the_numbers_and_nothing_else(seed, x_unit, y_unit, n):
    y = _noisy(seed, X[:n])
    one, two = profile(X[:n], y), profile(X[:n] * x_unit, y * y_unit)
    for part in ("value", "low", "high"):
        assert getattr(two.b, part) == pytest.approx(getattr(one.b, part), rel=1e-4)
        assert getattr(two.c, part) == pytest.approx(getattr(one.c, part) * y_unit, rel=1e-4, abs=1e-6 * y_unit)
    assert two.a.value == pytest.approx(one.a.value * y_unit * x_unit**one.b.value, rel=1e-2)
    for x in (one.c, one.a, one.b):
        assert x.low <= x.value <= x.high
    assert one.c.low >= 0 and LEAST <= one.b.low and one.b.high <= MOST


def test_a_floor_of_zero_is_an_end():
    found = profile(X, 30.0 * X**-0.3 + np.random.default_rng(0).normal(0, 0.01, 9))
    assert found.c.low == 0.0 and found.c.high < 0.5 and found.b.low < 0.3 < found.b.high
    sinking = profile(X, 30.0 * X**-0.3 - 0.2)
    assert (sinking.c.value, sinking.c.low) == (0.0, 0.0)


def test_a_rising_law():
    y = 2.0 - 30.0 * X**-0.3 + np.random.default_rng(0).normal(0, 0.005, 9)
    found = profile(X, y)
    assert found.a.high < 0 and found.c.low < 2.0 < found.c.high and found.a.low < -30 < found.a.high


def test_three_points_leave_nothing_to_estimate_errors_from():
    found = profile(X[:3], 1.0 + 30.0 * X[:3] ** -0.3)
    assert found.b.value == pytest.approx(0.3, rel=1e-4)
    assert all(math.isnan(end) for x in (found.c, found.a, found.b) for end in (x.low, x.high))


@pytest.mark.parametrize("points", [4, 6, 9])
def test_intervals_hold_the_truth_as_often_as_they_say(points):
    """95 % of 300 sets, give or take 3.2 standard errors."""
    x, held = np.geomspace(1e5, 1e7, points), 0
    for seed in range(300):
        b = profile(x, _noisy(seed, x)).b
        held += b.low <= 0.3 <= b.high
    assert 0.91 <= held / 300 <= 0.99
