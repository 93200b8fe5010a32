"""Writes the results of the default run into the README: its table and its figure, from a finished run directory.

    python -m tools.readme_results runs/embedded            writes README.md (between the marks) and the figure
    python -m tools.readme_results runs/embedded --check    exit code 1 where a number of the README lies outside of the
                                                            run's interval, or the run's outside of the README's

The run is that of `python experiments/sweep.py`. The figure is docs/figures/default-run.svg: F1 against the votes, of
the main cell and of what was changed of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jprm
from jprm.api import Run, RunCell
from jprm.errors import UserError
from jprm.evaluate import Interval
from jprm.report import MOST_BANDS, LineFigure, Series, series_of

ROOT = Path(__file__).resolve().parents[1]
README, FIGURE = ROOT / "README.md", Path("docs/figures/default-run.svg")
BEGIN = "<!-- results of the default run: python -m tools.readme_results runs/embedded -->"
END = "<!-- end of results -->"
MOST_SVG_BYTES = 60_000
VARIANTS = {
    "code": "code alone",
    "analysis": "analysis alone",
    "direct": "a direct Yes or No",
    "invented": "invented output in the place of executed code",
    "unfiltered": "no consensus filter",
    "hard": "hard labels",
    "difference": "labels by differences",
    "fork": "votes that share a history",
}
MAIN = "analysis and executed code (the main cell)"
ROW = re.compile(r"^\| ([^|]+) \| (\S+ \[[^]]+\]) \| (\S+ \[[^]]+\]) \| [\d,]+ \|$", re.MULTILINE)
NUMBERS = re.compile(r"\d*\.\d+")


def cells_shown(run: Run) -> Iterator[tuple[str, RunCell]]:
    """The main cell, its variants, and the cells of the grid that differ from it in one thing, with their names.

    Raises UserError where one of them is not finished.
    """
    main = run.main
    of_set = [cell for cell in run.cells if cell.benchmark == main.benchmark and cell.seed == main.seed]
    for cell in of_set:
        size, count = cell.size != main.size, cell.train_examples != main.train_examples
        if not cell.variant and size and count:
            continue
        if not cell.finished:
            raise UserError(f"{run.path}: {cell.name} is not finished; run the sweep again to go on")
        if cell.variant:
            yield VARIANTS[cell.variant], cell
        elif size:
            yield f"the main cell with {_parameters(cell.size)} parameters", cell
        elif count:
            yield f"the main cell with {cell.train_examples} examples", cell
        else:
            yield MAIN, cell


def table(run: Run) -> str:
    """The table as Markdown: F1 with one vote and with all, and what all cost."""
    main, n = run.main, run.main.n_votes
    about = f"verifier of {_parameters(main.size)} parameters, {main.train_examples} examples"
    lines = [f"| {about} | F1, 1 vote | F1, {n} votes | tokens, {n} votes |", "|---|---|---|---|"]
    for name, cell in cells_shown(run):
        by_votes = {row.n_votes: row for row in cell.rows}
        one, most = (_short(by_votes[k].f1) for k in (1, n))
        lines.append(f"| {name} | {one} | {most} | {by_votes[n].columns['tokens']:,} |")
    return "\n".join(lines)


def figure(run: Run) -> LineFigure:
    """F1 against votes: the main cell and its variants; of the grid's other cells as many as have room."""
    shown = sorted(cells_shown(run), key=lambda named: (named[0] != MAIN, not named[1].variant))
    series = [_curve(name, cell) for name, cell in shown[:MOST_BANDS]]
    return LineFigure("F1 against the number of votes; bands are 95 %.", "votes per step", "first-error F1", series)


def section(run: Run) -> str:
    """What stands between the marks of the README."""
    picture = f"![F1 against the number of votes, of the main cell and of what was changed of it]({FIGURE})"
    judged = f"Of {len(run.main.solutions())} test solutions, seed {run.main.seed}:"
    return f"{BEGIN}\n\n{judged}\n\n{table(run)}\n\n{picture}\n\n{END}"


def replaced(text: str, made: str) -> str:
    """The README with this section. Raises UserError where its marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"README.md: the marks of the results are missing: {BEGIN} ... {END}")
    return before + made + after


def differences(text: str, run: Run) -> list[str]:
    """Where README and run do not agree: numbers outside of each other's intervals, and rows of one alone."""
    told = {name: (one, most) for name, one, most in ROW.findall(text)}
    measured = {name: (one, most) for name, one, most in ROW.findall(table(run))}
    found = [f"{name}: in one of both alone" for name in told.keys() ^ measured.keys()]
    for name in told.keys() & measured.keys():
        for said, got in zip(told[name], measured[name], strict=True):
            (a, a_low, a_high), (b, b_low, b_high) = (map(float, NUMBERS.findall(f1)) for f1 in (said, got))
            if not (a_low <= b <= a_high and b_low <= a <= b_high):
                found.append(f"{name}: the README says {said}, the run {got}")
    return sorted(found)


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit code."""
    check = "--check" in arguments
    paths = [Path(word) for word in arguments if word != "--check"]
    try:
        run = jprm.open_run(paths[0] if paths else ROOT / "runs" / "embedded")
        text = README.read_text(encoding="utf-8")
        if check:
            found = differences(text, run)
            print("\n".join(found or ["the README says what the run says"]))
            return int(bool(found))
        README.write_text(replaced(text, section(run)), encoding="utf-8")
        svg = on_white(figure(run).svg)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    assert len(svg.encode()) <= MOST_SVG_BYTES, "a picture of the README is small"
    (README.parent / FIGURE).parent.mkdir(parents=True, exist_ok=True)
    (README.parent / FIGURE).write_text(svg, encoding="utf-8")
    print(f"{README}, {FIGURE}: {len(svg.encode()):,} bytes")
    return 0


def on_white(svg: str) -> str:
    """A figure as a file of its own: with its namespace, and a ground on which dark ink is read on any screen."""
    return re.sub(r"<svg ", '<svg style="background:#fff" ', svg, count=1)


def _curve(name: str, cell: RunCell) -> Series:
    curve = cell.curve()
    return series_of(name, list(curve.ks), [curve.f1(k) for k in curve.ks])


def _parameters(size: str) -> str:
    return size.removeprefix("tiny-").upper()


def _short(f1: Interval | None) -> str:
    return "-" if f1 is None else re.sub(r"\b0\.", ".", str(f1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
