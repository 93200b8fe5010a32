"""Two sweeps side by side: the cells that both have, paired by solution."""

from dataclasses import dataclass
from pathlib import Path

from jprm.errors import UserError
from jprm.evaluate import Paired, interval_row
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.experiments.sweep.comparisons import p_value, paired_gain
from jprm.experiments.sweep.finished import finished_cells, read_sweep_config
from jprm.experiments.sweep.table import Measured, measure
from jprm.jobs import Stages
from jprm.report import Table, columns, print_table
from jprm.terminal import say

PAIRS = Table(
    "",
    columns("cell | votes | F1 of A: a* | F1 of B: b* | B minus A: gain+ | p | McNemar: mcnemar | detectable"),
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
        pairs = [(_the_one(first, cells[0], names[0]), _the_one(second, cells[1], names[1]))]
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
    """Prints the rows as a table, and below it what was left out."""
    rows, last = [], ""
    for pair in found.rows:
        one, two = pair.first.cell.name, pair.second.cell.name
        name = one if one == two else f"A: {one}; B: {two}"
        exact = pair.gain.mcnemar_p
        rows.append(
            {
                "cell": "" if name == last else name,
                "votes": pair.votes,
                "p": p_value(pair.gain.permutation_p),
                "mcnemar": "-" if exact is None else p_value(exact),
                "detectable": pair.gain.detectable,
            }
            | interval_row("a", pair.first.curve.f1(pair.votes))
            | interval_row("b", pair.second.curve.f1(pair.votes))
            | interval_row("gain", pair.gain.difference)
        )
        last = name
    say(f"A: {first}\nB: {second}")
    print_table(PAIRS.of(rows))
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.left_out:
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"left out, {reason}: {names[0]}{more}")


def _the_one(run: Path, cells: dict[str, Cell], part: str) -> Cell:
    found = [part] if part in cells else [name for name in cells if part in name]
    if len(found) != 1:
        said = "is in no name of a cell" if not found else f"is in {len(found)} names of cells"
        raise UserError(f"{run}: {part!r} {said}: {'; '.join(found or cells)}")
    return cells[found[0]]
