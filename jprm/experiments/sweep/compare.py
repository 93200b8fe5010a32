"""Two sweeps side by side: the cells that both have, paired by solution, and the solutions on which they flip."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.evaluate import Paired, finite, interval_row
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.experiments.sweep.comparisons import p_value, paired_gain
from jprm.experiments.sweep.finished import finished_cells, read_sweep_config
from jprm.experiments.sweep.flips import Flip, flip_lines, flip_row, flips_of
from jprm.experiments.sweep.table import Measured, measure
from jprm.jobs import Stages
from jprm.report import Table, columns, print_table
from jprm.terminal import say

PAIRS = Table(
    "",
    columns("cell | votes | F1 of A: f1_a* | F1 of B: f1_b* | B minus A: gain+ | p | McNemar: mcnemar | detectable"),
    note="Paired by problem, one row at a time: 95 % intervals by bootstrap over problems, p by permutation of the two "
    "within problems; McNemar's exact p where every solution is right or wrong and has a problem of its own; "
    "detectable: the difference that these problems would show in 4 of 5 times.",
)


@dataclass(frozen=True)
class PairedCell:
    """A cell in both runs; `gain` is F1 of the second minus F1 of the first, paired."""

    first: Measured
    second: Measured
    votes: int
    gain: Paired


@dataclass(frozen=True)
class ComparedRuns:
    """`rows` by cell and number of votes; `left_out`: cells that cannot be paired, with the reason.

    flips: for each pair of cells, by their names, the solutions that one of them judges right, with all of its votes.
    """

    rows: tuple[PairedCell, ...]
    left_out: tuple[tuple[str, str], ...]
    flips: dict[tuple[str, str], tuple[Flip, ...]]


def compare(first: Path, second: Path, names: tuple[str, str] | None = None) -> ComparedRuns:
    """Pairs the cells of two run directories by name, or the two that are named.

    names: a part of a cell's name in each run that no other cell there has; the two runs may then
    be one. Raises UserError for directories without a sweep, and where nothing can be paired.
    """
    stages = Stages(first), Stages(second)
    sweeps = [Sweep(read_sweep_config(run)) for run in (first, second)]
    cells = [{c.name: c for c in finished_cells(*pair)} for pair in zip(sweeps, stages, strict=True)]
    if names:
        pairs = [(_the_one(first, cells[0], names[0]), _the_one(second, cells[1], names[1]))]
        left_out = []
    else:
        pairs = [(cells[0][name], cells[1][name]) for name in cells[0] if name in cells[1]]
        left_out = [(name, f"not in {second}") for name in cells[0] if name not in cells[1]]
        left_out += [(name, f"not in {first}") for name in cells[1] if name not in cells[0]]
    rows: list[PairedCell] = []
    flips: dict[tuple[str, str], tuple[Flip, ...]] = {}
    for a, b in pairs:
        if a.votes.benchmark != b.votes.benchmark:
            left_out.append((a.name, "judged other solutions, so they cannot be paired"))
            continue
        one, two = measure(stages[0], a), measure(stages[1], b)
        flips[a.name, b.name] = flips_of(one, two)
        for k in sorted({r["n_votes"] for r in one.rows} & {r["n_votes"] for r in two.rows}):
            rows.append(PairedCell(one, two, k, paired_gain(two, one, k, k)))
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:2])
        raise UserError(f"{first} and {second} have no cell to compare ({reasons})")
    return ComparedRuns(tuple(rows), tuple(left_out), flips)


def print_comparison(found: ComparedRuns, first: Path, second: Path, most_flips: int) -> None:
    """Prints the rows as a table, the solutions that flip, `most_flips` of each direction, and what was left out."""
    rows, last = [], ""
    for pair, row in zip(found.rows, _rows(found), strict=True):
        name = _name(pair.first.cell.name, pair.second.cell.name)
        tests = {key: "-" if row[key] is None else p_value(row[key]) for key in ("p", "mcnemar")}
        rows.append(row | tests | {"cell": "" if name == last else name})
        last = name
    say(f"A: {first}\nB: {second}")
    print_table(PAIRS.of(rows))
    say("solutions that flip, with all votes of each cell:")
    for names, flips in found.flips.items():
        say("\n".join([f"{_name(*names)}", *flip_lines(flips, most_flips)]))
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.left_out:
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"left out, {reason}: {names[0]}{more}")


def comparison_json(found: ComparedRuns, first: Path, second: Path) -> dict[str, Any]:
    """All that is compared as plain values; docs/files.md names the keys."""
    flips = [
        {"cell_a": a, "cell_b": b, "solutions": [flip_row(flip) for flip in flips]}
        for (a, b), flips in found.flips.items()
    ]
    left_out = [{"cell": name, "reason": reason} for name, reason in found.left_out]
    return {"a": str(first), "b": str(second), "rows": list(_rows(found)), "flips": flips, "left_out": left_out}


def _rows(found: ComparedRuns) -> Iterator[dict[str, Any]]:
    for pair in found.rows:
        tests = {"p": pair.gain.permutation_p, "mcnemar": pair.gain.mcnemar_p, "detectable": pair.gain.detectable}
        yield (
            {"cell_a": pair.first.cell.name, "cell_b": pair.second.cell.name, "votes": pair.votes}
            | {name: None if value is None else finite(value) for name, value in tests.items()}
            | interval_row("f1_a", pair.first.curve.f1(pair.votes))
            | interval_row("f1_b", pair.second.curve.f1(pair.votes))
            | interval_row("gain", pair.gain.difference)
        )


def _name(a: str, b: str) -> str:
    return a if a == b else f"A: {a}; B: {b}"


def _the_one(run: Path, cells: dict[str, Cell], part: str) -> Cell:
    found = [part] if part in cells else [name for name in cells if part in name]
    if len(found) != 1:
        said = "is in no name of a cell" if not found else f"is in {len(found)} names of cells"
        raise UserError(f"{run}: {part!r} {said}: {'; '.join(found or cells)}")
    return cells[found[0]]
