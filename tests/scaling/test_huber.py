"""The solver against its slow forms: the formula written down, and a prediction for every point of a place."""

import numpy as np
import pytest
from scipy.special import logsumexp

from jprm.scaling.huber import DELTA, _reweighted, predict, resolve


@pytest.mark.parametrize("m", [1, 2, 3])
def test_predictions_and_gradients_are_those_of_the_formula(m):
    rng = np.random.default_rng(m)
    t, theta = rng.normal(size=(m, 7)), rng.normal(size=(5, 2 * m + 1))
    before = theta.copy(), t.copy()

    def plain(one):
        return logsumexp([np.full(7, one[0]), *(one[1 + i] - one[1 + m + i] * t[i] for i in range(m))], axis=0)

    log_y, gradient = predict(theta, t)
    np.testing.assert_array_equal(theta, before[0])
    np.testing.assert_array_equal(t, before[1])
    assert log_y.shape == (5, 7) and gradient.shape == (5, 2 * m + 1, 7)
    for r, one in enumerate(theta):
        assert log_y[r] == pytest.approx(plain(one), abs=1e-12)
        for p in range(2 * m + 1):
            step = 1e-6 * np.eye(2 * m + 1)[p]
            slope = (plain(one + step) - plain(one - step)) / 2e-6
            assert gradient[r, p] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("m", [1, 2])
def test_points_that_share_a_place_are_fitted_as_if_each_had_its_own(m):
    rng = np.random.default_rng(m)
    t = np.tile(rng.normal(size=(m, 6)), 5)
    theta = np.concatenate([[0.3], rng.normal(size=m), rng.uniform(0.2, 0.6, m)])
    log_y = predict(theta[None], t)[0] + 0.02 * rng.standard_t(2, (8, t.shape[1]))
    weight = rng.integers(0, 4, log_y.shape).astype(float)
    order = np.lexsort(t[::-1])
    places, of = np.unique(t[:, order], axis=1, return_inverse=True)
    data, start = (log_y[:, order], weight[:, order], DELTA, 200), np.tile(theta, (8, 1))
    shared = _reweighted(start, places, of.ravel(), *data)
    alone = _reweighted(start, t[:, order], np.arange(t.shape[1]), *data)
    np.testing.assert_allclose(predict(shared, places)[0], predict(alone, places)[0], atol=1e-5)
    assert resolve(theta, t, log_y, weight).shape == shared.shape
