"""The solver's predictions, made in place, against the formula written down."""

import numpy as np
import pytest
from scipy.special import logsumexp

from jprm.scaling.huber import predict


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
