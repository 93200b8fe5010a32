"""`python -m jprm laws FILE`: from a table of runs to laws, best sizes, and a page that shows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from jprm.errors import MISTAKE, UserError
from jprm.runs import write_atomic
from jprm.scaling.laws.approaches import Approach, fit_approaches, held_out_largest
from jprm.scaling.laws.columns import Columns
from jprm.scaling.laws.page import extrapolated, laws_report
from jprm.scaling.laws.runs import Runs, read_runs
from jprm.scaling.laws.table import RESULTS, read_table
from jprm.scaling.plots import short, shown
from jprm.scaling.power_sum import Bootstrap
from jprm.scaling.report import write_report

WIDTH = 118
BEYOND = 10.0  # the budget that is decided where none is asked for, in FLOPs of the largest run
_SHOWN = ("E", "alpha", "beta", "a")


@dataclass(frozen=True)
class LawsOptions:
    """What the command line gives; `budgets` in training FLOPs."""

    paths: tuple[Path, ...]
    columns: Columns = Columns()  # noqa: RUF009 - frozen
    where: tuple[str, ...] = ()
    drop_highest: int = 0
    derive_tokens: bool = False
    budgets: tuple[float, ...] = ()
    bootstrap: Bootstrap = "points"
    resamples: int = 500
    seed: int = 0
    out: Path | None = None
    command: str = ""


def run_laws(options: LawsOptions) -> int:
    """Fits, prints, writes; the exit code: 0 where at least one approach was fitted, otherwise 2.

    Raises UserError for a file, column or number that cannot be read.
    """
    if bad := [budget for budget in options.budgets if not 0 < budget < float("inf")]:
        raise UserError(f"--budget {bad[0]:g}: a number of FLOPs above 0 is needed, such as 1e21")
    if options.bootstrap not in get_args(Bootstrap):
        raise UserError(f"--bootstrap {options.bootstrap}: choose points or residuals")
    table = read_table(*options.paths)
    runs = read_runs(
        table,
        options.columns,
        where=options.where,
        drop_highest=options.drop_highest,
        derive_tokens=options.derive_tokens,
    )
    approaches = fit_approaches(
        runs, resamples=options.resamples, bootstrap=options.bootstrap, seed=options.seed
    )
    budgets = list(options.budgets) or [BEYOND * float(runs.flops.max())]
    held = held_out_largest(runs, resamples=options.resamples, seed=options.seed)
    _print(table.source, runs, approaches, budgets, held)
    fitted = any(one.fit for one in approaches)
    if options.out:
        _write(options, options.out, runs, approaches, budgets, held)
    if not fitted:
        print("error: no approach could be fitted to these runs", file=sys.stderr)
    return 0 if fitted else MISTAKE


def _print(
    source: str, runs: Runs, approaches: Sequence[Approach], budgets: Sequence[float], held: str
) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    print(
        f"{source}: {len(runs)} runs, {short(runs.params.min())} to {short(runs.params.max())} parameters, "
        f"{short(runs.flops.min())} to {short(runs.flops.max())} training FLOPs"
    )
    for note in runs.notes:
        print(f"  {note}")
    print(
        "\nL = E + A N^-alpha + B D^-beta; best N grows with compute to the power a; 95 % intervals"
    )
    laws = Table(box=None, header_style="bold", pad_edge=False)
    laws.add_column("approach", no_wrap=True)
    for name in _SHOWN:
        laws.add_column(name, no_wrap=True)
    for one in approaches:
        found = one.fit.intervals if one.fit else {}
        cells = [str(found[name]) if name in found else "-" for name in _SHOWN]
        laws.add_row(one.name, *(cells if one.fit else ["not fitted"]))
    console.print(laws)
    for one in approaches:
        if not one.fit:
            print(f"approach {one.key}: not fitted, {one.reason}")
        if one.warning:
            print(f"approach {one.key}: these runs do not settle it: {one.warning}")
    if any(one.fit for one in approaches):
        print()
        console.print(_decisions(approaches, budgets))
        if note := extrapolated(budgets, runs):
            print(note)
        print(f"approach 3, {held}\n")
    for one in approaches:
        if one.fit:
            print(f"approach {one.key} ({one.basis}), measured: {one.coverage}")


def _decisions(approaches: Sequence[Approach], budgets: Sequence[float]) -> Table:
    best = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "training FLOPs",
        "approach",
        "best parameters",
        "best tokens",
        "tokens per parameter",
    ):
        best.add_column(name, no_wrap=True)
    for budget in budgets:
        for one in approaches:
            if one.fit:
                params, tokens = one.fit.optimal(budget)
                ratio = short(tokens.value / params.value)
                best.add_row(short(budget), one.key, shown(params), shown(tokens), ratio)
    return best


def _write(
    options: LawsOptions,
    out: Path,
    runs: Runs,
    approaches: Sequence[Approach],
    budgets: list[float],
    held: str,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for one in approaches for row in one.rows(budgets)]
    write_atomic(out / RESULTS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    more = f" and {len(options.paths) - 1} more" if options.paths[1:] else ""
    title = f"Scaling laws of {options.paths[0].name}{more}"
    page = laws_report(title, runs, approaches, budgets, held, options.command)
    write_report(page, out / "report.html")
    print(f"results: {out / RESULTS}   report: {out / 'report.html'}")
