"""Packing: which documents share a row, decided once for a whole training set.

Rows are fixed before training, so that a row is a random access, the position in the data is one
integer whatever the number of hosts, nothing is lost on a restart, and the fill is known
beforehand. Every document is in exactly one row, or counted as too long.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jprm.data.documents import Document
from jprm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """`rows`: the documents of each row, by index; `too_long`: those that fit in no row."""

    rows: tuple[tuple[int, ...], ...]
    too_long: tuple[int, ...]
    capacity: int


def plan(lengths: Sequence[int], capacity: int, seed: int, max_segments: int = 0) -> Plan:
    """Best-fit-decreasing packing of documents of these lengths into rows of `capacity` tokens.

    Deterministic in its arguments. The seed decides which of several documents of one length comes
    first, and the order of the rows. `max_segments` limits the documents of a row (0: no limit).
    """
    lengths_N = np.asarray(lengths, np.int64)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(lengths_N))
    order = shuffled[np.argsort(-lengths_N[shuffled], kind="stable")]
    rows: list[list[int]] = []
    # open_rows[s]: rows with s tokens to spare. Bit s of `spare` is set when there are any, so that
    # the tightest row that fits is found by one shift, not by a walk over the rows.
    open_rows: list[list[int]] = [[] for _ in range(capacity + 1)]
    spare = 0
    for document in order:
        length = int(lengths_N[document])
        if length > capacity:
            continue
        fitting = spare >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[space].pop()
            if not open_rows[space]:
                spare ^= 1 << space
        else:
            space, row = capacity, len(rows)
            rows.append([])
        rows[row].append(int(document))
        if space > length and len(rows[row]) != max_segments:
            open_rows[space - length].append(row)
            spare |= 1 << (space - length)
    row_order = rng.permutation(len(rows))
    too_long = np.flatnonzero(lengths_N > capacity)
    return Plan(tuple(tuple(rows[r]) for r in row_order), tuple(int(i) for i in too_long), capacity)


def rows(documents: Sequence[Document], plan: Plan) -> dict[str, np.ndarray]:
    """The packed rows, each array (rows, capacity).

    `ids`, `positions` (from 0 in each document) and `segments` (1, 2, ... in a row; 0 is padding)
    are int32, `weights` float32. The first token of a document has weight 0: what stands before it
    in the row is another text. Raises UserError when no document fits.
    """
    if not plan.rows:
        raise UserError(
            f"data: none of {len(documents)} documents fits into a row of {plan.capacity} tokens; "
            "make train.row_tokens larger"
        )
    shape = (len(plan.rows), plan.capacity)
    types = {"ids": np.int32, "positions": np.int32, "segments": np.int32, "weights": np.float32}
    packed: dict[str, np.ndarray] = {name: np.zeros(shape, kind) for name, kind in types.items()}
    for row, members in enumerate(plan.rows):
        start = 0
        for segment, index in enumerate(members, 1):
            document = documents[index]
            here = slice(start, start + len(document))
            packed["ids"][row, here] = document.ids
            packed["positions"][row, here] = np.arange(len(document))
            packed["segments"][row, here] = segment
            packed["weights"][row, here] = document.weights
            packed["weights"][row, start] = 0
            start = here.stop
    return packed
