"""`python -m jprm laws FILE`: from a table of runs to laws, best sizes, and a page that shows them."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from jprm.errors import MISTAKE, UserError
from jprm.evaluate import Interval, interval_row
from jprm.experiments.laws_figures import laws_figures
from jprm.jobs import write_rows
from jprm.report.pages import Block, Details, Headline, Page, Section, Text, write_page
from jprm.report.tables import Table, columns, print_table, short
from jprm.scaling import BestSizes, Bootstrap, Chinchilla
from jprm.scaling.laws import RESULTS, Columns, Decided, decide, read_runs, read_table
from jprm.terminal import say

BEST_SIZES = Table(
    "",
    columns(
        "training FLOPs: flops~ | approach | best parameters: params~ | best tokens: tokens~ | "
        "tokens per parameter: ratio~"
    ),
)
QUANTITIES = Table("", columns("approach | fitted to: basis | E* | A~ | B~ | alpha* | beta* | a*"))
METHODS = """
The law is L(N, D) = E + A N^-alpha + B D^-beta in parameters N and training tokens D, and C = 6 N D FLOPs are spent on
training. `a` is the power of C with which the best N grows.

Approaches 3 and 3' fit the law to the last loss of every run, by objectives that weigh the points differently: where
they disagree, the runs do not settle the exponents. Approach 2 finds the best size at each of several budgets by a
parabola and draws a line through them, approach 1 does so with the lowest training curve. Both are biased where alpha
and beta differ and grids are wide, and where the learning rate was not decayed at the point that is read.
"""


def run_laws(
    paths: Sequence[Path],
    columns: Columns,
    *,
    where: Sequence[str] = (),
    drop_highest: int = 0,
    derive_tokens: bool = False,
    budgets: Sequence[float] = (),
    bootstrap: Bootstrap = "points",
    resamples: int = 500,
    seed: int = 0,
    out: Path | None = None,
    command: str = "",
) -> int:
    """Fits, prints and writes; returns the exit code: 0 where at least one approach was fitted, otherwise 2.

    where: KEY=VALUE that a row must have. drop_highest: how many runs of the highest loss are left out. derive_tokens:
    whether tokens are computed from FLOPs. budgets: training FLOPs. out: the directory of the results and the page.
    Raises UserError for a file, column or number that cannot be read.
    """
    if bad := [budget for budget in budgets if not 0 < budget < math.inf]:
        raise UserError(f"--budget {bad[0]:g}: a number of FLOPs above 0 is needed, such as 1e21")
    if bootstrap not in get_args(Bootstrap):
        raise UserError(f"--bootstrap {bootstrap}: choose points or residuals")
    if out:
        read = [path / RESULTS if path.is_dir() else path for path in paths]
        is_read = (out / RESULTS).resolve() in (path.resolve() for path in read)
        if is_read or (out / "config.json").exists():
            raise UserError(f"--out {out}: its {RESULTS} belongs to another run; choose another directory")
    table = read_table(*paths)
    runs = read_runs(table, columns, where=where, drop_highest=drop_highest, derive_tokens=derive_tokens)
    found = decide(runs, tuple(budgets), resamples=resamples, bootstrap=bootstrap, seed=seed)
    print_laws(table.source, found)
    if out:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be made ({error.strerror})") from None
        write_rows(out / RESULTS, [row for one in found.approaches for row in one.rows(found.budgets)])
        more = f" and {len(paths) - 1} more" if paths[1:] else ""
        write_page(laws_page(f"Scaling laws of {paths[0].name}{more}", found, command), out)
        say(f"results: {out / RESULTS}   report: {out / 'report.html'}")
    if not found.fitted:
        print("error: no approach could be fitted to these runs", file=sys.stderr)
    return 0 if found.fitted else MISTAKE


def best_sizes(found: Decided) -> list[dict[str, Any]]:
    """The rows of `BEST_SIZES`: one for every budget and fitted approach."""
    rows = []
    for budget in found.budgets:
        for one in found.fitted:
            assert one.fit
            params, tokens = one.fit.optimal(budget)
            sizes = interval_row("params", params) | interval_row("tokens", tokens)
            rows.append({"flops": budget, "approach": one.key, "ratio": tokens.value / params.value} | sizes)
    return rows


def quantities(found: Decided) -> list[dict[str, Any]]:
    """The rows of `QUANTITIES`: one for every approach, those that could not be fitted among them."""
    rows = []
    for one in found.approaches:
        row = {"approach": one.name, "basis": one.basis or "not fitted"}
        for name, estimate in (one.fit.intervals if one.fit else {}).items():
            row |= interval_row(name, estimate)
        rows.append(row)
    return rows


def summary(found: Decided) -> str:
    """Says what runs these are."""
    sizes, flops = found.runs.params, found.runs.flops
    return (
        f"{len(found.runs)} runs of {short(sizes.min())} to {short(sizes.max())} parameters and "
        f"{short(flops.min())} to {short(flops.max())} training FLOPs"
    )


def extrapolated(found: Decided) -> str:
    """Says how far the largest budget lies beyond the runs; empty where it does not."""
    most, largest = max(found.budgets), float(found.runs.flops.max())
    if most <= 1.001 * largest:
        return ""
    return f"{short(most)} FLOPs are {most / largest:.3g} times those of the largest run."


def print_laws(source: str, found: Decided) -> None:
    """Prints what was read, the laws, what weakens them, the best sizes, and how often such intervals hold."""
    say(f"{source}: {summary(found)}")
    for note in found.runs.notes:
        say(f"  {note}")
    print("\nL = E + A N^-alpha + B D^-beta; best N grows with compute to the power a; 95 % intervals")
    print_table(QUANTITIES.of(quantities(found)))
    for one in found.approaches:
        if not one.fit:
            say(f"approach {one.key}: not fitted, {one.reason}")
        if one.warning:
            say(f"approach {one.key}: these runs do not settle it: {one.warning}")
    if found.fitted:
        print()
        print_table(BEST_SIZES.of(best_sizes(found)))
        if note := extrapolated(found):
            say(note)
        print(f"approach 3, {found.held_out}\n")
    for one in found.fitted:
        print(f"approach {one.key} ({one.basis}), measured: {one.coverage}")


def laws_page(title: str, found: Decided, command: str = "") -> Page:
    """The page: the decision, the laws behind it, figures, and where it all came from."""
    beyond = extrapolated(found)
    note = f"{beyond} Intervals do not know whether the law holds there." if beyond else ""
    best = BEST_SIZES.of(best_sizes(found), note)
    coverage = Text("\n\n".join(f"Approach {one.key}, measured: {one.coverage}." for one in found.fitted))
    lead = (
        f"{summary(found)}; {len(found.fitted)} of {len(found.approaches)} approaches could be fitted. "
        "Intervals are 95 %."
    )
    sections = [
        Section("Best sizes", [best, Text(f"Approach 3, {found.held_out}.")]),
        Section("Laws", [QUANTITIES.of(quantities(found), _weaknesses(found)), coverage]),
        Section("Figures", laws_figures(found)),
        Section("Runs", _runs(found)),
        Section("Methods", [Text(METHODS)]),
    ]
    return Page(title, lead, sections, _headline(found), command)


def _weaknesses(found: Decided) -> str:
    reasons = [f"Approach {one.key} is not fitted: {one.reason}." for one in found.approaches if one.reason]
    reasons += [
        f"Approach {one.key}: these runs do not settle it: {one.warning}." for one in found.approaches if one.warning
    ]
    return " ".join(reasons)


def _headline(found: Decided) -> list[Headline]:
    first = next(iter(found.fitted), None)
    if first is None or first.fit is None:
        return []
    budget = max(found.budgets)
    fit, at = first.fit, f"at {short(budget)} FLOPs, approach {first.key}"
    sizes = zip(("best parameters", "best tokens"), fit.optimal(budget), strict=True)
    labels = {"alpha": "alpha", "beta": "beta", "a": "a: best N grows as C^a"}
    exponents = [(labels[name], x) for name, x in fit.intervals.items() if name in labels]
    return [
        *(Headline(short(x.value), name, f"{_ends(x)} {at}") for name, x in sizes),
        *(Headline(f"{x.value:.3f}", name, _ends(x)) for name, x in exponents),
    ]


def _ends(x: Interval) -> str:
    return f"[{short(x.low)}, {short(x.high)}]"


def _runs(found: Decided) -> list[Block]:
    """What was read and left out, and what each fit left out."""
    details: dict[str, object] = {"runs": len(found.runs), "training curves": len(found.runs.curves)}
    for one in found.fitted:
        if isinstance(one.fit, Chinchilla) and one.fit.law.agreed is not None:
            details[f"descents of approach {one.key} that agree"] = one.fit.law.agreed
        if isinstance(one.fit, BestSizes) and one.fit.dropped:
            details[f"budgets that approach {one.key} left out"] = "\n".join(one.fit.dropped)
    notes = "\n\n".join(f"{note[0].upper()}{note[1:]}." for note in found.runs.notes)
    return [Text(notes), Details(details)]
