"""What each row gives, by the numbers of its paper or code where there are any, and by hand where not."""

import numpy as np
import pytest

from jprm.rl import credit
from jprm.rl.credit import to_go
from jprm.rl.rows import pure, vsrm
from jprm.rl.rows.capo import marks
from jprm.rl.rows.pav import prover_advantages
from jprm.rl.rows.shaped import beginning_right
from tests.rl.groups import judged

IDLE = ((0, [0.9, 0.1, 0.9]), (1, [0.9, 0.9, 0.1, 0.9]), (3, [0.9, 0.9, 0.9, 0.9, 0.1, 0.9]))  # m, scores


def steps(name, group, **settings):
    """The advantages of each rollout by step, of groups with a token a step."""
    return [made.advantage for made in credit(name, group, **settings)]


def test_prefix_is_neutral_up_to_the_first_wrong_step():
    group = [judged([1, 1, 1], True, [[1, 1, 1]]), judged([1, 1, 1], False, [[1, 0, 1]], 1)]
    right, wrong = steps("prefix", group, center=False)
    np.testing.assert_allclose(right, [1, 1, 1])
    np.testing.assert_allclose(wrong, [0, -1, -1])
    np.testing.assert_allclose(steps("prefix", group, center=False, keep=0.5)[1], [0.5, -1, -1])
    centred = np.concatenate(steps("prefix", group))
    np.testing.assert_allclose(centred, np.concatenate([right, wrong]) - 1 / 6)


def test_prefix_trusts_the_judge_alone_where_all_are_wrong():
    group = [judged([1, 1], False, [[1, 0]]), judged([1, 1], False, [[1, 1]], 1)]
    first, second = steps("prefix", group, center=False)
    np.testing.assert_allclose(first, [0, -0.5])
    np.testing.assert_allclose(second, 0)  # no step is called wrong: the outcome, which says nothing
    assert not np.any(steps("prefix", group, center=False, all_wrong=0.0))


def test_vppo_pays_the_last_token_of_the_right_beginning():
    group = [judged([1], True), judged([2, 2], False, [[1, 0]], 1)]
    np.testing.assert_allclose(steps("vppo", group)[1], [-1, 0.5, -1, -1])
    np.testing.assert_allclose(steps("vppo", group, cut_back=1)[1], [0.5, -1, -1, -1])
    np.testing.assert_allclose(steps("vppo", group, cut_back=2)[1], -1)
    np.testing.assert_allclose(steps("vppo", group, drop_negative=True)[1], [0, 0.5, 0, 0])


def test_capo_has_the_numbers_of_its_pin():
    group = [judged([6, 4], True, [[1, 0]] * 4), judged([3, 3], False, [[1, 0]] * 4, 1)]
    first, second = steps("capo", group)
    found = [first[0], first[-1], second[0], second[-1]]
    np.testing.assert_allclose(found, [1.0173, 0.1606, -0.6961, -1.5528], atol=5e-5)


@pytest.mark.parametrize(("marking", "marked"), [("intersection", 0), ("majority", 1), ("union", 1), ("mean", 0.5)])
def test_capo_marks_by_the_votes_that_can_be_read(marking, marked):
    votes = [[1, 0, 0], [1, 1, 0], [1, -1, -1]]
    np.testing.assert_allclose(marks(judged([1, 1, 1], False, votes), marking), [0, marked, 1])


def spark_group():
    return [judged([1, 1], None, [[1, 1]]), judged([1, 1], None, [[1, 0]], 1), judged([1, 1], None, [[-1, -1]], 2)]


