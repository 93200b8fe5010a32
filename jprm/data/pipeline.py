"""The order of training: rows shuffled anew every epoch, in batches without end.

Which rows batch i holds is a pure function of (number of rows, batch size, seed, i): resuming is
counting, and every host knows every batch without having built it.
"""

import grain
import numpy as np


class Order:
    """Indexable without end: `Order(...)[i]` are the row numbers of batch i, (batch_rows,).

    Every row comes once an epoch; a batch may straddle two epochs.
    """

    def __init__(self, n_rows: int, batch_rows: int, seed: int):
        """A shuffle of its own for each epoch, all of them from `seed`."""
        source = grain.MapDataset.source(range(n_rows)).seed(seed & 0xFFFFFFFF)
        self._rows = source.shuffle().repeat()
        self.batch_rows = batch_rows

    def __getitem__(self, batch: int) -> np.ndarray:
        first = batch * self.batch_rows
        return np.array([self._rows[first + i] for i in range(self.batch_rows)], np.int64)
