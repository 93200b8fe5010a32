"""One self-contained HTML page: what was measured, how sure it is, and what it looks like.

The page is filled with plain data (a `Report` of sections with tables, figures and samples) and
knows nothing of how a sweep is run. It opens from a file without a network, at 400 and at 1280
pixels, on light and on dark screens.

Invariant: every string is escaped here, at the point where it becomes HTML; the only markup taken
over is the SVG of `plots`.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jprm.evaluate import Difference, Interval
from jprm.scaling.plots import GRID, INK, MUTED, PALETTE
from jprm.scaling.samples import Sample, sample_html

LONG_TEXT = 24  # characters of a cell; more are broken into lines

# None is shown as a dash; an Interval as its value, its ends and a small whisker.
Cell = str | int | float | Interval | None


@dataclass(frozen=True)
class Text:
    """Paragraphs separated by blank lines; `backticks` become code."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under `columns`; `highlight` are the row numbers to set off."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    note: str = ""
    highlight: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """SVG text from `plots` and what one should see in it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Samples:
    """Judged solutions to open and read."""

    items: Sequence[Sample]


@dataclass(frozen=True)
class Facts:
    """Names and values, e.g. provenance; a nested mapping or long text is folded away."""

    values: Mapping[str, object]


Block = Text | Table | Figure | Samples | Facts


@dataclass(frozen=True)
class Section:
    """A titled part of the page; neighbouring figures stand side by side where there is room."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Headline:
    """A number for the top of the page: its value, what it is, and what to compare it with."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The whole page. `lead` says in a sentence or two what was run and found."""

    title: str
    lead: str
    sections: Sequence[Section]
    headline: Sequence[Headline] = ()
    command: str = ""


def write_report(report: Report, path: Path) -> None:
    """Write the page to `path`, replacing an earlier one in a single step."""
    from jprm.jobs import write_atomic

    page = render(report)  # a lone half of a surrogate pair is no character, and is shown as its escape
    write_atomic(path, page.encode("utf-8", "backslashreplace"))


def render(report: Report) -> str:
    """The page as one string of HTML."""
    names = _anchors([section.title for section in report.sections])
    nav = "".join(
        f'<a href="#{name}">{html.escape(section.title)}</a>'
        for name, section in zip(names, report.sections, strict=True)
    )
    tiles = "".join(
        f'<div class="tile"><b>{html.escape(h.value)}</b><span>{html.escape(h.label)}</span>'
        f"<small>{html.escape(h.note)}</small></div>"
        for h in report.headline
    )
    sections = "".join(
        f'<section id="{name}"><h2>{html.escape(section.title)}</h2>{_blocks(section.blocks)}</section>'
        for name, section in zip(names, report.sections, strict=True)
    )
    style = files("jprm.scaling").joinpath("report.css").read_text()
    command = f'<pre class="command">{html.escape(report.command)}</pre>' if report.command else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(report.title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{html.escape(report.title)}</h1>{_paragraphs(report.lead)}{command}</header>"
        f"{f'<div class=tiles>{tiles}</div>' if tiles else ''}"
        f"<nav>{nav}</nav><main>{sections}</main></body></html>\n"
    )


def _blocks(blocks: Sequence[Block]) -> str:
    out = []
    for are_figures, run in itertools.groupby(blocks, lambda block: isinstance(block, Figure)):
        shown = "".join(map(_block, run))
        out.append(f'<div class="figures">{shown}</div>' if are_figures else shown)
    return "".join(out)


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return _paragraphs(text)
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Samples(items):
            return "".join(map(sample_html, items))
        case Facts(values):
            return _facts(values)
    raise AssertionError(block)


