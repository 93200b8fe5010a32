"""Best sizes read off the runs: exact where they must be, biased where the literature says so."""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.scaling import fit_envelope, fit_isoflop

BUDGETS = np.geomspace(1e18, 1e21, 5)


def _law(n, d, alpha=0.34, beta=0.34):
    return 1.69 + 406.4 * n**-alpha + 410.7 * d**-beta


def _best(c, alpha=0.34, beta=0.34):
    g = (alpha * 406.4 / (beta * 410.7)) ** (1 / (alpha + beta))
    return g * (c / 6) ** (beta / (alpha + beta))


def _runs(alpha=0.34, beta=0.34, centre=1.0, width=5.0):
    c = np.repeat(BUDGETS, 9)
    n = _best(c, alpha, beta) * np.tile(centre * np.geomspace(1 / width, width, 9), 5)
    return c, n, _law(n, c / 6 / n, alpha, beta)


def test_parabolas_of_a_symmetrical_law_are_exact():
    """With alpha = beta the loss is even in ln N around its minimum: no bias."""
    found = fit_isoflop(*_runs(), resamples=50)
    assert found.a.value == pytest.approx(0.5, abs=1e-9)
    assert found.params == pytest.approx(_best(BUDGETS), rel=1e-6)
    assert found.at(1e23).value == pytest.approx(_best(1e23), rel=1e-5)
    assert not found.dropped


def test_a_wide_grid_biases_approach_2():
    """Without any noise, wherever alpha and beta differ; in the sizes rather than in their power."""
    narrow, wide = (fit_isoflop(*_runs(0.5, 0.25, width=w), resamples=10) for w in (2.0, 20.0))
    true_sizes = _best(BUDGETS, 0.5, 0.25)
    assert np.log(narrow.params / true_sizes) == pytest.approx(0.015, abs=0.005)
    assert np.log(wide.params / true_sizes) == pytest.approx(0.27, abs=0.01)
    assert wide.a.value == pytest.approx(1 / 3, abs=1e-6)


def test_budgets_without_a_minimum_are_dropped_and_named():
    c, n, loss = _runs()
    cut = (c < BUDGETS[-1]) | (n < _best(c) * 0.7)  # the largest budget: small sizes only
    found = fit_isoflop(c[cut], n[cut], loss[cut], resamples=20)
    assert len(found.budgets) == 4 and "1e+21" in found.dropped[0]
    few = (c < BUDGETS[-1]) | (n < _best(c) * 0.4)
    assert "4 are needed" in fit_isoflop(c[few], n[few], loss[few], resamples=20).dropped[0]
    with pytest.raises(UserError, match="3 budgets are needed, 2 can be used"):
        fit_isoflop(c[c < 1e19], n[c < 1e19], loss[c < 1e19])


def test_noise_is_covered_by_the_interval():
    c, n, loss = _runs()
    noisy = loss * np.exp(0.003 * np.random.default_rng(0).normal(size=c.size))
    found = fit_isoflop(c * 1.01 ** np.tile([0, 1, -1], 15), n, noisy)  # budgets as read off a plot
    assert len(found.budgets) == 5
    assert found.a.low < 0.5 < found.a.high and found.a.high - found.a.low < 0.2
    assert found.at(1e21).low < _best(1e21) < found.at(1e21).high
    assert "covered" in found.measured_coverage


def _curves(sizes):
    spent = np.geomspace(1e17, 1e22, 200)
    return [(n, spent, _law(n, spent / 6 / n)) for n in sizes]


def test_the_envelope_follows_the_best_size():
    found = fit_envelope(_curves(np.geomspace(1e7, 1e11, 200)), BUDGETS, resamples=20)
    assert found.params == pytest.approx(_best(BUDGETS), rel=0.03)
    assert found.a.value == pytest.approx(0.5, abs=0.01)


def test_the_envelope_does_not_extrapolate():
    curves = _curves(np.geomspace(1e8, 1e10, 30))
    short = [(n, c[c < 1e20], y[c < 1e20]) for n, c, y in curves]
    found = fit_envelope(short, [1e18, 1e19, 5e19, 1e21], resamples=20)
    assert found.budgets == pytest.approx([1e18, 1e19, 5e19]) and "1e+21" in found.dropped[0]
    with pytest.raises(UserError, match="3 budgets are needed, 1 can be used"):
        fit_envelope(short, [1e18, 1e21, 2e21])
    with pytest.raises(UserError, match="curve 0: compute must rise"):
        fit_envelope([(1e8, [2.0, 1.0], [3.0, 2.0])], [1.5])


def test_nonsense_is_refused():
    with pytest.raises(UserError, match="expected"):
        fit_isoflop([1e18], [1e7, 1e8], [3.0])
    with pytest.raises(UserError, match="above 0"):
        fit_isoflop([1e18, -1], [1e7, 1e8], [3.0, 2.0])
