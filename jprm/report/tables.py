"""A table is declared once, as data, and shown twice: as text on a terminal and as HTML on a page.

Its rows are plain dicts, as in `results.jsonl`; an estimate called `f1` stands there as `f1`, `f1_low` and `f1_high`. A
`Column` says under which heading a value of a row is shown, and as what.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import rich.table
from rich.console import Console

from jprm.evaluate import Interval, interval_of
from jprm.terminal import terminal

Row = Mapping[str, Any]
# plain        a text, a number, or True and False as yes and no
# share        a number between 0 and 1, shown in percent
# interval     an estimate with the ends of its interval
# percent      the same in percent
# difference   the same with a sign; the page marks where zero is
# size         the same with metric suffixes, for numbers of any size such as parameters
Kind = Literal["plain", "share", "interval", "percent", "difference", "size"]
_ANY_WIDTH = 10_000  # characters, more than any table has
_LINE = 72  # characters of a cell of the terminal; longer texts are broken into lines
LONG_TEXT = 24  # characters of a cell; the page breaks longer ones into lines


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading, the key of the value in a row, and how the value is shown."""

    heading: str
    key: str
    kind: Kind = "plain"

    def interval(self, row: Row) -> Interval | None:
        """The interval of a row that the column shows; None where there is none."""
        has_ends = self.kind not in ("plain", "share") and f"{self.key}_low" in row
        return interval_of(row, self.key) if has_ends else None

    def shown(self, row: Row) -> tuple[str | None, str]:
        """What stands in the cell of a row (None where nothing is known), and the ends of its interval or ""."""
        value = row.get(self.key)
        if value is None or isinstance(value, float) and math.isnan(value):
            return None, ""
        if (found := self.interval(row)) is not None:
            numbers = found.value, found.low, found.high
            said, low, high = map(self._number, numbers)
            return said, "(no interval)" if math.isnan(found.low) else f"[{low}, {high}]"
        if self.kind == "size":
            return short(value), ""
        if self.kind == "share":
            return f"{value:.1%}", ""
        if isinstance(value, bool):
            return ("yes" if value else "no"), ""
        if isinstance(value, int):
            return f"{value:,}", ""
        if isinstance(value, float):
            return (f"{value:.3f}" if abs(value) < 1000 else short(value)), ""
        return str(value), ""

    def _number(self, x: float) -> str:
        if self.kind == "size":
            return short(x)
        if self.kind == "percent":
            return f"{100 * x:.1f}"
        return f"{x:+.3f}" if self.kind == "difference" else f"{x:.3f}"


_MARKS: dict[str, Kind] = {"*%": "percent", "*": "interval", "+": "difference", "%": "share", "~": "size", "": "plain"}


def columns(declared: str) -> tuple[Column, ...]:
    """Columns from one line, `heading: key | heading: key | ...`; a key alone is its own heading.

    A mark after the key says how it is shown: `*` as an interval, `*%` as one in percent, `+` as a difference, `%` as a
    share, `~` as a size.
    """
    found = []
    for part in declared.split(" | "):
        heading, _, marked = part.rpartition(": ")
        mark = next(mark for mark in _MARKS if marked.endswith(mark))
        key = marked.removesuffix(mark)
        found.append(Column(heading or key.replace("_", " "), key, _MARKS[mark]))
    return tuple(found)


class Whisker(NamedTuple):
    """Where the page draws an interval, in percent of the width of its column; `zero` is None where it is not shown."""

    low: float
    value: float
    high: float
    zero: float | None


class TableCell(NamedTuple):
    """A cell of the page: its text, the ends of its interval, their drawing, and the classes of its style."""

    value: str | None
    ends: str
    whisker: Whisker | None
    style: str


