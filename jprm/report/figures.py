"""Figures as data, and their drawing as SVG: lines with bands, and bars with intervals.

A drawing has a transparent ground, real text and a fixed palette, and the same data give the same bytes. The page
recolours it for dark screens by exchanging the palette, so colours are taken from here and nowhere else.

Invariant: no figure shows an estimate without its interval where there is one.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jprm.errors import printable
from jprm.evaluate import Interval, interval_of, interval_row
from jprm.report.tables import Column, Table, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#22262b", "#6b7178", "#dcdfe3"
PALETTE = (
    *("#2563a8", "#d9702b", "#2e8b67", "#8a5ab5", "#c23b55"),
    *("#7a7f87", "#b8901f", "#3a9db5", "#7d4f2a", "#5b6b1f"),
)
_BAR_COLORS = (*PALETTE[4:0:-1], PALETTE[5], PALETTE[0])  # from the last: blue, grey, others
_MARKERS = "osD^vPX"  # fewer than colors, so that the next round has other pairs
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.5, 1.2)))  # one for each round of the colors
MOST_LINES = len(PALETTE) * len(_DASHES)  # that can be told apart in a panel
_SIZE_INCHES = (4.9, 3.2)
_PANEL_INCHES = 1.75  # the height of a row of panels
MOST_BANDS = 8  # lines whose bands can be seen through one another; of more lines no band is drawn
_LONG_NAME = 30  # characters from which on a legend has one column
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's own font
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Series:
    """One line of a figure: y over x, with intervals where `low` and `high` are given.

    A fit is a smooth law, drawn thin and without markers; the points of a scatter are joined by no line. `panel`: the
    title of the part of the figure that the line belongs to, where there are several.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    is_fit: bool = False
    is_scatter: bool = False
    panel: str = ""


def series_of(name: str, x: Sequence[float], points: Sequence[Interval], panel: str = "") -> Series:
    """A series from intervals; a point without ends is drawn without a band."""
    value, low, high = ([getattr(p, part) for p in points] for part in ("value", "low", "high"))
    return Series(name, list(x), value, low, high, panel=panel)


def series_from_rows(rows: Iterable[Mapping[str, Any]], name: str, x: str, y: str) -> list[Series]:
    """A series for each value of the key `name`: the interval `y` over the number `x`, from the least x up.

    Rows without that interval, or without a place on the x axis, are left out.
    """
    lines: dict[str, list[tuple[float, Interval]]] = {}
    for row in rows:
        if (at := interval_of(row, y)) is not None and row[x] is not None:
            lines.setdefault(row[name], []).append((float(row[x]), at))
    for points in lines.values():
        points.sort(key=lambda point: point[0])
    return [series_of(label, [at for at, _ in points], [y for _, y in points]) for label, points in lines.items()]


