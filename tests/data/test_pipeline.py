import numpy as np

from jprm.data import Order


def test_every_row_comes_once_an_epoch_in_another_order():
    order = Order(10, 5, seed=3)
    epochs = [np.concatenate([order[first], order[first + 1]]) for first in (0, 2, 4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_is_decided_by_its_number_and_the_seed():
    def rows(seed, number):
        return Order(10, 4, seed)[number].tolist()  # batches straddle the epochs

    assert rows(2**62, 1000) == rows(2**62, 1000)
    assert rows(2**62, 1000) != rows(2**62, 1001)
    assert rows(0, 0) != rows(1, 0)


def test_the_order_of_a_seed_stays_from_release_to_release():
    assert Order(10, 5, 3)[0].tolist() == [4, 6, 9, 7, 5]
    assert Order(10, 5, 3)[2].tolist() == [8, 1, 3, 7, 9]