@dataclass(frozen=True)
class Table:
    """Rows under columns. The rows whose value at the key `highlight` is true are set off from the others.

    link: the key of where the first cell of a row leads to on the page; "" for nowhere.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row] = ()
    note: str = ""
    highlight: str = ""
    link: str = ""

    def of(self, rows: Iterable[Row], note: str = "") -> Table:
        """The same table with these rows, and with this note below it where one is given."""
        return dataclasses.replace(self, rows=tuple(rows), note=note or self.note)

    def without(self, *keys: str) -> Table:
        """The same table without the columns of these keys."""
        return dataclasses.replace(self, columns=[column for column in self.columns if column.key not in keys])

    def as_table(self) -> Table:
        """The table itself, as figures give the table of their numbers."""
        return self

    def csv(self) -> str:
        """The values as they are, an interval in three columns; a text that a spreadsheet would compute is quoted."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        keys: list[str] = []
        headings: list[str] = []
        for column in self.columns:
            ends = [""]
            if column.kind not in ("plain", "share") and any(f"{column.key}_low" in row for row in self.rows):
                ends = ["", "_low", "_high"]
            keys += [column.key + end for end in ends]
            headings += [column.heading + end.replace("_", " ") for end in ends]
        writer.writerow(map(_harmless, headings))
        writer.writerows([_harmless(row.get(key)) for key in keys] for row in self.rows)
        return out.getvalue()

    def markdown(self) -> str:
        """The cells as they are shown."""
        rows = [[column.heading for column in self.columns], ["---"] * len(self.columns)]
        rows += [[_text(*column.shown(row)) for column in self.columns] for row in self.rows]
        cells = ([re.sub(r"([|<>\\`*_\[\]])", r"\\\1", " ".join(cell.split())) for cell in row] for row in rows[2:])
        return "".join(f"| {' | '.join(row)} |\n" for row in (*rows[:2], *cells))

    def is_numeric(self, column: Column) -> bool:
        """Whether no cell of a column is a text, so that its cells are aligned on the right."""
        return all(not isinstance(row.get(column.key), str) for row in self.rows)

    def html_rows(self) -> list[list[TableCell]]:
        """The cells of every row, as the page draws them."""
        scales = [self._scale(column) for column in self.columns]
        numeric = [self.is_numeric(column) for column in self.columns]
        return [
            [
                _html_cell(column, row, scale, right)
                for column, scale, right in zip(self.columns, scales, numeric, strict=True)
            ]
            for row in self.rows
        ]

    def _scale(self, column: Column) -> tuple[float, float] | None:
        """The common ends of a column's whiskers; differences always show zero."""
        if column.kind == "size":
            return None
        found = [x for row in self.rows if (x := column.interval(row)) is not None and not math.isnan(x.low)]
        if not found:
            return None
        low, high = min(x.low for x in found), max(x.high for x in found)
        if column.kind == "difference":
            low, high = min(low, 0.0), max(high, 0.0)
        return (low, high) if high > low else (low - 0.5, high + 0.5)


def _html_cell(column: Column, row: Row, scale: tuple[float, float] | None, numeric: bool) -> TableCell:
    value, ends = column.shown(row)
    found, whisker = column.interval(row), None
    if found is not None and scale is not None and not math.isnan(found.low):
        low, value_at, high, zero = (
            100.0 * (x - scale[0]) / (scale[1] - scale[0]) for x in (found.low, found.value, found.high, 0.0)
        )
        shows_zero = column.kind == "difference" and 0.0 <= zero <= 100.0
        whisker = Whisker(low, value_at, high, zero if shows_zero else None)
    style = "num" if numeric else "long" if value and len(value) > LONG_TEXT else ""
    if value and isinstance(row.get(column.key), int):
        value = value.replace(",", "\N{NARROW NO-BREAK SPACE}")
    return TableCell(value, ends, whisker, style)


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _text(value: str | None, ends: str) -> str:
    return "-" if value is None else f"{value} {ends}".strip()


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table as wide as it has to be: a terminal may wrap the lines, but nothing is cut off.

    Texts too long for a cell are broken into lines.
    """
    out = console or terminal()
    shown = rich.table.Table(box=None, header_style="bold", pad_edge=False)
    cells = [[_text(*column.shown(row)) for column in table.columns] for row in table.rows]
    widths = [max([16, *(len(row[i]) for row in cells)]) for i in range(len(table.columns))]
    headings = [textwrap.wrap(column.heading, width) for column, width in zip(table.columns, widths, strict=True)]
    height = max(map(len, headings))
    for i, column in enumerate(table.columns):
        shown.add_column(
            "\n" * (height - len(headings[i])) + "\n".join(headings[i]),
            justify="right" if i and table.is_numeric(column) else "left",
            no_wrap=widths[i] <= _LINE,
            max_width=_LINE,
        )
    for row, shown_cells in zip(table.rows, cells, strict=True):
        shown.add_row(*shown_cells, style="bold" if row.get(table.highlight) else None)
    if table.title:
        out.print(table.title, style="bold", soft_wrap=True)
    needed = out.measure(shown, options=out.options.update(width=_ANY_WIDTH)).maximum
    terminal(out.file, width=max(out.width, needed)).print(shown)  # type: ignore[arg-type] - IO[str]
    if table.note:
        out.print(table.note, style="dim", soft_wrap=True)


def short(x: float) -> str:
    """A number with three significant digits and a metric suffix: 531200 -> "531 k"; from 1e18 a power."""
    if abs(x) >= 0.9995e18:
        return f"{x:.3g}".replace("e+", "e")
    for size, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= 0.9995 * size:
            return f"{x / size:.3g} {suffix}"
    return f"{x:.3g}"


def shown(x: Interval) -> str:
    """An estimate with its ends, whatever their size."""
    return f"{short(x.value)} [{short(x.low)}, {short(x.high)}]"
