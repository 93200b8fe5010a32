"""Votes, rewards and the first error, by value and by property."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.verify.votes import first_error, mean_reward, probability_yes, verdict_position

REWARDS = st.lists(st.none() | st.floats(0, 1), max_size=9)


@pytest.mark.parametrize(
    ("rewards", "mean"),
    [
        ([1.0, 0.0, 0.0], 1 / 3),
        ([1.0, 1.0, 0.0, None], 2 / 3),
        ([1.0, 0.0], 0.5),
        ([0.9, 0.4, 0.4], 17 / 30),
        ([None, None], None),
        ([], None),
    ],
)
def test_mean(rewards, mean):
    assert mean_reward(rewards) == (mean if mean is None else pytest.approx(mean))


def test_first_error():
    assert first_error([0.9, 0.5, 0.49, 0.1]) == 2
    assert first_error([1.0, None, 1.0]) is None, "a right solution needs all its steps judged"
    assert first_error([None, 0.0]) is None, "the step before may be the first error"
    assert first_error([0.0, None]) == 0, "nothing behind the first error is needed"
    assert first_error([]) == -1
    assert first_error([0.6, 0.7], threshold=0.65) == 0
    assert first_error([mean_reward([1.0, 0.0])]) == -1  # a tie accuses nobody


@given(REWARDS)
def test_silent_votes_change_nothing(rewards):
    judged = [reward for reward in rewards if reward is not None]
    assert mean_reward(rewards) == mean_reward(judged)


@given(st.lists(st.floats(0, 0.4999), min_size=1, max_size=6))  # clear of 0.5, to which jprm.ties rounds
def test_no_subset_defends_what_every_vote_denies(rewards):
    """The ground on which `stop_early` stands."""
    for size in range(1, len(rewards) + 1):
        for subset in combinations(rewards, size):
            assert first_error([mean_reward(subset)]) == 0


@given(st.floats(-50, 0), st.floats(-50, 0), st.floats(0.1, 10))
def test_probability_yes_is_the_softmax_of_two(yes, no, temperature):
    weights = [math.exp(yes / temperature), math.exp(no / temperature)]
    if min(weights) > 0:
        expected = weights[0] / sum(weights)
        assert probability_yes(yes, no, temperature) == pytest.approx(expected, abs=1e-12)


def test_probability_yes_at_the_limits():
    assert probability_yes(-1e9, 0.0) == 0.0 and probability_yes(0.0, -1e9) == 1.0
    assert probability_yes(-math.inf, -2.0) == 0.0
    assert probability_yes(-math.inf, -math.inf) is None
    assert [probability_yes(a, -1.0, 0.0) for a in (-2.0, -1.0, -0.5)] == [0.0, 0.5, 1.0]


def test_verdict_position_is_the_last_exact_token():
    yes, no = 7, 8
    assert verdict_position([1, yes, 2, yes, 3], yes, no, correct=True) == 3
    assert verdict_position([yes, no], yes, no, correct=False) == 1
    assert verdict_position([no, 1, 2], yes, no, correct=True) is None  # "Y" + "es" were written
    assert verdict_position([1, 2], yes, no, correct=True) is None