@dataclass(frozen=True)
class LineFigure:
    """Lines over x, such as F1 against votes or loss against parameters, and what one should see in them.

    `log_x` is the base of a logarithmic x axis (2 for votes, 10 for sizes), None for a linear one. With `bands` the
    intervals of at most `MOST_BANDS` lines are shaded, otherwise they are drawn as bars, which reads better for a few
    points.
    """

    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series] = ()
    log_x: int | None = 2
    log_y: bool = False
    bands: bool = True

    @functools.cached_property
    def svg(self) -> str:
        """The figure as SVG: lines of one name look alike in all panels, which share their axes."""
        drawn = [s for s in self.series if not s.is_fit]
        names = list(dict.fromkeys(s.name for s in drawn))
        panels = list(dict.fromkeys(s.panel for s in drawn)) or [""]
        columns = 1 if max(map(len, names), default=0) > _LONG_NAME else 2
        rows_above = -(-len(names) // columns) if len(names) > 2 or panels[1:] else 0
        rows = -(-len(panels) // 2)
        height = _SIZE_INCHES[1] if rows == 1 and not panels[1:] else 0.4 + _PANEL_INCHES * rows
        salt = "-".join(s.name for s in self.series) + self.x_label + self.y_label
        with _drawing(salt, (_SIZE_INCHES[0], height + 0.19 * rows_above)) as (figure, out):
            grid = figure.subplots(rows, min(2, len(panels)), sharex=True, sharey=True, squeeze=False)
            for axes, panel in itertools.zip_longest(grid.flat, panels):
                if panel is None:
                    axes.set_visible(False)
                else:
                    self._draw_panel(axes, panel, names)
                    axes.set_title(_plain(panel), fontsize=9)
            if not panels[1:]:
                grid[0, 0].set_xlabel(_plain(self.x_label))
                grid[0, 0].set_ylabel(_plain(self.y_label))
            else:
                figure.supxlabel(_plain(self.x_label), fontsize=10)
                figure.supylabel(_plain(self.y_label), fontsize=10)
            if rows_above:  # more names than a corner of the axes holds
                lines = {line.get_label(): line for axes in grid.flat for line in axes.lines}
                shown = [lines[_plain(name)] for name in names]
                figure.legend(
                    handles=shown, handlelength=2.2, loc="outside upper left", ncols=columns, columnspacing=1.2
                )
            elif len(drawn) == 2:
                grid[0, 0].legend(loc="best", handlelength=1.6, borderaxespad=0.2)
        return out[0]

    def as_table(self) -> Table:
        """The numbers of the lines."""
        rows = []
        for s in self.series:
            ends = [[math.nan] * len(s.x) if end is None else end for end in (s.low, s.high)]
            for x, *y in zip(s.x, s.y, *ends, strict=True):
                rows.append({"panel": s.panel, "line": s.name, "x": x, **interval_row("y", Interval(*y))})
        found = (Column("panel", "panel"), Column("line", "line"), Column(self.x_label, "x"))
        shown = found if any(s.panel for s in self.series) else found[1:]
        return Table("", (*shown, Column(self.y_label, "y", "interval")), rows)

    def _draw_panel(self, axes: Axes, panel: str, names: list[str]) -> None:
        for s in self.series:
            if s.is_fit and s.panel in (panel, ""):
                axes.plot(s.x, s.y, color=MUTED, linewidth=1.0, linestyle=(0, (1, 1.5)))
            elif not s.is_fit and s.panel == panel:
                _draw(axes, s, names.index(s.name), self.bands, alone=len(names) > MOST_BANDS)
        if self.log_x:
            axes.set_xscale("log", base=self.log_x)
        if self.log_y:
            axes.set_yscale("log")
            _round_ticks(axes.yaxis, *axes.get_ylim())
        _ticks(axes, [x for s in self.series if not s.is_fit for x in s.x], self.log_x)


@dataclass(frozen=True)
class BarFigure:
    """Horizontal bars with whiskers, and what one should see in them: a row per group, a bar per (name, intervals).

    For ablations the groups are the recipes, and the bars the numbers of votes.
    """

    caption: str
    groups: Sequence[str]
    bars: Sequence[tuple[str, Sequence[Interval]]]
    x_label: str

    def as_table(self) -> Table:
        """The numbers of the bars."""
        pairs = [(name, group, at) for name, points in self.bars for group, at in zip(self.groups, points, strict=True)]
        rows = [{"bar": name, "group": group, **interval_row("x", at)} for name, group, at in pairs]
        return Table("", (Column("group", "group"), Column("bar", "bar"), Column(self.x_label, "x", "interval")), rows)

    @functools.cached_property
    def svg(self) -> str:
        """The figure as SVG."""
        labels = ["\n".join(textwrap.wrap(_plain(group), 25)) for group in self.groups]
        lines = max((label.count("\n") + 1 for label in labels), default=1)
        row = max(0.26 * len(self.bars), 0.17 * lines + 0.12)
        size = (_SIZE_INCHES[0], max(1.6, 0.75 + row * len(labels) + 0.25 * (len(self.bars) > 1)))
        salt = "|".join([*self.groups, *(name for name, _ in self.bars), self.x_label])
        with _drawing(salt, size) as (figure, out):
            axes = figure.add_subplot()
            thick = 0.8 / len(self.bars)
            for j, (name, points) in enumerate(self.bars):
                at = np.arange(len(labels)) + (j - (len(self.bars) - 1) / 2) * thick
                value = np.array([p.value for p in points])
                ends = np.nan_to_num([[p.value - p.low for p in points], [p.high - p.value for p in points]])
                axes.barh(at, value, thick * 0.86, color=_BAR_COLORS[-len(self.bars) :][j], label=_plain(name))
                axes.errorbar(value, at, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.4, capsize=3)
            axes.set_yticks(range(len(labels)), labels)
            axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9.5)
            axes.set_ylim(len(labels) - 0.4, -0.6)  # the first on top, and no more room than between two
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(_plain(self.x_label))
            lowest = np.nanmin([min(p.value, p.low) for _, points in self.bars for p in points] + [0.0])
            axes.set_xlim(left=1.15 * lowest)
            axes.axvline(0.0, color=INK, linewidth=0.8)
            if len(self.bars) > 1:
                axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(self.bars))
        return out[0]


