"""Fits recover known laws, carry honest intervals, and refuse what the data cannot carry."""

import math

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.scaling import fit_power_law, fit_votes
from jprm.scaling.profile import profile

KS = np.array([1, 2, 4, 8, 16, 32])


@pytest.mark.parametrize(("c", "a", "b"), [(0.9, -0.2, 1.0), (0.7, -0.4, 0.3), (0.2, 0.5, 2.0)])
def test_a_law_without_noise_is_recovered(c, a, b):
    found = fit_votes(KS, c + a * KS**-b)
    got = {name: value.value for name, value in found.parameters.items()}
    assert got == pytest.approx({"c": c, "a": a, "b": b}, rel=0.02)
    assert found([64]) == pytest.approx([c + a * 64.0**-b], abs=2e-3)


def test_big_x_is_no_harder_than_small():
    params = np.array([1e5, 3e5, 1e6, 3e6, 1e7])
    found = fit_power_law(params, 1.2 + 40.0 * params**-0.35)
    assert found.parameters["c"].value == pytest.approx(1.2, abs=0.01)
    assert found.parameters["b"].value == pytest.approx(0.35, abs=0.01)


def test_grid_search_equals_nonlinear_least_squares():
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(0)
    y = 0.9 - 0.3 * KS**-0.8 + rng.normal(0, 0.005, len(KS))
    best, _ = curve_fit(lambda n, c, a, b: c + a * n**-b, KS.astype(float), y, p0=(0.9, -0.3, 1))
    found = fit_votes(KS, y)
    assert [found.parameters[p].value for p in "cab"] == pytest.approx(best.tolist(), abs=0.02)
    assert found.rms <= np.sqrt(np.mean((y - best[0] - best[1] * KS ** -best[2]) ** 2)) * 1.001


def test_intervals_from_resampled_curves_hold_the_truth():
    rng = np.random.default_rng(1)
    truth = 0.9 - 0.25 * KS**-1.0
    samples = truth + rng.normal(0, 0.004, (400, len(KS)))
    found = fit_votes(KS, samples[0], samples)
    for name, value in (("c", 0.9), ("a", -0.25), ("b", 1.0)):
        assert found.parameters[name].low < value < found.parameters[name].high
    assert found.ok and not found.warning and "c = 0.9" in str(found)
    assert "covered" in found.measured_coverage and not fit_votes(KS, truth).measured_coverage


def test_a_power_law_has_profile_intervals_and_says_how_good_they_are():
    x = np.repeat(np.geomspace(1e5, 1e7, 5), 2)
    y = 1.0 + 30.0 * x**-0.3 + np.random.default_rng(2).normal(0, 0.01, len(x))
    y[3] = math.nan  # a run without a loss
    found, known = fit_power_law(x, y), np.isfinite(y)
    assert found.points == 9 and found.ok and "covered" in found.measured_coverage
    expected = profile(x[known], y[known])
    assert found.parameters == {"c": expected.c, "a": expected.a, "b": expected.b}
    assert found.parameters["c"].low < 1.0 < found.parameters["c"].high and not found.warning


def test_too_few_points_are_refused_with_a_reason():
    found = fit_votes([1, 2], [0.7, 0.8])
    assert not found.ok and not found.parameters
    assert "3 parameters need 3 different x, there are 2" in str(found)
    with pytest.raises(UserError, match="not fitted"):
        found(4)
    assert "does not vary" in fit_votes(KS, np.full(6, 0.8)).reason
    assert "there are 2" in fit_votes([1, 2, 2, 4], [0.7, 0.8, 0.8, math.nan]).reason


def test_three_points_fit_exactly_and_warn():
    found = fit_power_law([1, 2, 4], [3.0, 2.0, 1.6])
    assert found.ok and found.rms < 1e-3 and "nothing checks the law" in found.warning
    assert math.isnan(found.parameters["c"].low) and not found.measured_coverage


def test_an_unidentified_exponent_warns():
    at_once = np.array([0.5, 0.8, 0.8, 0.8, 0.8, 0.8])  # saturated from the second point on
    assert "edge of its grid" in fit_votes(KS, at_once).warning
    never = 0.5 + 0.1 * np.log(KS)
    assert "asymptote at the end of its range" in fit_votes(KS, never).warning


def test_an_asymptote_stays_possible():
    rising = 1.3 - 0.8 * KS**-0.3
    found = fit_votes(KS, rising)
    assert found.parameters["c"].value == 1.0 and "asymptote" in found.warning
    # With c fixed at 1 the rest is a least-squares fit of a N^-b to y - 1.
    from scipy.optimize import curve_fit

    best, _ = curve_fit(lambda n, a, b: 1 + a * n**-b, KS.astype(float), rising, p0=(-0.5, 0.5))
    assert [found.parameters[p].value for p in "ab"] == pytest.approx(best.tolist(), rel=0.02)
    sinking = fit_power_law(KS, 2.0 * KS**-0.5 - 0.3)
    assert sinking.parameters["c"].value == 0.0 and "not told from 0" in sinking.warning
    flat = fit_power_law(KS, 1.0 + np.random.default_rng(0).normal(0, 0.1, 6))
    assert "not told from the ends of its range" in flat.warning


def test_impossible_x_is_refused():
    with pytest.raises(UserError, match="positive"):
        fit_votes([0, 1, 2], [0.1, 0.2, 0.3])
    with pytest.raises(UserError, match="shape"):
        fit_votes([1, 2], [0.1, 0.2, 0.3])
