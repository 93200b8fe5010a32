"""Adaptive voting against every order of the votes, and the promise of its rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import replay_adaptive, stopping_rule, vote_curve

steps = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=n, max_size=n), min_size=1, max_size=3)
)


def _walk(votes, stop, n_max):
    """One order of a step's votes: whether it is rejected, or not judged, and after how many votes."""
    yes = no = 0
    for t in range(n_max + 1):
        if t == n_max or (stop is not None and stop[yes, no, n_max - t]):
            return yes < 0.5 * (yes + no), yes + no == 0, t
        yes, no = yes + (votes[t] == 1), no + (votes[t] == 0)
    raise AssertionError


@given(steps, st.sampled_from([0.0, 0.05, 0.3]), st.data())
def test_every_order_of_every_step_equals_enumeration(item, risk, data):
    n_max = data.draw(st.integers(1, len(item[0])))
    label = data.draw(st.integers(-1, len(item) - 1))
    found = replay_adaptive([item], [label], ["p"], risk=risk, n_max=n_max)
    for rule, correct, missing, votes in (
        (stopping_rule(n_max, risk), found.correct, found.missing, found.votes),
        (None, found.fixed_correct, found.fixed_missing, found.fixed_votes),
    ):
        alive, passed, spent, right, silent = 1.0, 1.0, 0.0, 0.0, 0.0
        for t, step in enumerate(item):
            walks = [_walk(order, rule, n_max) for order in itertools.permutations(step)]
            reject, unjudged, drawn = np.mean(walks, axis=0)
            spent += alive * drawn
            right += passed * reject * (t == label)
            silent += passed * unjudged
            alive *= 1 - reject
            passed *= 1 - reject - unjudged
        right += passed * (label < 0)
        assert correct[0] == pytest.approx(right) and votes[0] == pytest.approx(spent)
        assert missing[0] == pytest.approx(silent)


@given(steps, st.data())
def test_without_risk_nothing_changes_but_the_votes(item, data):
    label = data.draw(st.integers(-1, len(item) - 1))
    found = replay_adaptive([item], [label], ["p"], risk=0.0)
    assert found.correct[0] == pytest.approx(found.fixed_correct[0])
    assert found.votes[0] <= found.fixed_votes[0]
    all_votes = vote_curve([item], [label], ["p"]).at(len(item[0]))[0]
    assert found.fixed_correct[0] == pytest.approx(all_votes)


@pytest.mark.parametrize("n_max", [5, 16])
@pytest.mark.parametrize("risk", [0.01, 0.05, 0.2])
def test_under_its_prior_the_rule_keeps_its_promise(n_max, risk):
    """With rates spread evenly, 0..n_max Yes are equally likely, and at most `risk` turn out else."""
    turned = []
    for yes in range(n_max + 1):
        step, label = [1.0] * yes + [0.0] * (n_max - yes), 0 if yes < n_max / 2 else -1
        turned.append(1 - replay_adaptive([[step]], [label], ["p"], risk=risk).correct[0])
    assert -1e-12 < np.mean(turned) <= risk
    assert np.mean(turned) > 0.2 * risk or n_max == 5  # few votes leave few places to stop at


def test_the_rule_is_the_posterior_probability_of_a_turn():
    """8 Yes to 2 No with 6 to come: a draw from the posterior, six tosses, and a count."""
    rng = np.random.default_rng(0)
    tosses = rng.binomial(6, rng.beta(9, 3, 400_000))
    turn = float((8 + tosses < 8).mean())  # at least 8 of 16 pass
    assert turn == 0.0 and stopping_rule(16, 0.0)[8, 2, 6]
    turn = float((6 + rng.binomial(8, rng.beta(7, 3, 400_000)) < 8).mean())
    assert stopping_rule(16, turn + 0.002)[6, 2, 8] and not stopping_rule(16, turn - 0.002)[6, 2, 8]
    assert not stopping_rule(16, 0.2)[0, 0, 16]


def _items(n, seed):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < 0.5, -1, rng.integers(0, 3, n))
    rate = rng.beta(6, 2, (n, 3))
    rate[np.flatnonzero(labels >= 0), labels[labels >= 0]] = rng.beta(2, 6, (labels >= 0).sum())
    return (rng.random((n, 3, 16)) < rate[..., None]).astype(float).tolist(), labels.tolist()


def test_more_risk_saves_more_and_the_row_says_so():
    rewards, labels = _items(300, seed=1)
    rows = [replay_adaptive(rewards, labels, range(300), risk=r).row() for r in (0, 0.01, 0.1)]
    saved = [row["saved"] for row in rows]
    assert 0.2 < saved[0] < saved[1] < saved[2] < 1
    assert all(row["saved_low"] < row["saved"] < row["saved_high"] for row in rows)
    assert rows[0]["f1_change"] == pytest.approx(0.0, abs=1e-12)
    assert rows[1]["f1_change_low"] <= rows[1]["f1_change"] <= rows[1]["f1_change_high"]
    assert abs(rows[1]["f1_change"]) < 0.01
    fixed = replay_adaptive(rewards, labels, range(300))
    assert fixed.row()["votes_per_item_fixed"] == pytest.approx(fixed.fixed_votes.mean())


@pytest.mark.parametrize(
    ("rewards", "arguments", "message"),
    [
        ([[[1.0, 0.5]]], {}, "read out 'vote'"),
        ([[[1.0, 0.0]]], {"n_max": 3}, "2 votes are stored"),
        ([[[1.0, 0.0]]], {"risk": 1.0}, "risk is 1.0"),
        ([[[1.0, 0.0], [1.0]]], {}, "item 0: rewards must be"),
        ([[[1.0]], [[1.0, 0.0]]], {}, "items differ"),
        ([], {}, "0 reward tables"),
    ],
)
def test_what_cannot_be_replayed_is_refused(rewards, arguments, message):
    with pytest.raises(UserError, match=message):
        replay_adaptive(rewards, [-1] * len(rewards), range(len(rewards)), **arguments)
