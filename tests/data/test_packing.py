import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.data import Document, Order, Rows, pack
from jprm.errors import UserError

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


@given(LENGTHS, st.integers(1, 32), st.integers(0, 2**63 - 1))
def test_every_document_is_in_one_row_or_too_long(lengths, capacity, seed):
    packing = pack(lengths, capacity, seed)
    packed = [i for row in packing.rows for i in row]
    assert sorted([*packed, *packing.too_long]) == list(range(len(lengths)))
    assert all(lengths[i] > capacity for i in packing.too_long)
    assert all(sum(lengths[i] for i in row) <= capacity for row in packing.rows)
    assert packing == pack(lengths, capacity, seed)
    fills = sorted(sum(lengths[i] for i in row) for row in packing.rows)
    assert len(fills) < 2 or fills[0] + fills[1] > capacity  # any two rows would not have fitted into one


def test_the_seed_orders_rows_and_documents_of_one_length():
    lengths = [5] * 20
    first, second = pack(lengths, 10, 0), pack(lengths, 10, 1)
    assert {frozenset(row) for row in first.rows} != {frozenset(row) for row in second.rows}


def test_rows_are_nearly_full():
    lengths = np.random.default_rng(0).integers(20, 120, 2000)
    packing = pack(lengths, 256, 0)
    assert lengths.sum() / (len(packing.rows) * 256) > 0.98


@given(LENGTHS.filter(bool), st.integers(0, 9))
def test_rows_hold_the_documents_unchanged(lengths, seed):
    rng = np.random.default_rng(seed)
    documents = [Document(rng.integers(0, 99, n, dtype=np.int32), rng.random(n, dtype=np.float32)) for n in lengths]
    packing = pack(lengths, 40, seed)
    packed = Rows(documents, packing).stacked()
    for row, members in enumerate(packing.rows):
        for segment, index in enumerate(members, 1):
            here = packed["segments"][row] == segment
            assert packed["ids"][row, here].tolist() == documents[index].ids.tolist()
            assert packed["positions"][row, here].tolist() == list(range(lengths[index]))
            weights = packed["weights"][row, here]
            assert weights[0] == 0  # nothing of this document stands before it
            assert weights[1:].tolist() == documents[index].weights[1:].tolist()
    padding = packed["segments"] == 0
    assert not packed["weights"][padding].any() and not packed["ids"][padding].any()


def test_no_document_fits_is_a_user_error():
    document = Document(np.zeros(9, np.int32), np.ones(9, np.float32))
    with pytest.raises(UserError, match="row_tokens"):
        Rows([document], pack([9], 8, 0))


def test_soft_labels_are_packed_where_their_documents_are():
    def document(n, targets, others):
        soft = np.full(n, targets, np.float32) if targets else None
        ids = np.zeros(n, np.int32)
        other = np.full(n, others, np.int32) if others else None
        return Document(ids, np.ones(n, np.float32), soft, other)

    documents = [document(3, 0.25, 7), document(5, None, None), document(4, 0.5, None)]
    packed = Rows(documents, pack([3, 5, 4], 8, seed=0)).stacked()
    expected = {3: (0.25, 7), 5: (1, 0), 4: (0.5, 0)}  # of a document without: all of it
    seen = set()
    for targets, others, segments in zip(packed["targets"], packed["others"], packed["segments"], strict=True):
        for segment in range(1, segments.max() + 1):
            here = segments == segment
            seen.add(int(here.sum()))
            target, other = expected[int(here.sum())]
            assert set(targets[here]) == {target} and set(others[here]) == {other}
    assert seen == {3, 4, 5}
    plain = Rows(documents[1:2], pack([5], 8, 0))
    assert plain.names == ("ids", "positions", "segments", "weights")


@given(LENGTHS.filter(bool), st.integers(0, 9))
def test_counts_of_rows_are_those_of_the_rows_built(lengths, seed):
    rng = np.random.default_rng(seed)
    documents = [Document(np.zeros(n, np.int32), rng.integers(0, 2, n).astype(np.float32)) for n in lengths]
    packed = Rows(documents, pack(lengths, 40, seed), range(100, 100 + len(lengths)))
    for i in range(len(packed)):
        row = packed[i]
        real = row["segments"] > 0
        assert packed.tokens[i] == real.sum()
        assert packed.pairs[i] == (row["positions"][real] + 1).sum()
        assert packed.trained[i] == (row["weights"] > 0).sum()
        assert packed.lines_of(i) == [100 + d for d in packed.packing.rows[i]]
    assert packed.fill == packed.tokens.sum() / (len(packed) * 40)


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
