"""Two sets of rollouts agree as often as chance has it, and no more where their policies differ."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from jprm.errors import UserError
from jprm.label import agreement


def sets(rng, first, second, states=40, n=16):
    """Counts of two sets whose rollouts are right with the rates `first` and `second`."""
    rates = zip(np.broadcast_to(first, states), np.broadcast_to(second, states), strict=True)
    pairs = [(int(rng.binomial(n, one)), int(rng.binomial(n, other))) for one, other in rates]
    return ({f"s{i}": (c, n) for i, (c, _) in enumerate(pairs)}, {f"s{i}": (c, n) for i, (_, c) in enumerate(pairs)})


def test_p_is_uniform_where_both_sets_come_from_one_policy():
    rng = np.random.default_rng(0)
    found = [agreement(*sets(rng, r := rng.beta(1, 1, 40), r), draws=500) for _ in range(300)]
    p = np.array([one.p for one in found])
    assert abs((p < 0.05).mean() - 0.05) < 0.035 and abs(p.mean() - 0.5) < 0.05
    assert np.mean([one.chi_square / one.informative for one in found]) == pytest.approx(1, abs=0.05)


def test_another_policy_is_found_out():
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.2, 0.6, 40)
    assert agreement(*sets(rng, rates, rates + 0.25)).p < 0.01


def test_one_state_is_judged_as_by_the_exact_test():
    for counts in [(3, 9), (0, 5), (12, 15), (8, 8)]:
        expected = fisher_exact([[counts[0], 16 - counts[0]], [counts[1], 16 - counts[1]]]).pvalue
        found = agreement({"s": (counts[0], 16)}, {"s": (counts[1], 16)}, draws=40_000)
        assert found.p == pytest.approx(expected, abs=0.01), "of equal sizes, both are symmetric"


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6))
def test_the_order_of_the_sets_says_nothing_and_equal_sets_agree_best(pairs):
    first = {f"s{i}": (c, 4) for i, (c, _) in enumerate(pairs)}
    second = {f"s{i}": (c, 4) for i, (_, c) in enumerate(pairs)} | {"another": (1, 4)}
    there, back = agreement(first, second, draws=200), agreement(second, first, draws=200)
    assert there.chi_square == pytest.approx(back.chi_square) and there.states == len(pairs)
    assert there.informative == sum(0 < a + b < 8 for a, b in pairs)
    assert agreement(first, first, draws=200).p == 1


def test_sets_without_a_common_state_are_refused():
    with pytest.raises(UserError, match="no state in common"):
        agreement({"a": (1, 2)}, {"b": (1, 2)})
