"""The solver against scipy and known laws; what is fitted to too little is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from jprm.errors import UserError
from jprm.scaling import fit_power_sum, points_needed
from jprm.scaling.huber import huber, objective, predict, resolve


def _grid(*axes):
    return [x.ravel() for x in np.meshgrid(*axes)]


def _noisy(seed, noise=0.01):
    n, d = _grid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e10, 6))
    y = 1.8 + 400 * n**-0.35 + 900 * d**-0.35
    return n, d, y * np.exp(noise * np.random.default_rng(seed).normal(size=n.size))


@given(st.integers(1, 3), st.integers(0, 10_000), st.sampled_from([1e-3, 0.1, 10.0]))
@settings(max_examples=30)
def test_gradients_are_those_of_the_loss(m, seed, delta):
    rng = np.random.default_rng(seed)
    t, log_y, theta = rng.normal(size=(m, 12)), rng.normal(size=12), rng.normal(size=2 * m + 1)
    value, gradient = objective(theta, t, log_y, delta)
    plain = np.log(np.exp(theta[0]) + np.exp(theta[1 : m + 1] - t.T * theta[m + 1 :]).sum(axis=1))
    assert value == pytest.approx(huber(plain - log_y, delta).sum())
    numeric = approx_fprime(theta, lambda p: objective(p, t, log_y, delta)[0], 1e-7)
    assert gradient == pytest.approx(numeric, abs=1e-4 * max(1.0, float(np.abs(gradient).max())))


def test_huber_is_the_textbook_one():
    found = huber(np.array([-3.0, -0.5, 0.0, 1.0, 2.0]), 1.0)
    assert found.tolist() == [2.5, 0.125, 0.0, 0.5, 1.5]


def test_all_resamples_at_once_equal_one_after_another():
    """Reweighted least squares against L-BFGS-B on each weighted problem."""
    n, d, y = _noisy(0)
    law = fit_power_sum({"n": n, "d": d}, y, resamples=2)
    t, log_y = np.log(np.stack([n, d])) - law.centre[:, None], np.log(y)
    weights = np.random.default_rng(1).multinomial(len(y), np.full(len(y), 1 / len(y)), 12)
    together = resolve(law.theta, t, log_y, weights.astype(float))
    for theta, weight in zip(together, weights, strict=True):

        def loss(p, weight=weight):
            predicted, jacobian = predict(p, t)
            gap = predicted - log_y
            return (weight * huber(gap, 1e-3)).sum(), jacobian @ (weight * np.clip(gap, -1e-3, 1e-3))

        options = {"ftol": 1e-14, "gtol": 1e-11, "maxiter": 5000, "maxfun": 9000}
        alone = minimize(loss, law.theta, jac=True, method="L-BFGS-B", options=options)
        assert loss(theta)[0] <= alone.fun * (1 + 1e-6)


@pytest.mark.parametrize("exponents", [(0.34,), (0.34, 0.28), (0.35, 0.4, 0.6)])
def test_a_law_without_noise_is_recovered(exponents):
    axes = [np.geomspace(1e6, 1e8, 5), np.geomspace(1e3, 1e5, 5), np.array([1, 2, 4, 8, 16.0])]
    axes = [np.geomspace(1e6, 1e9, 12)] if len(exponents) == 1 else axes[: len(exponents)]
    x, scales = _grid(*axes), (50.0, 3.0, 0.2)
    y = 0.3 + sum(s * v**-a for s, v, a in zip(scales, x, exponents, strict=False))
    names = ["params", "examples", "votes"][: len(exponents)]
    law = fit_power_sum(dict(zip(names, x, strict=True)), y, resamples=20)
    assert law.floor.value == pytest.approx(0.3, abs=1e-4)
    for name, scale, exponent in zip(names, scales, exponents, strict=False):
        assert law.exponent(name).value == pytest.approx(exponent, abs=1e-3)
        assert law.scale(name).value == pytest.approx(scale, rel=0.02)
    assert np.abs(law.residuals()).max() < 1e-5
    assert law(*x) == pytest.approx(y, rel=1e-5)


@pytest.mark.parametrize("bootstrap", ["residuals", "points"])
def test_intervals_and_predictions_hold_the_truth(bootstrap):
    n, d, y = _noisy(3)
    law = fit_power_sum({"n": n, "d": d}, y, resamples=300, bootstrap=bootstrap)
    assert law.floor.low < 1.8 < law.floor.high
    for axis in "nd":
        assert law.exponent(axis).low < 0.35 < law.exponent(axis).high
        assert law.exponent(axis).high - law.exponent(axis).low < 0.3
    low, high = law.between([5e9], [5e10])
    assert low[0] < 1.8 + 400 * 5e9**-0.35 + 900 * 5e10**-0.35 < high[0]
    assert law.growth("n", "d").low < 0.5 < law.growth("n", "d").high
    assert "covered" in law.measured_coverage
    again = fit_power_sum({"n": n, "d": d}, y, resamples=300, bootstrap=bootstrap)
    assert np.array_equal(law.samples, again.samples)


def test_the_split_is_the_minimum_along_the_product():
    n, d, y = _noisy(4)
    law = fit_power_sum({"n": n, "d": d}, y, resamples=50)
    best, other = law.split("n", "d", 1e19)
    assert best.value * other.value == pytest.approx(1e19)
    along = np.geomspace(best.value / 5, best.value * 5, 4001)
    assert along[law(along, 1e19 / along).argmin()] == pytest.approx(best.value, rel=0.01)
    assert best.low < best.value < best.high
    wider = law.split("n", "d", 1e21)[0].value / best.value
    assert np.log(wider) / np.log(100) == pytest.approx(law.growth("n", "d").value)


def test_too_little_is_refused_and_says_how_much_is_needed():
    n, d, y = _noisy(5)
    assert points_needed(2) == 10
    with pytest.raises(UserError, match="10 points are needed.*there are 9"):
        fit_power_sum({"n": n[:9], "d": d[:9]}, y[:9])
    with pytest.raises(UserError, match="3 different values of d .* there are 2"):
        rows = d <= np.unique(d)[1]
        fit_power_sum({"n": n[rows], "d": d[rows]}, y[rows])
    with pytest.raises(UserError, match="every value of y"):
        fit_power_sum({"n": n, "d": d}, np.where(n == n[0], np.nan, y))
    with pytest.raises(UserError, match="shape"):
        fit_power_sum({"n": n, "d": d}, y[:-1])
    law = fit_power_sum({"n": n, "d": d}, y, resamples=0)
    assert np.isnan(law.between([1e9], [1e9])[0]).all() and np.isnan(law.floor.low)
    with pytest.raises(UserError, match="no axis 'votes'"):
        law.exponent("votes")