def test_spark_takes_the_verdict_for_the_answer_and_an_unreadable_one_for_none():
    a = 1 / np.sqrt(2)
    np.testing.assert_allclose(steps("spark-process", spark_group()), [[a, a], [-a, -a], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(steps("spark-step-aug", spark_group()), [[a, a], [-a, -a], [0, 0]], atol=1e-6)
    mixed = [*spark_group(), judged([1, 1], None, [[0, 0]], 3)]
    rewards = np.array([1, 0.4 / 2, 0])
    expected = (rewards - rewards.mean()) / rewards.std(ddof=1)
    found = [advantage[0] for advantage in steps("spark-step-aug", mixed)]
    np.testing.assert_allclose(found, [*expected[:2], 0, expected[2]], atol=1e-6)


def test_spark_selective_keeps_what_agrees_with_the_step():
    a = 1 / np.sqrt(2)
    np.testing.assert_allclose(steps("spark-selective", spark_group()), [[a, a], [0, -a], [0, 0]], atol=1e-6)
    assert not np.any(steps("spark-selective", spark_group(), fewest=3))
    assert not np.any(steps("spark-selective", spark_group(), most=1))


def test_spark_global_adds_normalised_step_rewards_to_go():
    signs = np.array([0.5, 0.5, 0.5, -0.5])
    normal = (signs - signs.mean()) / signs.std(ddof=1)
    first, second, third = steps("spark-global", spark_group())
    a = 0.8 / np.sqrt(2)
    np.testing.assert_allclose(first, 0.2 * to_go(normal[:2]) + a, atol=1e-6)
    np.testing.assert_allclose(second, 0.2 * to_go(normal[2:]) - a, atol=1e-6)
    assert not third.any()


@pytest.mark.parametrize(
    ("shares", "rewards"),
    [((0.2, 0.2, 0.6, 1, 1, 1), (0.28, 0.4, 0.4, 0, 0)), ((0, 0, 0, 0, 0, 1), (0.2401, 0.343, 0.49, 0.7, 1))],
)
def test_vsrm_looks_ahead_as_its_code_does(shares, rewards):
    np.testing.assert_allclose(vsrm.step_rewards(np.array(shares), 4), rewards, atol=5e-5)
    np.testing.assert_allclose(vsrm.step_rewards(np.array(shares)).sum(), shares[-1] - shares[0])


def test_vsrm_with_look_ahead_pays_for_padding_and_without_it_does_not():
    """The same rise behind so many idle steps: paid up to 1.77 times more."""
    rises = [np.array([0.0] * (idle + 1) + [1.0]) for idle in range(5)]
    paid = [vsrm.step_rewards(rise, 4).sum() for rise in rises]
    assert paid == sorted(paid) and paid[-1] == pytest.approx(2.7731)
    assert [vsrm.step_rewards(rise).sum() for rise in rises] == [1] * 5
    padded = [judged([1] * 2, True, prefix=[0.5, 0.5, 1]), judged([1], False, index=1, prefix=[0.5, 0])]
    np.testing.assert_allclose(steps("vsrm", padded, accumulate=False)[0], [1, 1.5])
    np.testing.assert_allclose(steps("vsrm", padded)[0], [1.5, 1.5])


def test_pav_credits_a_step_with_its_own_advantage_under_the_best_of_k():
    group = [judged([1, 1], True, values=[0.5, 0.75, 1]), judged([1], False, index=1, values=[0.5, 0])]
    q = 1 - (1 - np.array([0.5, 0.75, 1])) ** 4
    np.testing.assert_allclose(prover_advantages(group[0]), np.diff(q))
    np.testing.assert_allclose(steps("pav", group)[0], 1 + 3 * np.diff(q))
    np.testing.assert_allclose(steps("pav", group, accumulate=True)[0], 1 + 3 * (q[-1] - q[:-1]))


def test_pure_has_the_numbers_of_its_pin():
    returns = to_go(pure.step_rewards(np.array([0.9, 0.8, -0.6, 0.7])))
    np.testing.assert_allclose(returns, [-0.6, -0.6, -0.6, 0], atol=5e-4)
    assert pure.step_rewards(np.array([np.nan, 0.5])).tolist() == [0, 0.5]


def test_pure_compares_each_token_with_those_of_the_others():
    group = [judged([2, 1], None, [[1, 0]], p_yes=[[0.9, 0.2]]), judged([4], None, [[1]], 1, p_yes=[[0.7]])]
    first = pure.step_rewards(np.array([0.8, -0.6])) - np.array([2, 1]) * 0.4 / 4
    np.testing.assert_allclose(steps("pure", group)[0], to_go(first)[[0, 0, 1]])
    np.testing.assert_allclose(steps("pure", group)[1], 0.4 - 4 * pure.step_rewards(np.array([0.8, -0.6])).sum() / 3)


def test_verigate_speaks_where_the_outcome_says_nothing():
    def group(*outcomes):
        scores = ([0.9, 0.1], [0.4])
        pairs = enumerate(zip(outcomes, scores, strict=True))
        return [judged([1] * len(s), outcome, [[1] * len(s)], i, p_yes=[s]) for i, (outcome, s) in pairs]

    assert not np.any(np.concatenate(steps("verigate", group(True, True))))
    np.testing.assert_allclose(np.concatenate(steps("verigate", group(True, False))), [1, 1, -1])
    sums = np.array([1.0, 0.1, 0.4])
    np.testing.assert_allclose(
        np.concatenate(steps("verigate", group(False, False))), (sums - sums.mean()) / sums.std(ddof=1), atol=1e-6
    )


def test_the_potential_is_the_mean_over_votes_of_their_products():
    one = judged([1, 1], True, [[1, 1], [1, 0]], p_yes=[[0.8, 0.5], [0.6, 0.1]])
    np.testing.assert_allclose(beginning_right(one), [1, 0.7, (0.4 + 0.06) / 2])
    np.testing.assert_allclose(beginning_right(judged([1, 1], True, [[1, -1]], p_yes=[[0.8, 0.5]])), [1, 0.8, 0.8])
    group = [one, judged([1], False, index=1)]
    np.testing.assert_allclose(steps("shaped", group)[0], [1, 1 + 0.3])
    np.testing.assert_allclose(steps("shaped", group, scale=0.5)[0], [1, 1 + 0.15])


@pytest.mark.parametrize(("idle", "scores"), IDLE)
def test_which_row_pays_for_idle_steps(idle, scores):
    """Scores (.9, .1, .9) with empty steps of .9 in front: what rewards of these kinds come to (section 5.11)."""
    expected = {0: (1.9, 0.633, 0.667, 0.081), 1: (2.8, 0.7, 0.75, 0.073), 3: (4.6, 0.767, 0.833, 0.059)}[idle]
    one = judged([1] * len(scores), False, [np.round(scores)], p_yes=[scores])
    sums, mean, right, product = to_go(one.scores)[0], one.scores.mean(), one.verdicts.mean(), beginning_right(one)[-1]
    np.testing.assert_allclose([sums, mean, right, product], expected, atol=6e-4)
    np.testing.assert_allclose(to_go(pure.step_rewards(2 * one.scores - 1))[0], -0.8, atol=1e-5)
    # the idle steps have nothing of their own where a step is credited with what it changes
    wrong = 1 + idle
    values = np.where(np.arange(len(scores) + 1) < wrong + 1, 0.5, 0.0)
    one = judged([1] * len(scores), False, [np.round(scores)], p_yes=[scores], values=values)
    group = [one, judged([1], False, index=1, values=[0.5, 0])]
    for name, about in (("pav", {}), ("prefix", {"center": False}), ("shaped-values", {})):
        assert not steps(name, group, **about)[0][:idle].any(), name