def _figure(figure: Figure) -> str:
    """The SVG in the colours of the page: its palette becomes style variables."""
    svg = re.sub(r'<svg[^>]*? viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', figure.svg)
    svg = svg.replace(INK, "var(--ink)").replace(MUTED, "var(--muted)").replace(GRID, "var(--line)")
    for i, color in enumerate(PALETTE):
        svg = svg.replace(color, f"var(--c{i})")
    return f"<figure>{svg}<figcaption>{_inline(figure.caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    numeric = [all(not isinstance(row[j], str) for row in table.rows) for j in range(len(table.columns))]
    scale = [_scale([row[j] for row in table.rows]) for j in range(len(table.columns))]
    head = "".join(
        f"<th{' class=num' if num else ''}>{_inline(name)}</th>"
        for name, num in zip(table.columns, numeric, strict=True)
    )
    body = "".join(
        f"<tr{' class=mark' if i in table.highlight else ''}>"
        + "".join(
            f"<td{_class(cell, num)}>{_cell(cell, ends)}</td>"
            for cell, num, ends in zip(row, numeric, scale, strict=True)
        )
        + "</tr>"
        for i, row in enumerate(table.rows)
    )
    caption = f"<p class=caption>{_inline(table.caption)}</p>" if table.caption else ""
    note = f"<p class=note>{_inline(table.note)}</p>" if table.note else ""
    return (
        f'{caption}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _class(cell: Cell, numeric: bool) -> str:
    if numeric:
        return " class=num"
    return " class=long" if isinstance(cell, str) and len(cell) > LONG_TEXT else ""


def _cell(cell: Cell, scale: tuple[float, float] | None) -> str:
    match cell:
        case None:
            return "&ndash;"
        case Interval():
            return _interval_cell(cell, scale)
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}".replace(",", "&#8239;")
        case float():
            return "&ndash;" if math.isnan(cell) else f"{cell:.3f}"
    return _inline(cell)


def _interval_cell(cell: Interval, scale: tuple[float, float] | None) -> str:
    sign = "+" if isinstance(cell, Difference) else ""
    value = f"<b>{cell.value:{sign}.3f}</b>"
    if math.isnan(cell.low) or scale is None:
        return value
    ends = f"<small>[{cell.low:{sign}.3f}, {cell.high:{sign}.3f}]</small>"
    low, high = scale
    at = [100.0 * (x - low) / (high - low) for x in (cell.low, cell.value, cell.high)]
    zero = 100.0 * (0.0 - low) / (high - low)
    axis = f'<u style="left:{zero:.1f}%"></u>' if sign and 0.0 <= zero <= 100.0 else ""
    return (
        f'<span class="interval">{value}<span class="whisker">{axis}<i style="left:{at[0]:.1f}%;'
        f'width:{at[2] - at[0]:.1f}%"></i><em style="left:{at[1]:.1f}%"></em></span>{ends}</span>'
    )


def _scale(cells: Sequence[Cell]) -> tuple[float, float] | None:
    """Common ends of a column's whiskers; differences always show zero."""
    found = [c for c in cells if isinstance(c, Interval) and not math.isnan(c.low)]
    if not found:
        return None
    low, high = min(c.low for c in found), max(c.high for c in found)
    if any(isinstance(c, Difference) for c in found):
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _facts(values: Mapping[str, object]) -> str:
    rows, folded = [], []
    for name, value in values.items():
        if isinstance(value, Mapping):
            text = "\n".join(f"{key} = {item}" for key, item in value.items())
            folded.append(_folded(name, text))
        elif "\n" in str(value) or len(str(value)) > 160:
            folded.append(_folded(name, str(value)))
        else:
            rows.append(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>")
    return (f"<dl>{''.join(rows)}</dl>" if rows else "") + "".join(folded)


def _folded(name: str, text: str) -> str:
    name, text = html.escape(name), html.escape(text)
    return f"<details><summary>{name}</summary><pre>{text}</pre></details>"


def _paragraphs(text: str) -> str:
    parts = (part.strip() for part in text.split("\n\n"))
    return "".join(f"<p>{_inline(part)}</p>" for part in parts if part)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _anchors(titles: Sequence[str]) -> list[str]:
    names: list[str] = []
    for title in titles:
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        name, n = stem, 2
        while name in names:
            name, n = f"{stem}-{n}", n + 1
        names.append(name)
    return names
