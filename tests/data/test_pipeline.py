import numpy as np

from jprm.data import batches

ROWS = {"ids": np.arange(20).reshape(10, 2), "weights": np.ones((10, 2), np.float32)}


def test_every_row_comes_once_an_epoch_in_another_order():
    dataset = batches(ROWS, 5, seed=3)
    epochs = [
        np.concatenate([dataset[i]["ids"] for i in (first, first + 1)])[:, 0] for first in (0, 2, 4)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(0, 20, 2))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_is_decided_by_its_number_and_the_seed():
    def ids(seed, number):
        return batches(ROWS, 4, seed)[number]["ids"].tolist()  # batches straddle the epochs

    assert ids(2**62, 1000) == ids(2**62, 1000)
    assert ids(2**62, 1000) != ids(2**62, 1001)
    assert ids(0, 0) != ids(1, 0)


def test_all_arrays_of_a_batch_hold_the_same_rows():
    rows = {name: np.arange(10)[:, None] for name in ("ids", "segments")}
    batch = batches(rows, 4, 0)[7]
    assert batch["ids"].shape == (4, 1)
    assert batch["ids"].tolist() == batch["segments"].tolist()
