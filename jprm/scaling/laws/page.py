"""The page of a table of runs: the decision, the laws behind it, figures, and where it all came from."""

from __future__ import annotations

from collections.abc import Sequence

from jprm.evaluate import Interval
from jprm.scaling.chinchilla import Chinchilla
from jprm.scaling.isoflop import BestSizes
from jprm.scaling.laws.approaches import QUANTITIES, Approach
from jprm.scaling.laws.figures import laws_figures
from jprm.scaling.laws.runs import Runs
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


def laws_report(
    title: str,
    runs: Runs,
    approaches: Sequence[Approach],
    budgets: Sequence[float],
    held_out: str,
    command: str,
) -> Report:
    """The report, for `jprm.scaling.write_report`; `held_out` is what `held_out_largest` says."""
    fitted = [one for one in approaches if one.fit]
    sections = [
        Section(
            "Best sizes", [_decisions(budgets, approaches, runs), Text(f"Approach 3, {held_out}.")]
        ),
        Section("Laws", [_laws(approaches), _coverage(fitted)]),
        Section("Figures", laws_figures(runs, approaches, budgets)),
        Section("Runs", _data(runs, approaches)),
        Section("Methods", [Text(_METHODS)]),
    ]
    lead = (
        f"{len(runs)} runs of {short(runs.params.min())} to {short(runs.params.max())} parameters and "
        f"{short(runs.flops.min())} to {short(runs.flops.max())} training FLOPs; {len(fitted)} of {len(approaches)} "
        "approaches could be fitted. Intervals are 95 %."
    )
    return Report(title, lead, sections, _headline(fitted, budgets), command)


def _headline(fitted: Sequence[Approach], budgets: Sequence[float]) -> list[Headline]:
    if not fitted or not fitted[0].fit:
        return []
    fit, at = fitted[0].fit, f"at {short(max(budgets))} FLOPs, approach {fitted[0].key}"
    sizes = zip(("best parameters", "best tokens"), fit.optimal(max(budgets)), strict=True)
    labels = {"alpha": "alpha", "beta": "beta", "a": "a: best N grows as C^a"}
    exponents = [(labels[name], x) for name, x in fit.intervals.items() if name in labels]
    return [
        *(Headline(short(x.value), name, f"{_ends(x)} {at}") for name, x in sizes),
        *(Headline(f"{x.value:.3f}", name, _ends(x)) for name, x in exponents),
    ]


def _ends(x: Interval) -> str:
    return f"[{short(x.low)}, {short(x.high)}]"


def _decisions(budgets: Sequence[float], approaches: Sequence[Approach], runs: Runs) -> Table:
    rows = []
    for budget in budgets:
        for one in approaches:
            if one.fit:
                params, tokens = one.fit.optimal(budget)
                ratio = short(tokens.value / params.value)
                rows.append([short(budget), one.key, shown(params), shown(tokens), ratio])
    note = extrapolated(budgets, runs)
    return Table(
        ["training FLOPs", "approach", "best parameters", "best tokens", "tokens per parameter"],
        rows,
        note=f"{note} Intervals do not know whether the law holds there." if note else "",
    )


def extrapolated(budgets: Sequence[float], runs: Runs) -> str:
    """What budgets beyond the runs are; empty without any."""
    beyond = [budget for budget in budgets if budget > 1.001 * runs.flops.max()]
    if not beyond:
        return ""
    times = f"{max(beyond) / float(runs.flops.max()):.3g}"
    return f"{short(max(beyond))} FLOPs are {times} times those of the largest run."


def _laws(approaches: Sequence[Approach]) -> Table:
    """A column for each approach, the reasons of those that could not be fitted below."""
    rows: list[list[Cell]] = [["fitted to", *(one.basis or "not fitted" for one in approaches)]]
    for name in QUANTITIES:
        found = [one.fit.intervals.get(name) if one.fit else None for one in approaches]
        said = shown if name in ("A", "B") else str  # those may be of any size
        rows.append([name, *(said(x) if x else None for x in found)])
    reasons = [
        f"Approach {one.key} is not fitted: {one.reason}." for one in approaches if one.reason
    ]
    reasons += [
        f"Approach {one.key}: these runs do not settle it: {one.warning}."
        for one in approaches
        if one.warning
    ]
    return Table(["", *(one.name for one in approaches)], rows, note=" ".join(reasons))


def _coverage(fitted: Sequence[Approach]) -> Text:
    return Text("\n\n".join(f"Approach {one.key}, measured: {one.coverage}." for one in fitted))


def _data(runs: Runs, approaches: Sequence[Approach]) -> list[Block]:
    facts: dict[str, object] = {"runs": len(runs), "training curves": len(runs.curves)}
    for one in approaches:
        if isinstance(one.fit, Chinchilla) and one.fit.law.agreed is not None:
            facts[f"descents of approach {one.key} that agree"] = one.fit.law.agreed
        if isinstance(one.fit, BestSizes) and one.fit.dropped:
            facts[f"budgets that approach {one.key} left out"] = "\n".join(one.fit.dropped)
    return [Text("\n\n".join(f"{note[0].upper()}{note[1:]}." for note in runs.notes)), Facts(facts)]
