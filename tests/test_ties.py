"""One rule for what is equal."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.ties import below, equal, mean, places


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms())
def test_a_mean_does_not_depend_on_the_order(values, random):
    shuffled = random.sample(values, len(values))
    assert mean(shuffled) == mean(values)


def test_equality_is_relative():
    assert not equal(0.3**20, 0.2**20) and below(0.2**20, 0.3**20)
    assert equal(0.1 + 0.2, 0.3) and not below(0.3, 0.1 + 0.2)
    assert equal(1e-300, 1e-300 * (1 + 1e-12)) and not equal(0.0, 1e-300)
    assert equal(-5.0, -5.0 - 1e-12) and not equal(-5.0, 5.0)
    assert equal(math.inf, math.inf) and not equal(math.inf, -math.inf) and not equal(1.0, math.inf)
    assert equal([1.0, 2.0], [1.0, 3.0]).tolist() == [True, False]


@pytest.mark.parametrize("factors", [(0.1, 0.2, 0.7), (0.3, 0.6, 0.9, 0.11)])
def test_sums_and_products_in_any_order_share_a_place(factors):
    for reduce in (np.sum, np.prod):
        scores = [float(reduce(order)) for order in itertools.permutations(factors)]
        assert set(places(scores)) == {0}


def test_places_are_numbered_from_the_highest():
    assert places([0.2, 0.9, 0.9 + 1e-12, -math.inf, 0.2]) == [1, 0, 0, 2, 1]
    assert places([]) == [] and places([-math.inf] * 2) == [0, 0]


@given(st.lists(st.sampled_from([-2.0, 0.0, 0.25, 1e-12, 1.0]), max_size=8))
def test_sorting_by_place_is_sorting_and_keeps_the_order_of_equals(scores):
    order = sorted(range(len(scores)), key=places(scores).__getitem__)
    assert order == sorted(range(len(scores)), key=lambda i: (-scores[i], i))
