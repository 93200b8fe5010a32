"""Section 3's table by definition, and how the aggregations weigh a batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.rl import Credit, aggregate, baseline, credit
from tests.rl.groups import judged

TABLE = {  # right k of 8: right, wrong
    ("grpo", 1): (2.4749, -0.3536),
    ("grpo", 2): (1.6202, -0.5401),
    ("grpo", 4): (0.9354, -0.9354),
    ("grpo", 7): (0.3536, -2.4749),
    ("mean", 1): (0.875, -0.125),
    ("mean", 2): (0.75, -0.25),
    ("mean", 4): (0.5, -0.5),
    ("mean", 7): (0.125, -0.875),
    ("rloo", 1): (1, -0.1429),
    ("rloo", 2): (0.8571, -0.2857),
    ("rloo", 4): (0.5714, -0.5714),
    ("rloo", 7): (0.1429, -1),
    ("maxrl", 1): (7, -1),
    ("maxrl", 2): (3, -1),
    ("maxrl", 4): (1, -1),
    ("maxrl", 7): (0.1429, -1),
    ("none", 3): (1, 0),
}


@pytest.mark.parametrize(("kind", "right"), TABLE)
def test_the_table_of_eight_rollouts(kind, right):
    found = baseline([1] * right + [0] * (8 - right), kind)
    np.testing.assert_allclose(found[[0, -1]], TABLE[kind, right], atol=5e-5)
    group = [judged([1], i < right, index=i) for i in range(8)]
    np.testing.assert_allclose([c.advantage[0] for c in credit("outcome", group, baseline=kind)], found)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=9))
def test_baselines_are_their_definitions(rewards):
    array = np.array(rewards)
    others = [(array.sum() - r) / (len(array) - 1) for r in array]
    np.testing.assert_allclose(baseline(rewards, "rloo"), array - others, atol=1e-9)
    np.testing.assert_allclose(baseline(rewards, "mean").sum(), 0, atol=1e-9)
    if np.ptp(array) > 1e-3:
        np.testing.assert_allclose(baseline(rewards, "grpo").std(ddof=1), 1, atol=1e-5)
        np.testing.assert_allclose(baseline(rewards, "grpo", ddof=0).std(), 1, atol=1e-5)


def test_equal_rewards_leave_no_signal_however_their_mean_is_rounded():
    for kind in ("grpo", "mean", "rloo", "maxrl"):
        assert not baseline([0.1] * 7, kind).any()


def test_eps_is_added_to_what_is_divided_by():
    np.testing.assert_allclose(baseline([1, 0], "grpo", eps=0.5)[0], 0.5 / (np.sqrt(0.5) + 0.5))
    np.testing.assert_allclose(baseline([1, 0], "maxrl", eps=0.5)[0], 0.5)


@pytest.mark.parametrize(
    ("rewards", "kind", "said"),
    [
        ([1], "rloo", "'rloo' compares rollouts of a group, and this group has 1"),
        ([1, np.nan], "mean", "finite"),
        ([1, 0], "std", "unknown baseline 'std'"),
    ],
)
def test_a_mistake_is_told(rewards, kind, said):
    with pytest.raises(UserError, match=said):
        baseline(rewards, kind)


@pytest.mark.parametrize(("size", "shares"), [(4, (0.656, 0.213, 0.411)), (8, (0.430, 0.041, 0.168))])
def test_the_share_of_groups_without_signal_is_that_of_equal_outcomes(size, shares):
    silent = dict.fromkeys((0.1, 0.33, 0.8), 0.0)
    for outcomes in itertools.product((True, False), repeat=size):
        made = credit("outcome", [judged([1], outcome, index=i) for i, outcome in enumerate(outcomes)])
        for p in silent:
            silent[p] += (1 - made[0].facts["informed"]) * p ** sum(outcomes) * (1 - p) ** (size - sum(outcomes))
    np.testing.assert_allclose(list(silent.values()), shares, atol=6e-4)


def test_an_unknown_outcome_is_left_out_of_the_baseline_and_neutral():
    group = [judged([1], outcome, index=i) for i, outcome in enumerate((True, False, None))]
    assert [c.advantage[0] for c in credit("outcome", group)] == [1, -1, 0]


def batch():
    lengths = [[2, 4], [1, 3, 2]]
    return [[Credit(np.ones(n), np.ones(n)) for n in group] for group in lengths]


@pytest.mark.parametrize(
    ("mode", "first", "last", "norm"),
    [("token", 1, 1, 12), ("sequence", 1 / 2, 1 / 2, 5), ("constant", 1, 1, 50), ("prompt", 1 / 6, 1 / 6, 2)],
)
def test_the_weights_of_a_batch(mode, first, last, norm):
    weights, found = aggregate(batch(), mode, max_tokens=10)
    assert found == norm
    np.testing.assert_allclose([weights[0][0][0], weights[1][2][0]], [first, last])
    if mode in ("sequence", "prompt"):
        np.testing.assert_allclose(sum(w.sum() for group in weights for w in group), norm)


def test_tokens_without_weight_are_no_tokens():
    group = [[Credit(np.ones(4), np.array([0.0, 2, 0, 2])), Credit(np.ones(2), np.zeros(2))]]
    weights, norm = aggregate(group, "sequence")
    assert norm == 1 and weights[0][0].tolist() == [0, 1, 0, 1] and not weights[0][1].any()
    with pytest.raises(UserError, match="max_tokens"):
        aggregate(group, "constant")
    with pytest.raises(UserError, match="unknown aggregation"):
        aggregate(group, "mean")
