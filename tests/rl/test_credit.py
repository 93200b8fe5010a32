"""What holds for the credit of every row, on any group."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.rl import Judged, Rollout, by_step, credit, even, find_row, row
from tests.rl.groups import groups, judged

ROWS = tuple(row)


def test_the_rows_are_those_of_the_docs():
    assert set(ROWS) == {
        *("outcome", "shaped", "shaped-values", "prefix", "vppo", "capo", "vsrm", "pav", "pure", "verigate"),
        *("spark-process", "spark-step-aug", "spark-selective", "spark-global"),
        *("sibling", "granular", "tree", "depth"),
    }


@given(group=groups(), data=st.data())
def test_credit_is_finite_keeps_out_what_was_not_drawn_and_follows_the_group(group, data):
    order = data.draw(st.permutations(range(len(group))))
    for name in ROWS:
        made = credit(name, group)
        for rollout, given_credit in zip(group, made, strict=True):
            trained = rollout.rollout.trained
            assert np.isfinite(given_credit.advantage).all(), name
            assert np.isfinite(given_credit.weight).all() and (given_credit.weight >= 0).all(), name
            assert not given_credit.weight[~trained].any() and not given_credit.advantage[~trained].any(), name
        for moved, i in zip(credit(name, [group[i] for i in order]), order, strict=True):
            np.testing.assert_allclose(moved.advantage, made[i].advantage, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(moved.weight, made[i].weight, atol=1e-12, err_msg=name)


@given(group=groups())
def test_an_unreadable_vote_is_no_vote(group):
    more = [
        replace(
            one,
            votes=np.vstack([one.votes, np.full((1, one.n_steps), -1)]),
            p_yes=np.vstack([one.p_yes, np.full((1, one.n_steps), 0.3)]),
        )
        for one in group
    ]
    for name in ROWS:
        for plain, other in zip(credit(name, group), credit(name, more), strict=True):
            np.testing.assert_allclose(plain.advantage, other.advantage, atol=1e-9, err_msg=name)


@given(group=groups())
def test_a_group_that_tells_nothing_has_no_advantage_and_says_so(group):
    flat = {"votes": np.zeros((0, 0)), "p_yes": np.zeros((0, 0)), "outcome": None, "guard": ()}
    blank = [
        replace(one, **flat, values=np.full(one.n_steps + 1, 0.5), prefix=np.full(one.n_steps + 1, 0.5))
        for one in group
    ]
    for name in ROWS:
        for given_credit in credit(name, blank):
            assert not given_credit.advantage.any() and given_credit.facts["informed"] == 0, name


@given(group=groups())
def test_a_guarded_rollout_is_never_paid_more_than_an_honest_one(group):
    group = [replace(group[0], guard=("tags",)), *(replace(one, guard=()) for one in group[1:])]
    trained = [one.rollout.trained for one in group]
    for name in ROWS:
        mine, *others = (c.advantage[of] for c, of in zip(credit(name, group), trained, strict=True))
        honest = [advantage.mean() for advantage in others if len(advantage)]
        assert not honest or not len(mine) or mine.max() <= min(honest) + 1e-9, name


def test_what_breaks_an_invariant_is_refused():
    group = [judged([2], True), judged([1, 1], False, index=1)]
    bad = {
        "nan": lambda group: [even(one, np.nan) for one in group],
        "short": lambda group: [even(group[0], 1.0)],
        "long": lambda group: [replace(even(one, 1.0), advantage=np.zeros(9)) for one in group],
        "below": lambda group: [replace(even(one, 1.0), weight=-np.ones(2)) for one in group],
    }
    for name, made in bad.items():
        made.__qualname__ = f"bad.{name}"
        row(f"bad-{name}")(made)
    said_of = {"nan": "not finite", "short": "1 credits for 2", "long": "numbers for", "below": "below 0"}
    for name, said in said_of.items():
        with pytest.raises(UserError, match=said):
            credit(f"bad-{name}", group)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("outcom", {}, "no row 'outcom'; nearest is 'outcome'"),
        ("pav", {"alhpa": 1}, "the row pav has no setting 'alhpa'; known: alpha, best_of, accumulate"),
        ("pav", {}, "the row pav needs 'values', which rollout 0 does not have"),
        ("vsrm", {}, "the row vsrm needs 'prefix'"),
        ("outcome", {"baseline": "gppo"}, "unknown baseline 'gppo'; known: grpo, mean, rloo, maxrl, none"),
        ("capo", {"marking": "all"}, "unknown marking 'all'"),
        ("sibling", {"against": "uncle"}, "against = 'uncle'"),
    ],
)
def test_a_mistake_is_told_in_one_line(name, settings, said):
    with pytest.raises(UserError, match=said) as raised:
        credit(name, [judged([1], True), judged([1], False, index=1)], **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("capo", "spark-global")])
def test_a_group_of_one_with_a_baseline_of_the_group_is_refused(name):
    alone = judged([1, 1], True, [[1, 0]], values=[0.5, 0.5, 1], prefix=[0.5, 0.5, 1])
    with pytest.raises(UserError, match="this group has 1"):
        credit(name, [alone])


def test_a_group_is_of_one_problem_and_not_empty():
    other = replace(judged([1], True), rollout=Rollout("q", 1, 0, [1], [-1.0], [0], "stop"))
    with pytest.raises(UserError, match="of one problem, and this one of p, q"):
        credit("outcome", [judged([1], True), other])
    with pytest.raises(UserError, match="without rollouts"):
        credit("outcome", [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"votes": [[1, 2]]}, "'votes' must be"),
        ({"votes": [[1]]}, "'step_of' has 2 steps, but 'votes' judge 1"),
        ({"p_yes": [[0.5, 1.5]]}, "'p_yes' must lie between 0 and 1"),
        ({"p_yes": [[0.5]]}, "'p_yes' has the shape"),
        ({"values": [0.5, 0.5]}, "'values' has 2 numbers for 2 steps"),
        ({"prefix": [0.5, np.nan, 1]}, "'prefix' holds a number that is not finite"),
        ({"nodes": [0]}, "'nodes' has 1 numbers for 2 steps"),
    ],
)
def test_a_record_whose_parts_do_not_fit_is_refused(change, said):
    about = {"votes": [[1, 0]], "p_yes": [[0.5, 0.5]]} | change
    if "votes" in change and "p_yes" not in change:
        about["p_yes"] = np.full(np.shape(change["votes"]), 0.5)
    with pytest.raises(UserError, match=said):
        Judged(Rollout("p", 0, 0, [1, 2], [-1, -1], [0, 1], "stop"), True, **about)


def test_a_rollout_whose_arrays_do_not_fit_is_refused():
    with pytest.raises(UserError, match="different lengths"):
        Rollout("p", 0, 0, [1, 2], [-1], [0, 0], "stop")
    with pytest.raises(UserError, match="come in their order"):
        Rollout("p", 0, 0, [1, 2], [-1, -1], [1, 0], "stop")


def test_what_is_known_of_steps():
    one = judged([1, 1, 1, 1], None, [[1, 0, -1, 1], [1, 0, -1, 0]], p_yes=[[0.9, 0.2, 0.5, 0.6], [0.7, 0.4, 0.5, 0.3]])
    np.testing.assert_array_equal(one.right_share, [1, 0, np.nan, 0.5])
    np.testing.assert_array_equal(one.verdicts, [1, 0, np.nan, 1])  # a tie does not accuse
    np.testing.assert_allclose(one.scores, [0.8, 0.3, np.nan, 0.45])
    assert one.first_wrong == 1


def test_no_votes_may_say_how_many_steps_there_are():
    one = Judged(Rollout("p", 0, 0, [1], [-1], [0], "stop"), True, np.zeros((0, 3)), values=[0.5, 0.5, 0.5, 1])
    assert one.n_steps == 3 and np.isnan(one.verdicts).all() and one.first_wrong is None
    with pytest.raises(UserError, match="'values' has 4 numbers for 1 steps"):
        Judged(Rollout("p", 0, 0, [1], [-1], [0], "stop"), True, values=[0.5, 0.5, 0.5, 1])


def test_needs_are_names_and_the_row_keeps_them():
    assert find_row("pav").needs == {"outcome", "values"}
    with pytest.raises(UserError, match="nothing is called 'vote'"):
        row("typo", needs=("vote",))(lambda group: [])


def test_tokens_have_the_advantage_of_their_step():
    one = judged([2, 1], True, forced=(1,))
    assert by_step(one, [3, 4]).advantage.tolist() == [3, 3, 4]
    assert by_step(one, [3, 4]).weight.tolist() == [1, 0, 1]
