"""The page of a table of runs: the decision, the laws behind it, figures, and where it all came from."""

from __future__ import annotations

from collections.abc import Sequence

from jprm.evaluate import Interval
from jprm.scaling.chinchilla import Chinchilla
from jprm.scaling.isoflop import BestSizes
from jprm.scaling.laws.approaches import QUANTITIES, Approach
from jprm.scaling.laws.decisions import COLUMNS, Decided
from jprm.scaling.laws.figures import laws_figures
from jprm.scaling.plots import short, shown
from jprm.scaling.report import Block, Cell, Facts, Headline, Report, Section, Table, Text

_METHODS = """
The law is L(N, D) = E + A N^-alpha + B D^-beta in parameters N and training tokens D, and C = 6 N D FLOPs are spent on
training. `a` is the power of C with which the best N grows.

Approaches 3 and 3' fit the law to the last loss of every run, by objectives that weigh the points differently: where
they disagree, the runs do not settle the exponents. Approach 2 finds the best size at each of several budgets by a
parabola and draws a line through them, approach 1 does so with the lowest training curve. Both are biased where alpha
and beta differ and grids are wide, and where the learning rate was not decayed at the point that is read.
"""


def laws_report(title: str, found: Decided, command: str = "") -> Report:
    """The report, for `jprm.scaling.write_report`."""
    beyond = found.extrapolated()
    note = f"{beyond} Intervals do not know whether the law holds there." if beyond else ""
    sections = [
        Section("Best sizes", [Table(COLUMNS, found.rows(), note=note), Text(f"Approach 3, {found.held_out}.")]),
        Section("Laws", [_laws(found.approaches), _coverage(found.fitted)]),
        Section("Figures", laws_figures(found)),
        Section("Runs", _data(found)),
        Section("Methods", [Text(_METHODS)]),
    ]
    lead = (
        f"{found.summary()}; {len(found.fitted)} of {len(found.approaches)} approaches could be fitted. "
        "Intervals are 95 %."
    )
    return Report(title, lead, sections, _headline(found), command)


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


def _laws(approaches: Sequence[Approach]) -> Table:
    """A column for each approach, the reasons of those that could not be fitted below."""
    rows: list[list[Cell]] = [["fitted to", *(one.basis or "not fitted" for one in approaches)]]
    for name in QUANTITIES:
        found = [one.fit.intervals.get(name) if one.fit else None for one in approaches]
        said = shown if name in ("A", "B") else str  # those may be of any size
        rows.append([name, *(said(x) if x else None for x in found)])
    reasons = [f"Approach {one.key} is not fitted: {one.reason}." for one in approaches if one.reason]
    reasons += [f"Approach {one.key}: these runs do not settle it: {one.warning}." for one in approaches if one.warning]
    return Table(["", *(one.name for one in approaches)], rows, note=" ".join(reasons))


def _coverage(fitted: Sequence[Approach]) -> Text:
    return Text("\n\n".join(f"Approach {one.key}, measured: {one.coverage}." for one in fitted))


def _data(found: Decided) -> list[Block]:
    runs = found.runs
    facts: dict[str, object] = {"runs": len(runs), "training curves": len(runs.curves)}
    for one in found.fitted:
        if isinstance(one.fit, Chinchilla) and one.fit.law.agreed is not None:
            facts[f"descents of approach {one.key} that agree"] = one.fit.law.agreed
        if isinstance(one.fit, BestSizes) and one.fit.dropped:
            facts[f"budgets that approach {one.key} left out"] = "\n".join(one.fit.dropped)
    return [Text("\n\n".join(f"{note[0].upper()}{note[1:]}." for note in runs.notes)), Facts(facts)]
