"""The published fit, a known law, and the cross-check by variable projection."""

import csv

import numpy as np
import pytest

from jprm.scaling import fit_chinchilla, project_chinchilla


@pytest.fixture(scope="module")
def published(data_root):
    """Parameters, tokens and losses of the 240 runs that the published refit keeps."""
    path = data_root / "laws" / "chinchilla.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    params, flops, losses = (
        np.array([float(row[key]) for row in rows]) for key in ("Model Size", "Training FLOP", "loss")
    )
    kept = np.sort(np.argsort(losses, kind="stable")[:-5])
    assert len(rows) == 245
    return params[kept], flops[kept] / (6 * params[kept]), losses[kept]


def test_the_published_fit(published):
    """Besiroglu et al. 2024: E 1.8172, alpha .3478, beta .3658; standard errors .015 and .022."""
    fit = fit_chinchilla(*published, resamples=400)
    assert fit.alpha == pytest.approx(0.3478, abs=0.002)
    assert fit.beta == pytest.approx(0.3658, abs=0.002)
    assert fit.E == pytest.approx(1.8172, abs=0.001)
    assert fit.A == pytest.approx(482.0, rel=0.03) and fit.B == pytest.approx(2085.4, rel=0.06)
    standard_errors = fit.law.samples[:, 3:].std(axis=0, ddof=1)
    assert standard_errors == pytest.approx([0.015, 0.022], abs=0.003)
    a = fit.intervals["a"]
    assert a.low < 0.512 < a.high and a.high - a.low < 0.12
    assert fit.law.agreed >= 4
    n, d = fit.optimal(5.76e23)
    assert 6 * n.value * d.value == pytest.approx(5.76e23)
    assert 10 < d.value / n.value < 40  # about 20 tokens per parameter


def test_the_objective_matters_on_the_published_runs(published):
    """Squared error puts beta higher by some .06 (the same data, arXiv 2404.10102 and others)."""
    found = project_chinchilla(*published)
    assert found.alpha == pytest.approx(0.36, abs=0.01)
    assert found.beta == pytest.approx(0.43, abs=0.01)
    assert found.E == pytest.approx(1.888, abs=0.01)


def _runs(noise=0.0):
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(5e7, 5e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = 1.69 + 406.4 * n**-0.34 + 410.7 * d**-0.28
    return n, d, loss * np.exp(noise * np.random.default_rng(0).normal(size=n.size))


def test_both_routes_recover_a_known_law():
    """The constants of Hoffmann et al. 2022."""
    n, d, loss = _runs()
    for fit in (fit_chinchilla(n, d, loss, resamples=10), project_chinchilla(n, d, loss)):
        assert (fit.E, fit.alpha, fit.beta) == pytest.approx((1.69, 0.34, 0.28), abs=1e-3)
        assert (fit.A, fit.B) == pytest.approx((406.4, 410.7), rel=0.01)


def test_projection_is_the_least_squares_fit():
    from scipy.optimize import least_squares

    n, d, loss = _runs(noise=0.01)
    found = project_chinchilla(n, d, loss)

    def residual(p):
        return p[0] + np.exp(p[1] - p[3] * np.log(n)) + np.exp(p[2] - p[4] * np.log(d)) - loss

    start = [found.E, np.log(found.A), np.log(found.B), found.alpha, found.beta]
    best = least_squares(residual, start, xtol=1e-14, ftol=1e-14)
    assert np.sum((found(n, d) - loss) ** 2) == pytest.approx(np.sum(best.fun**2), rel=1e-5)
    assert found.law.objective == pytest.approx(np.sum(best.fun**2), rel=1e-5)


def test_the_two_routes_agree_where_the_law_holds():
    n, d, loss = _runs(noise=0.002)
    fit, check = fit_chinchilla(n, d, loss), project_chinchilla(n, d, loss)
    assert fit.alpha == pytest.approx(check.alpha, abs=0.03)
    assert fit.beta == pytest.approx(check.beta, abs=0.03)
    assert fit.intervals["alpha"].low < 0.34 < fit.intervals["alpha"].high
    assert fit([1e9], [2e10]) == pytest.approx(fit.law([1e9], [2e10]))


def test_resamples_of_the_projection_are_those_of_exact_refits():
    """They are fitted to first order; least squares from scratch gives the same, to a fraction of the spread."""
    n, d, loss = _runs(noise=0.01)
    found = project_chinchilla(n, d, loss, resamples=40)
    law = found.law
    residual = law.residuals() * np.sqrt(36 / 31)
    drawn = np.random.default_rng(0).choice(residual - residual.mean(), (40, len(loss)))
    wider = 2.039513 / 1.959964  # t with 31 degrees, normal
    for i in range(3):
        again = project_chinchilla(n, d, found(n, d) * np.exp(drawn[i]), resamples=0)
        refitted = found.alpha + (law.samples[i, 3] - found.alpha) / wider
        assert again.alpha == pytest.approx(refitted, abs=0.05 * law.samples[:, 3].std())
