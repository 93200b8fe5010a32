"""`python -m jprm laws FILE`: from a table of runs to laws, best sizes, and a page that shows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.table import Table

from jprm.errors import MISTAKE, UserError
from jprm.jobs import write_atomic
from jprm.scaling.laws.columns import Columns
from jprm.scaling.laws.decisions import COLUMNS, Decided, decide
from jprm.scaling.laws.page import laws_report
from jprm.scaling.laws.runs import read_runs
from jprm.scaling.laws.table import RESULTS, read_table
from jprm.scaling.power_sum import Bootstrap
from jprm.scaling.report import write_report
from jprm.terminal import say, terminal

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
    _check(options)
    table = read_table(*options.paths)
    runs = read_runs(
        table,
        options.columns,
        where=options.where,
        drop_highest=options.drop_highest,
        derive_tokens=options.derive_tokens,
    )
    found = decide(runs, options.budgets, resamples=options.resamples, bootstrap=options.bootstrap, seed=options.seed)
    _print(table.source, found)
    if options.out:
        _write(options, options.out, found)
    if not found.fitted:
        print("error: no approach could be fitted to these runs", file=sys.stderr)
    return 0 if found.fitted else MISTAKE


def _check(options: LawsOptions) -> None:
    """What can be told before anything is read."""
    if bad := [budget for budget in options.budgets if not 0 < budget < float("inf")]:
        raise UserError(f"--budget {bad[0]:g}: a number of FLOPs above 0 is needed, such as 1e21")
    if options.bootstrap not in get_args(Bootstrap):
        raise UserError(f"--bootstrap {options.bootstrap}: choose points or residuals")
    if options.out:
        read = [path / RESULTS if path.is_dir() else path for path in options.paths]
        is_read = (options.out / RESULTS).resolve() in (path.resolve() for path in read)
        if is_read or (options.out / "config.json").exists():
            raise UserError(f"--out {options.out}: its {RESULTS} belongs to another run; choose another directory")


def _print(source: str, found: Decided) -> None:
    console = terminal()
    say(f"{source}: {found.summary()}")
    for note in found.runs.notes:
        say(f"  {note}")
    print("\nL = E + A N^-alpha + B D^-beta; best N grows with compute to the power a; 95 % intervals")
    rows = []
    for one in found.approaches:
        known = one.fit.intervals if one.fit else {}
        cells = [str(known[name]) if name in known else "-" for name in _SHOWN]
        rows.append([one.name, *(cells if one.fit else ["not fitted"])])
    console.print(_table(("approach", *_SHOWN), rows))
    for one in found.approaches:
        if not one.fit:
            say(f"approach {one.key}: not fitted, {one.reason}")
        if one.warning:
            say(f"approach {one.key}: these runs do not settle it: {one.warning}")
    if found.fitted:
        print()
        console.print(_table(COLUMNS, found.rows()))
        if note := found.extrapolated():
            say(note)
        print(f"approach 3, {found.held_out}\n")
    for one in found.fitted:
        print(f"approach {one.key} ({one.basis}), measured: {one.coverage}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _write(options: LawsOptions, out: Path, found: Decided) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror})") from None
    rows = [row for one in found.approaches for row in one.rows(found.budgets)]
    write_atomic(out / RESULTS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    more = f" and {len(options.paths) - 1} more" if options.paths[1:] else ""
    title = f"Scaling laws of {options.paths[0].name}{more}"
    write_report(laws_report(title, found, options.command), out / "report.html")
    say(f"results: {out / RESULTS}   report: {out / 'report.html'}")
