"""The vote law against scipy's optimiser, simulated votes, and integrals over the rates."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import beta, betabinom, binom

from jprm.errors import UserError
from jprm.scaling import fit_vote_law
from jprm.scaling.vote_law import _maximise, _rising


def _votes(a, b, items, n, seed):
    rng = np.random.default_rng(seed)
    return rng.binomial(n, rng.beta(a, b, items))


@pytest.mark.parametrize(("a", "b", "n"), [(0.3, 2.0, 64), (1.2, 0.6, 8), (20.0, 10.0, 16)])
def test_newton_finds_the_maximum_of_the_likelihood(a, b, n):
    right = _votes(a, b, 300, n, seed=0)
    fit = fit_vote_law(right, np.full(300, n), resamples=10)

    def loss(theta):
        return -betabinom.logpmf(right, n, *np.exp(theta)).sum()

    best = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    assert loss(np.log([fit.a.value, fit.b.value])) <= best.fun + 1e-6
    assert [fit.a.value, fit.b.value] == pytest.approx(np.exp(best.x), rel=1e-3)


def test_a_histogram_that_leaves_the_batch_is_at_the_maximum_that_it_finds_alone():
    rng, n = np.random.default_rng(3), 8
    c, votes = np.arange(n + 1.0), np.full(n + 1, float(n))
    histograms = np.array([rng.multinomial(60, betabinom.pmf(c, n, *rng.uniform(0.3, 4, 2))) for _ in range(40)]) + 0.0
    together = _maximise(histograms, c, votes)
    for histogram, found in zip(histograms, together, strict=True):

        def loss(theta, weight=histogram):
            return -(weight * betabinom.logpmf(c, n, *np.exp(theta))).sum()

        slow = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
        assert loss(np.log(found)) <= slow.fun + 1e-9
        alone = _maximise(histogram[None], c, votes)[0]
        assert np.log(found) == pytest.approx(np.log(alone), abs=1e-4)


def test_rising_sums_are_differences_of_gamma_functions():
    from scipy.special import digamma, gammaln, polygamma

    x, counts = np.array([[0.03], [1.0], [7.5], [900.0]]), np.array([0, 1, 5, 64])
    for f, whole in ((np.log, gammaln), (lambda x: 1 / x, digamma), (lambda x: -1 / x**2, lambda x: polygamma(1, x))):
        np.testing.assert_allclose(_rising(f, x, counts), whole(x + counts) - whole(x), rtol=1e-9, atol=1e-9)


def test_items_may_differ_in_their_votes():
    rng = np.random.default_rng(1)
    n = rng.integers(1, 40, 2000)
    fit = fit_vote_law(rng.binomial(n, rng.beta(2.0, 1.0, 2000)), n, resamples=50)
    assert fit.a.value == pytest.approx(2.0, rel=0.15) and fit.b.value == pytest.approx(1, rel=0.15)


def test_curves_are_integrals_over_the_rates():
    fit = fit_vote_law(_votes(1.2, 0.6, 400, 16, seed=2), np.full(400, 16), resamples=20)
    law = beta(fit.a.value, fit.b.value)

    def mean(value):
        return quad(lambda p: value(p) * law.pdf(p), 0, 1, limit=200)[0]

    assert fit.pass_at(7).value == pytest.approx(mean(lambda p: 1 - (1 - p) ** 7), abs=1e-5)
    assert fit.majority_at(5).value == pytest.approx(mean(lambda p: binom.sf(2, 5, p)), abs=1e-5)
    four = mean(lambda p: binom.sf(2, 4, p) + binom.pmf(2, 4, p) / 2)
    assert fit.majority_at(4).value == pytest.approx(four, abs=1e-5)
    assert fit.limit.value == pytest.approx(law.sf(0.5))
    assert fit.majority_at(4001).value == pytest.approx(fit.limit.value, abs=0.01)


def test_coverage_is_extrapolated_far_beyond_the_votes():
    """64 votes on 256 problems say what 10 000 would find: truth .9264."""
    fit = fit_vote_law(_votes(0.3, 2.0, 256, 64, seed=3), np.full(256, 64), resamples=300)
    truth = 1 - np.exp(_log_beta(0.3, 2.0 + 1e4) - _log_beta(0.3, 2.0))
    assert truth == pytest.approx(0.9264, abs=1e-4)
    found = fit.pass_at(1e4)
    assert found.low < truth < found.high and found.high - found.low < 0.1
    assert "covered" in fit.measured_coverage


def _log_beta(a, b):
    from scipy.special import betaln

    return betaln(a, b)


def test_shares_of_items_show_the_fit():
    fit = fit_vote_law(_votes(1.0, 1.0, 5000, 4, seed=5), np.full(5000, 4), resamples=10)
    assert fit.observed.sum() == pytest.approx(1.0) and fit.predicted.sum() == pytest.approx(1.0)
    assert fit.predicted == pytest.approx(np.full(5, 0.2), abs=0.02)  # uniform rates


def test_problems_widen_the_interval():
    right, n = np.repeat(_votes(1.0, 1.0, 60, 8, seed=6), 5), np.full(300, 8)
    alone = fit_vote_law(right, n, resamples=300).a
    together = fit_vote_law(right, n, [i // 5 for i in range(300)], resamples=300).a
    assert together.high - together.low > 1.6 * (alone.high - alone.low)


def test_all_right_stays_finite_and_too_little_is_refused():
    sure = fit_vote_law(np.full(30, 8), np.full(30, 8), resamples=20)
    assert sure.limit.value == pytest.approx(1.0, abs=1e-3) and np.isfinite(sure.samples).all()
    with pytest.raises(UserError, match="20 items, there are 5"):
        fit_vote_law(np.ones(5), np.full(5, 8))
    with pytest.raises(UserError, match="at least 2 votes"):
        fit_vote_law(np.ones(30), np.ones(30))
    with pytest.raises(UserError, match="between 0 and the votes"):
        fit_vote_law(np.full(30, 9), np.full(30, 8))
