"""Two sweeps side by side: the cells that both have, paired by solution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from jprm.errors import UserError
from jprm.evaluate import Paired
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.comparisons import p_value, paired_gain
from jprm.experiments.sweep.finished import finished_cells, read_sweep_config
from jprm.experiments.sweep.table import Measured, measure
from jprm.jobs import Stages
from jprm.terminal import say, terminal


@dataclass(frozen=True)
class PairedCell:
    """A cell in both runs; `gain` is F1 of the second minus F1 of the first, paired."""

    first: Measured
    second: Measured
    votes: int
    gain: Paired


@dataclass(frozen=True)
class ComparedRuns:
    """`rows` by cell and number of votes; `left_out`: cells that cannot be paired, with the reason."""

    rows: tuple[PairedCell, ...]
    left_out: tuple[tuple[str, str], ...]


def compare(first: Path, second: Path, names: tuple[str, str] | None = None) -> ComparedRuns:
    """Pairs the cells of two run directories by name, or the two that are named.

    names: a part of a cell's name in each run that no other cell there has; the two runs may then
    be one. Raises UserError for directories without a sweep, and where nothing can be paired.
    """
    stages = Stages(first), Stages(second)
    sweeps = [Sweep(read_sweep_config(run)) for run in (first, second)]
    cells = [{c.name: c for c in finished_cells(*pair)} for pair in zip(sweeps, stages, strict=True)]
    if names:
        chosen = [
            _the_one(run, list(there), name) for run, there, name in zip((first, second), cells, names, strict=True)
        ]
        pairs = [(cells[0][chosen[0]], cells[1][chosen[1]])]
        left_out = []
    else:
        pairs = [(cells[0][name], cells[1][name]) for name in cells[0] if name in cells[1]]
        left_out = [(name, f"not in {second}") for name in cells[0] if name not in cells[1]]
        left_out += [(name, f"not in {first}") for name in cells[1] if name not in cells[0]]
    rows: list[PairedCell] = []
    for a, b in pairs:
        if a.votes.benchmark != b.votes.benchmark:
            left_out.append((a.name, "judged other solutions, so they cannot be paired"))
            continue
        one, two = measure(stages[0], a), measure(stages[1], b)
        for k in sorted({r["n_votes"] for r in one.rows} & {r["n_votes"] for r in two.rows}):
            rows.append(PairedCell(one, two, k, paired_gain(two, one, k, k)))
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:2])
        raise UserError(f"{first} and {second} have no cell to compare ({reasons})")
    return ComparedRuns(tuple(rows), tuple(left_out))


def print_comparison(found: ComparedRuns, first: Path, second: Path) -> None:
    """The rows as a table; what was left out below it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("cell")
    for name in ("votes", "F1 of A", "F1 of B", "B minus A", "p", "McNemar", "detectable"):
        table.add_column(name, justify="right", no_wrap=True)
    last = ""
    for row in found.rows:
        name, d = row.first.cell.name, row.gain.difference
        if row.second.cell.name != name:
            name = f"A: {name}\nB: {row.second.cell.name}"
        f1 = [str(m.curve.f1(row.votes)) for m in (row.first, row.second)]
        gap = f"{d:+.3f}"
        exact = row.gain.mcnemar_p
        tests = [_short_p(row.gain.permutation_p), "-" if exact is None else _short_p(exact)]
        shown = "" if name == last else name
        table.add_row(shown, str(row.votes), *f1, gap, *tests, f"{row.gain.detectable:.3f}")
        last = name
    say(f"A: {first}\nB: {second}")
    terminal().print(table)
    print(
        "Paired by problem, one row at a time: 95 % intervals by bootstrap over problems, p by permutation of the two"
    )
    print("within problems; McNemar's exact p where every solution is right or wrong and has a problem of its own;")
    print("detectable: the difference that these problems would show in 4 of 5 times.")
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.left_out:
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"left out, {reason}: {names[0]}{more}")


def _short_p(p: float) -> str:
    return p_value(p).removeprefix("= ")


def _the_one(run: Path, names: list[str], part: str) -> str:
    exact = [name for name in names if name == part]
    found = exact or [name for name in names if part in name]
    if len(found) != 1:
        said = "is in no name of a cell" if not found else f"is in {len(found)} names of cells"
        raise UserError(f"{run}: {part!r} {said}: {'; '.join(found or names)}")
    return found[0]
