"""The prefix rows of one bank: which prompt stands in which row, and who reads it. No JAX.

A row keeps its prompt when its last reader leaves, until another prompt needs the row. Only which
row a sample reads depends on others, never what it reads there.

Shape letters: B lanes, R rows, M columns (lanes of a row).
"""

import dataclasses

import numpy as np

from jprm.sample.request import Request


@dataclasses.dataclass(slots=True, eq=False)
class Row:
    """A prompt's keys and values, read by up to M lanes. (Equal prompts of two requests are two.)

    columns: those that are free. readers: samples that read the row, and queued ones to which it
    was promised. requests: those whose prompts stand at its beginning. used: when it was last entered.
    """

    index: int
    columns: list[int]
    readers: int = 0
    requests: set[Request] = dataclasses.field(default_factory=set)
    used: int = 0


class PrefixRows:
    """Rows and columns given out and taken back.

    row_B, column_B: where a lane reads its prompt. lanes_RM is the inverse; an unused place names
    any lane. base_B: how many tokens of a lane's sequence stand in its row.
    """

    def __init__(self, lanes: int, rows: int, row_lanes: int):
        """All rows empty."""
        self.rows = [Row(i, list(range(row_lanes))[::-1]) for i in range(rows)]
        self.holding: dict[Request, list[Row]] = {}
        self.row_B, self.column_B, self.base_B = np.zeros((3, lanes), np.int32)
        self.lanes_RM = np.zeros((rows, row_lanes), np.int32)
        self._clock = 0

    def place(self, request: Request) -> Row | None:
        """A row with this prompt and a free column; else the idle row unused for longest."""
        for row in self.holding.get(request, ()):
            if row.columns:
                return row
        idle = [row for row in self.rows if not row.readers]
        return min(idle, key=lambda row: row.used, default=None)

    def enter(self, lane: int, request: Request, base: int) -> tuple[Row, Row | None, bool]:
        """Let a lane read a prompt of `base` tokens, for which there is a `place`.

        Returns its row, another row from which to copy the prompt, and whether to feed it.
        """
        row = self.place(request)
        assert row is not None, "no place was asked for"
        source, feed = None, False
        if request not in row.requests:
            holders = self.holding.get(request)
            source, feed = (holders[0] if holders else None), not holders
            self._empty(row)
            self.hold(row, request)
        self._clock += 1
        row.used, row.readers = self._clock, row.readers + 1
        column = row.columns.pop()
        self.lanes_RM[row.index, column] = lane
        self.row_B[lane], self.column_B[lane], self.base_B[lane] = row.index, column, base
        return row, source, feed

    def leave(self, lane: int) -> None:
        """Take back a lane's column."""
        row = self.rows[self.row_B[lane]]
        row.columns.append(int(self.column_B[lane]))
        row.readers -= 1

    def hold(self, row: Row, request: Request) -> None:
        """Note that a row begins with this prompt."""
        row.requests.add(request)
        self.holding.setdefault(request, []).append(row)

    def _empty(self, row: Row) -> None:
        for request in row.requests:
            self.holding[request].remove(row)
            if not self.holding[request]:
                del self.holding[request]
        row.requests.clear()