def _draw(axes: Axes, s: Series, number: int, bands: bool, alone: bool = False) -> None:
    """Draws a line in the look of its number; `MOST_LINES` of them differ. alone: without its band."""
    color = PALETTE[number % len(PALETTE)]
    axes.plot(
        s.x,
        s.y,
        color=color,
        linestyle="none" if s.is_scatter else _DASHES[number // len(PALETTE) % len(_DASHES)],
        linewidth=1.7,
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=3 if s.is_scatter else 4,
        markevery=None if s.is_scatter else _marked(s.x),
        label=_plain(s.name),
    )
    if s.low is None or s.high is None or np.isnan(s.low).all():
        return
    if bands and not alone:
        axes.fill_between(s.x, s.low, s.high, color=color, alpha=0.15, linewidth=0)
    elif not bands:
        ends = np.abs(np.array([s.low, s.high]) - np.array(s.y))
        axes.errorbar(s.x, s.y, yerr=ends, fmt="none", ecolor=color, elinewidth=1.4, capsize=3)


def _plain(text: str) -> str:
    """A name that matplotlib shows letter by letter; it would set `$...$` as mathematics, and hide `_name`."""
    shown = printable(text).replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{shown}" if shown.startswith("_") else shown


def _marked(values: Sequence[float]) -> list[int]:
    """Positions that get a marker and a tick: all of a few, the powers of two of many."""
    if len(values) <= 9:
        return list(range(len(values)))
    return [i for i, x in enumerate(values) if x >= 1 and float(np.log2(x)).is_integer()]


def _ticks(axes: Axes, values: Sequence[float], log_x: int | None) -> None:
    """Labels a few measured x, such as 4 or 531 k; where there are many, round numbers between them."""
    distinct = sorted(set(values))
    if not log_x and len(distinct) <= 12 and all(float(x).is_integer() for x in distinct):
        if distinct and distinct[-1] - distinct[0] < 12:
            _set_ticks(axes.xaxis, distinct)
        return
    at = [distinct[i] for i in _marked(distinct)]
    if log_x == 10 and len(distinct) > 4:
        _round_ticks(axes.xaxis, distinct[0], distinct[-1])
    elif log_x and 1 < len(at) <= 12:
        _set_ticks(axes.xaxis, at)


def _round_ticks(axis: Axis, low: float, high: float) -> None:
    """Sets round numbers in place of powers of ten, if there are at least two."""
    at = _round_numbers(low, high)
    if len(at) > 1:
        _set_ticks(axis, at)


def _set_ticks(axis: Axis, at: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_ticks(at, [short(x) for x in at])
    axis.set_minor_locator(NullLocator())


def _round_numbers(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2, 5, 10 ... times a power of ten from low to high; powers of ten alone when they are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


@contextmanager
def _drawing(salt: str, size_inches: tuple[float, float]) -> Iterator[tuple[Figure, list[str]]]:
    """A styled figure; on leaving, its SVG is in the list."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out: list[str] = []
    # The ids inside an SVG depend on its content only, and differ between figures.
    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": printable(salt)}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size_inches, dpi=72, layout="constrained")  # the units of an SVG
        FigureCanvasSVG(figure)
        yield figure, out
        out.append(_svg(figure))


def _svg(figure: Figure) -> str:
    # Without this, `savefig` draws all of it once more, for nothing but the layout.
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine(None)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Names like "axes_1" repeat from figure to figure; only ids that are referred to are kept.
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    return re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
