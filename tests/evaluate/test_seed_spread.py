"""Variance components: known ones recovered, the two designs told apart."""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import over_seeds, seed_spread


def _crossed(rng, seeds, problems, seed_sd, problem_sd, rest_sd):
    a, b = rng.normal(0, seed_sd, (seeds, 1)), rng.normal(0, problem_sd, problems)
    return 0.6 + a + b + rng.normal(0, rest_sd, (seeds, problems))


def test_components_are_recovered():
    y = _crossed(np.random.default_rng(0), 200, 400, 0.05, 0.3, 0.2)
    found = seed_spread(list(y), [range(400)] * 200)
    assert found.crossed and found.seed_sd.value == pytest.approx(0.05, rel=0.1)
    assert found.seed_sd.low < 0.05 < found.seed_sd.high
    assert found.problem_se == pytest.approx(0.3 / 20, rel=0.1)
    expected = 0.05**2 / 200 / (0.05**2 / 200 + 0.3**2 / 400 + 0.2**2 / 80_000)
    assert found.share == pytest.approx(expected, rel=0.3)


def test_variance_of_the_mean_is_that_of_new_seeds_on_new_problems():
    """Over many experiments: the mean's true spread against the average estimated variance."""
    rng, means, halves = np.random.default_rng(1), [], []
    for _ in range(400):
        found = seed_spread(list(_crossed(rng, 4, 50, 0.05, 0.3, 0.2)), [range(50)] * 4)
        means.append(found.mean.value)
        halves.append((found.mean.high - found.mean.low) / 2)
    truth = np.sqrt(0.05**2 / 4 + 0.3**2 / 50 + 0.2**2 / 200)
    assert np.std(means) == pytest.approx(truth, rel=0.1)
    assert np.mean(np.abs(np.array(means) - 0.6) <= halves) > 0.92


def test_own_problems_leave_only_the_seeds_as_repetitions():
    rng = np.random.default_rng(2)
    y = 0.5 + rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.4, (5, 300))
    found = seed_spread(list(y), [[(s, p) for p in range(300)] for s in range(5)])
    plain = over_seeds(y.mean(axis=1).tolist())
    assert not found.crossed
    assert (found.mean.low, found.mean.high) == pytest.approx((plain.low, plain.high))
    expected = np.sqrt(max(0.0, y.mean(axis=1).var(ddof=1) - 0.4**2 / 300))
    assert found.seed_sd.value == pytest.approx(expected, abs=0.01)


def test_seeds_that_agree_have_no_spread_of_their_own():
    y = np.random.default_rng(3).normal(0.5, 0.3, 80)
    found = seed_spread([y, y, y], [range(80)] * 3)
    assert found.seed_sd.value == found.share == 0.0
    assert found.problem_se == pytest.approx(y.std(ddof=1) / np.sqrt(80))


def test_items_of_a_problem_are_averaged_first():
    one, ids = np.array([1.0, 0.0, 1.0, 1.0]), ["p", "p", "q", "r"]
    merged = seed_spread([one, one * 0.5], [ids, ids])
    plain = seed_spread([[0.5, 1, 1], [0.25, 0.5, 0.5]], [["p", "q", "r"]] * 2)
    assert merged == plain


def test_too_little_is_refused():
    with pytest.raises(UserError, match="2 seeds"):
        seed_spread([[1.0, 0.0]], [[0, 1]])
    with pytest.raises(UserError, match="2 problems"):
        seed_spread([[1.0, 0.0]] * 2, [[0, 0]] * 2)
    with pytest.raises(UserError, match="problem ids"):
        seed_spread([[1.0], [0.0]], [[0, 1], [0]])


@pytest.mark.parametrize("problems", [7, 49])
def test_seeds_that_do_not_differ_tell_nothing_of_others(problems):
    """Nor does what rounding leaves of them: a tenth is no binary fraction."""
    drawn = np.random.default_rng(0).random(problems)
    for outcomes in (np.full(problems, 0.1), np.full(problems, 1 / 3), drawn):
        shared = [list(range(problems))] * 3
        apart = [[f"{p} of {s}" for p in range(problems)] for s in range(3)]
        for ids in (shared, apart):
            found = seed_spread([outcomes] * 3, ids)
            assert found.seed_sd.value == found.share == 0.0 and np.isnan(found.seed_sd.low)
            assert np.isnan(found.mean.low) or found.mean.high - found.mean.low > 0.1
