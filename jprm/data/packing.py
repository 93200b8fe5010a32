"""Packing: which documents share a row, decided once for a whole training set, and the order of the rows.

Rows are fixed before training, so that a row is a random access, the position in the data is one
integer whatever the number of hosts, nothing is lost on a restart, and the fill is known
beforehand. Every document is in exactly one row, or counted as too long.
"""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np

from jprm.data.documents import Document
from jprm.errors import UserError

TYPES = {"ids": np.int32, "positions": np.int32, "segments": np.int32, "weights": np.float32}
SOFT = {"targets": (np.float32, 1), "others": (np.int32, 0)}  # the type, and the value of a token without a label


@dataclasses.dataclass(frozen=True)
class Packing:
    """Which documents, by index, share each of `rows`, and which are `too_long` for any of `capacity` tokens."""

    rows: tuple[tuple[int, ...], ...]
    too_long: tuple[int, ...]
    capacity: int


def pack(lengths: Sequence[int], capacity: int, seed: int) -> Packing:
    """Packs documents of these lengths into rows of `capacity` tokens, by best fit in decreasing order.

    Deterministic in its arguments. The seed decides which of several documents of one length comes
    first, and the order of the rows.
    """
    # 1. Take the documents from the longest to the shortest; chance orders those of one length.
    lengths_N = np.asarray(lengths, np.int64)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(lengths_N))
    order = shuffled[np.argsort(-lengths_N[shuffled], kind="stable")]
    # 2. Put each into the row that it fills best, or into a new one.
    rows: list[list[int]] = []
    # open_rows[s]: rows with s tokens to spare. Bit s of `spare` is set when there are any, so that
    # the tightest row that fits is found by one shift, not by a walk over the rows.
    open_rows: list[list[int]] = [[] for _ in range(capacity + 1)]
    spare = 0
    for document in order:
        length = int(lengths_N[document])
        if length > capacity:
            continue
        if fitting := spare >> length:
            space = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[space].pop()
            if not open_rows[space]:
                spare ^= 1 << space
        else:
            space, row = capacity, len(rows)
            rows.append([])
        rows[row].append(int(document))
        if space > length:
            open_rows[space - length].append(row)
            spare |= 1 << (space - length)
    # 3. Order the rows by chance: so far the fullest come first.
    row_order = rng.permutation(len(rows))
    too_long = np.flatnonzero(lengths_N > capacity)
    return Packing(tuple(tuple(rows[r]) for r in row_order), tuple(too_long.tolist()), capacity)


class Rows(Sequence):
    """The packed rows, each built when it is asked for: a host builds only those that it trains on.

    `tokens`, `pairs` (query and key, for the FLOPs of attention) and `trained` (tokens with a
    weight that have one before them), each (rows,) int64, are known for all rows on every host.
    """

    def __init__(self, documents: Sequence[Document], packing: Packing, lines: Sequence[int] = ()):
        """`lines[i]` is where document i stands in its file, if it has one.

        Raises UserError when no document fits into a row.
        """
        if not packing.rows:
            raise UserError(
                f"data: none of {len(documents)} documents fits into a row of {packing.capacity} "
                "tokens; make train.row_tokens larger"
            )
        self.documents, self.packing, self.lines = documents, packing, lines
        given = [name for name in SOFT if any(getattr(document, name) is not None for document in documents)]
        self._soft = {name: SOFT[name] for name in given}
        self.names = (*TYPES, *self._soft)
        length = np.array([len(d) for d in documents], np.int64)
        trained = np.array([np.count_nonzero(d.weights[1:]) for d in documents], np.int64)
        self.tokens = self._sums(length)
        self.pairs = self._sums(length * (length + 1) // 2)
        self.trained = self._sums(trained)

    def _sums(self, of_document: np.ndarray) -> np.ndarray:
        return np.array([of_document[list(members)].sum() for members in self.packing.rows], np.int64)

    def __len__(self) -> int:
        return len(self.packing.rows)

    def __getitem__(self, row) -> dict[str, np.ndarray]:
        """Builds row number `row`, each array (capacity,).

        `ids`, `positions` (from 0 in each document) and `segments` (1, 2, ... in a row; 0 is padding) are int32,
        `weights` float32. The first token of a document has weight 0: what stands before it in the row is another text.
        `targets` and `others` are there when some document has them.
        """
        capacity = self.packing.capacity
        packed: dict[str, np.ndarray] = {n: np.zeros(capacity, kind) for n, kind in TYPES.items()}
        packed |= {n: np.full(capacity, rest, kind) for n, (kind, rest) in self._soft.items()}
        start = 0
        for segment, index in enumerate(self.packing.rows[row], 1):
            document = self.documents[index]
            here = slice(start, start + len(document))
            packed["ids"][here] = document.ids
            packed["positions"][here] = np.arange(len(document))
            packed["segments"][here] = segment
            packed["weights"][here] = document.weights
            packed["weights"][start] = 0
            for name in self._soft:
                if (values := getattr(document, name)) is not None:
                    packed[name][here] = values
            start = here.stop
        return packed

    @property
    def fill(self) -> float:
        """The part of the rows that is not padding."""
        return float(self.tokens.sum() / (len(self) * self.packing.capacity))

    def lines_of(self, row: int) -> list[int]:
        """Returns the lines of the documents of a row, in order; where there is no file, their indices."""
        members = self.packing.rows[row]
        return [self.lines[i] for i in members] if self.lines else list(members)

    def stacked(self, members: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """Returns the rows of these numbers, or all rows; each array (rows, capacity)."""
        built = [self[row] for row in (range(len(self)) if members is None else members)]
        return {name: np.stack([row[name] for row in built]) for name in self.names}


class Order:
    """The order of training, indexable without end: `Order(...)[i]` are the row numbers of batch i, (batch_rows,).

    Rows are shuffled anew every epoch, in which each comes once; a batch may straddle two epochs.
    Which rows batch i holds is a pure function of (number of rows, batch size, seed, i): resuming is
    counting, and every host knows every batch without having built it.
    """

    def __init__(self, n_rows: int, batch_rows: int, seed: int):
        """Each epoch has a shuffle of its own; all of them follow from `seed`."""
        source = grain.MapDataset.source(range(n_rows)).seed(seed & 0xFFFFFFFF)
        self._rows = source.shuffle().repeat()
        self.batch_rows = batch_rows

    def __getitem__(self, batch: int) -> np.ndarray:
        first = batch * self.batch_rows
        return np.array([self._rows[first + i] for i in range(self.batch_rows)], np.int64)
