"""Calibration against hand-counted bins, closed forms, and rewards that are true by construction."""

import math

import numpy as np
import pytest

from jprm.evaluate import calibration


def test_bins_are_counted_by_hand_and_nothing_after_an_error_counts():
    rewards = [[0.95, 0.91, 0.42], [0.97, 0.03, 0.99], [None, 1.0]]
    found = calibration(rewards, [-1, 1, -1], ["a", "b", "c"])
    assert found is not None
    assert [(b.steps, b.right.value) for b in found.bins] == [(1, 0.0), (1, 1.0), (4, 1.0)]
    assert found.bins[2].reward == pytest.approx((0.95 + 0.91 + 0.97 + 1.0) / 4)
    assert found.unread == 1
    truth = np.array([1, 1, 1, 1, 0, 1])
    given = np.array([0.95, 0.91, 0.42, 0.97, 0.03, 1.0])
    assert found.brier.value == pytest.approx(np.mean((truth - given) ** 2))
    gaps = 0.03 + (1 - 0.42) + (4 - 0.95 - 0.91 - 0.97 - 1.0)
    assert found.error.value == pytest.approx(gaps / 6)


def test_rewards_that_are_true_probabilities_have_no_error_but_that_of_chance():
    rng = np.random.default_rng(0)
    reward = rng.random(20_000)
    right = rng.random(20_000) < reward
    found = calibration([[p] for p in reward], np.where(right, -1, 0).tolist(), range(20_000))
    assert found is not None
    assert found.error.value < 0.02
    assert all(b.right.low - 0.02 < b.reward < b.right.high + 0.02 for b in found.bins)
    assert found.brier.value == pytest.approx(1 / 6, abs=0.005)  # of p (1 - p), p uniform
    shifted = calibration([[p**3] for p in reward], np.where(right, -1, 0).tolist(), range(20_000))
    assert shifted is not None and shifted.error.low > 0.2  # of p - p^3: 1/4


def test_steps_of_one_problem_are_one_piece_of_evidence():
    rewards, firsts = [[0.8] * 10] * 50, [-1] * 40 + [0] * 10
    together = calibration(rewards, firsts, [i % 5 for i in range(50)])
    apart = calibration(rewards, firsts, range(50))
    alone = calibration(rewards, [0] * 50, range(50))
    assert together is not None and apart is not None and alone is not None
    assert apart.bins[0].right.value == together.bins[0].right.value == 400 / 410
    assert alone.bins[0].right.value == alone.bins[0].right.low == 0.0
    # 400 right steps of 5 problems leave more room than those of 50
    assert together.bins[0].right.high - together.bins[0].right.low > 0.1
    assert apart.bins[0].right.high - apart.bins[0].right.low < 0.05


def test_a_verifier_without_a_fault_may_be_true_or_not():
    """The interval of the error reaches down to 0 where chance alone would show as much."""
    rng = np.random.default_rng(1)
    reward = rng.random(150)
    right = rng.random(150) < reward
    found = calibration([[p] for p in reward], np.where(right, -1, 0).tolist(), range(150))
    assert found is not None
    assert found.error.low == 0.0 < found.error.value
    assert found.error.high < 3 * found.error.value
    alone = calibration([[0.3, 0.9]], [-1], ["a"])
    assert alone is not None
    assert math.isnan(alone.error.low) and math.isnan(alone.brier.low)
    assert all(math.isnan(b.right.low) for b in alone.bins)


def test_without_a_reward_there_is_nothing_to_say():
    assert calibration([[None], []], [-1, -1], ["a", "b"]) is None
