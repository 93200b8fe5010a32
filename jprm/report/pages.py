"""One self-contained HTML page: what was measured, how sure it is, and what it looks like.

A `Page` is plain data: sections of tables, figures, texts and judged solutions. The templates beside this file turn it
into HTML. The page opens from a file without a network, at 400 and at 1280 pixels, on light and on dark screens.

Invariant: the templates escape every string; the only markup that they take over is the SVG of `figures`, and the only
script is the page's own, which makes text nodes of the data of `items`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup, escape

from jprm.jobs import write_atomic
from jprm.report.figures import GRID, INK, MUTED, PALETTE, BarFigure, LineFigure
from jprm.report.items import Items
from jprm.report.tables import Table

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDED = 160  # characters of a value from which on the page folds it away


@dataclass(frozen=True)
class Text:
    """Paragraphs separated by blank lines; `backticks` become code."""

    text: str


@dataclass(frozen=True)
class Details:
    """Names and values, such as provenance. A nested mapping or a long text is folded away."""

    values: Mapping[str, object]

    @property
    def folded(self) -> dict[str, str]:
        """The values that a reader opens, as text."""
        texts = {
            name: "\n".join(f"{key} = {item}" for key, item in value.items()) if isinstance(value, Mapping) else value
            for name, value in self.values.items()
        }
        return {
            name: str(text)
            for name, text in texts.items()
            if isinstance(self.values[name], Mapping) or "\n" in str(text) or len(str(text)) > FOLDED
        }


Block = Text | Table | LineFigure | BarFigure | Items | Details


@dataclass(frozen=True)
class Section:
    """A titled part of the page; neighbouring figures stand side by side where there is room."""

    title: str
    blocks: Sequence[Block]

    def runs(self) -> Iterator[tuple[bool, list[Block]]]:
        """Its blocks in runs of neighbours; the first part says whether they are figures."""
        for are_figures, run in itertools.groupby(self.blocks, lambda b: isinstance(b, LineFigure | BarFigure)):
            yield are_figures, list(run)


@dataclass(frozen=True)
class Headline:
    """A number for the top of the page: its value, what it is, and what to compare it with."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """The whole page. `lead` says in a sentence or two what was run, `below` (below the headline) what was found."""

    title: str
    lead: str
    sections: Sequence[Section]
    headline: Sequence[Headline] = ()
    below: str = ""
    command: str = ""


def write_page(page: Page, folder: Path, figures: Mapping[str, LineFigure | BarFigure] | None = None) -> None:
    """Writes `report.html`, replacing an earlier one in a single step, and `figures` as SVG files of these names.

    Raises Unwritable where the folder cannot be written.
    """
    if figures is not None:
        (folder / "figures").mkdir(exist_ok=True)
        for name, figure in figures.items():
            write_atomic(folder / "figures" / f"{name}.svg", figure.svg)
    html = render(page)  # half of a surrogate pair is no character, and is shown as its escape
    write_atomic(folder / "report.html", html.encode("utf-8", "backslashreplace"))


def render(page: Page) -> str:
    """The page as one string of HTML."""
    names = anchors([section.title for section in page.sections])
    sections = list(zip(names, page.sections, strict=True))
    return environment().get_template("page.html").render(page=page, sections=sections)


@functools.cache
def environment() -> Environment:
    """The templates of pages, which escape every string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jprm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "inline": inline,
        "paragraphs": lambda text: [part.strip() for part in text.split("\n\n") if part.strip()],
        "recoloured": recoloured,
        "file_name": lambda block: anchors([getattr(block, "caption", "") or getattr(block, "title", "")])[0][:60],
        "saved": _saved,
    }
    return environment


def inline(text: str) -> Markup:
    """A text as HTML, in which `backticks` become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _saved(table: Table, form: str) -> str:
    """A table as a link that holds it."""
    text = table.csv() if form == "csv" else table.markdown()
    return f"data:text/{form};charset=utf-8,{quote(text.encode('utf-8', 'backslashreplace'))}"


def recoloured(svg: str) -> Markup:
    """A figure in the colours and at the width of the page: its palette becomes style variables."""
    svg = re.sub(r'<svg[^>]*? viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img">', svg)
    svg = svg.replace(INK, "var(--ink)").replace(MUTED, "var(--muted)").replace(GRID, "var(--line)")
    for i, color in enumerate(PALETTE):
        svg = svg.replace(color, f"var(--c{i})")
    return Markup(svg)


def anchors(titles: Sequence[str]) -> list[str]:
    """A name for each title that a link can point to; titles that read alike are numbered."""
    names: list[str] = []
    for title in titles:
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        numbered = (f"{stem}-{n}" for n in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], numbered) if name not in names))
    return names
