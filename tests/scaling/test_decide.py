"""Decisions at a budget, and the points of the largest compute left out."""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.scaling import best_at_budget, fit_power_sum, hold_out


def _joint(noise=0.02, seed=0):
    grid = np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e3, 1e5, 4), [1, 2, 4, 8, 16])
    p, d, v = (x.ravel() for x in grid)
    error = 0.05 + 20 * p**-0.35 + 3 * d**-0.4 + 0.2 * v**-0.6
    drawn = np.random.default_rng(seed).normal(size=p.size)
    return {"params": p, "examples": d, "votes": v}, error * np.exp(noise * drawn)


def test_the_best_candidate_is_that_of_the_closed_form():
    axes, y = _joint()
    law = fit_power_sum(axes, y, resamples=100)
    size = np.geomspace(1e5, 1e9, 3000)
    grid = {"params": size, "votes": 1e8 / size, "examples": np.full(3000, 1e4)}
    found = best_at_budget(law, grid, np.ones(3000), 1.0)
    best, votes = law.split("params", "votes", 1e8)
    assert size[found.index] == pytest.approx(best.value, rel=0.01)
    assert grid["votes"][found.index] == pytest.approx(votes.value, rel=0.01)
    assert found.share.sum() == pytest.approx(1.0)
    chosen = np.repeat(size, np.round(found.share * 100).astype(int))
    assert np.quantile(chosen, [0.025, 0.975]) == pytest.approx([best.low, best.high], rel=0.1)


def test_only_what_can_be_paid_for_is_chosen():
    axes, y = _joint()
    law = fit_power_sum(axes, y, resamples=50)
    # votes cost inference: 6 N D to train and 2 N per token, 200 tokens a vote, 1e4 questions
    cost = 6 * axes["params"] * axes["examples"] * 100 + 2 * axes["params"] * axes["votes"] * 2e6
    budget = float(np.median(cost))
    found = best_at_budget(law, axes, cost, budget)
    affordable = cost <= budget
    assert affordable[found.index] and not found.share[~affordable].any()
    assert found.predicted == pytest.approx(law(*axes.values())[affordable].min())
    with pytest.raises(UserError, match="no candidate costs at most 1"):
        best_at_budget(law, axes, cost, 1.0)


def test_the_largest_compute_is_predicted_from_the_rest():
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e10, 6)))
    loss = 1.8 + 400 * n**-0.35 + 900 * d**-0.35
    noisy = loss * np.exp(0.01 * np.random.default_rng(1).normal(size=n.size))
    held = hold_out({"n": n, "d": d}, noisy, n * d, points=3, resamples=200)
    assert len(held.law.y) == 33 and (n * d)[held.rows].min() > np.delete(n * d, held.rows).max()
    assert np.abs(held.error).max() < 0.05 and "held out" in str(held)
    assert held.error == pytest.approx(noisy[held.rows] / held.law(n[held.rows], d[held.rows]) - 1)
    # a law that bends where nothing was seen is found out
    bent = np.where(n * d >= np.sort(n * d)[-3], noisy * 1.2, noisy)
    assert not hold_out({"n": n, "d": d}, bent, n * d, points=3, resamples=200).inside.any()


def test_points_of_equal_compute_go_together():
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e8, 1e10, 5)))
    loss = 1.8 + 400 * n**-0.35 + 900 * d**-0.35
    budget = np.round(np.log10(n * d), 6)
    held = hold_out({"n": n, "d": d}, loss, budget, points=2, resamples=10)
    assert len(held.rows) == 3  # the second largest has two points
    with pytest.raises(UserError, match="leave 9; 10 are needed"):
        hold_out({"n": n, "d": d}, loss, n * 1.0 + np.arange(25), points=16)
    with pytest.raises(UserError, match="cannot be held out"):
        hold_out({"n": n, "d": d}, loss, n, points=25)
