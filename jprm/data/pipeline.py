"""The input pipeline: packed rows, shuffled anew every epoch, in batches without end.

Batch i is a pure function of (rows, batch size, seed, i): resuming is counting, and every host can
build every batch.
"""

from collections.abc import Sequence

import grain
import numpy as np


class _Rows(Sequence):
    """A grain data source: row i of every array."""

    def __init__(self, packed: dict[str, np.ndarray]):
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed["ids"])

    def __getitem__(self, row) -> dict[str, np.ndarray]:
        return {name: array[row] for name, array in self._packed.items()}


def batches(packed: dict[str, np.ndarray], batch_rows: int, seed: int) -> grain.MapDataset:
    """Indexable without end: `batches(...)[i]` is batch i, a dict of arrays (batch_rows, capacity).

    Every row comes once an epoch; a batch may straddle two epochs.
    """
    dataset = grain.MapDataset.source(_Rows(packed)).seed(seed & 0xFFFFFFFF).shuffle().repeat()
    return dataset.batch(batch_rows)
