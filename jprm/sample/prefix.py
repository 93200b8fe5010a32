"""Prompts, and the prefix rows of one slot group: which prompt stands in which row, and who reads it. No JAX.

A row keeps its prompt when its last reader leaves, until another prompt needs the row. Only which
row a sample reads depends on others, never what it reads there.

Shape letters: B slots, R rows, M columns (the slots that read a row).
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jprm.sampling import StopWhen


@dataclasses.dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SampleRequest:
    """One prompt, shared by the samples drawn from it. It fits into the engine that it was checked for."""

    prompt: np.ndarray
    stops: tuple[int, ...]
    logprob_ids: tuple[int, ...]
    stop_when: StopWhen | None


class RowPlaces(NamedTuple):
    """Where each slot reads its prompt; read by the host as numpy and by the device as JAX arrays."""

    base_B: Any  # how many tokens of the slot's sequence stand in its row
    row_B: Any
    column_B: Any
    slots_RM: Any  # the slot at each row and column; an unused column names any slot


@dataclasses.dataclass(slots=True, eq=False)
class PrefixRow:
    """A prompt's keys and values, read by up to M slots. (Equal prompts of two requests are two.)"""

    index: int
    free_columns: list[int]
    readers: int = 0  # samples that read the row, and queued ones to which it was promised
    requests: set[SampleRequest] = dataclasses.field(default_factory=set)  # whose prompts stand at its beginning
    used: int = 0  # when it was last entered, on the clock of `PrefixRows`


class PrefixRows:
    """Rows and columns given out and taken back."""

    def __init__(self, slots: int, rows: int, row_slots: int):
        self.rows = [PrefixRow(i, list(range(row_slots))[::-1]) for i in range(rows)]
        self.holding: dict[SampleRequest, list[PrefixRow]] = {}
        base_B, row_B, column_B = np.zeros((3, slots), np.int32)
        self.places = RowPlaces(base_B, row_B, column_B, np.zeros((rows, row_slots), np.int32))
        self._clock = 0

    def find(self, request: SampleRequest) -> PrefixRow | None:
        """A row with this prompt and a free column; else the idle row that was unused for longest."""
        for row in self.holding.get(request, ()):
            if row.free_columns:
                return row
        idle = [row for row in self.rows if not row.readers]
        return min(idle, key=lambda row: row.used, default=None)

    def enter(self, slot: int, request: SampleRequest, base: int) -> tuple[PrefixRow, PrefixRow | None, bool]:
        """Let a slot read a prompt of `base` tokens, for which `find` has a row.

        Returns its row, another row from which to copy the prompt, and whether to feed it.
        """
        row = self.find(request)
        assert row is not None, "`find` was not asked"
        source, feed = None, False
        if request not in row.requests:
            holders = self.holding.get(request)
            source, feed = (holders[0] if holders else None), not holders
            self._empty(row)
            self.hold(row, request)
        self._clock += 1
        row.used, row.readers = self._clock, row.readers + 1
        column, places = row.free_columns.pop(), self.places
        places.slots_RM[row.index, column] = slot
        places.row_B[slot], places.column_B[slot], places.base_B[slot] = row.index, column, base
        return row, source, feed

    def leave(self, slot: int) -> None:
        """Take back a slot's column."""
        row = self.rows[self.places.row_B[slot]]
        row.free_columns.append(int(self.places.column_B[slot]))
        row.readers -= 1

    def hold(self, row: PrefixRow, request: SampleRequest) -> None:
        """Note that a row begins with this prompt."""
        row.requests.add(request)
        self.holding.setdefault(request, []).append(row)

    def _empty(self, row: PrefixRow) -> None:
        for request in row.requests:
            self.holding[request].remove(row)
            if not self.holding[request]:
                del self.holding[request]
        row.requests.clear()
