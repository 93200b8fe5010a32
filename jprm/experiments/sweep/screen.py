"""The last screen of a sweep: the main result in a sentence, what was found, the laws, and where the rest stands.

It is short enough for any terminal. The full tables are those of the report; `print_tables` prints them.
"""

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from jprm.evaluate import interval_row
from jprm.experiments.sweep.comparisons import Comparison, p_value
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.short_names import short_labels
from jprm.experiments.sweep.table import MISSING_AS, Measured, one_vote_note
from jprm.report import Table, columns, print_table, shown
from jprm.scaling import Fit
from jprm.terminal import terminal

MOST_FOUND = 6  # comparisons
MOST_LAWS = 4
FOUND = Table("Found", columns("question | gain in F1: difference+ | p | finding"))


def print_screen(measured: list[Measured], findings: Findings, run: Path) -> None:
    """Prints the headline, the findings, the laws, and where the report and the tables are."""
    out = terminal()
    for sentence in headline(measured, findings):
        out.print(sentence)
    comparisons = found_first(findings)
    if comparisons:
        out.print()
        rows = [
            {"question": c.question, "p": p_value(c.paired.permutation_p) if c.paired else "-", "finding": c.verdict}
            | interval_row("difference", c.difference)
            for c in comparisons[:MOST_FOUND]
        ]
        print_table(FOUND.of(rows))
        if more := len(comparisons) - len(rows):
            out.print(f"{more} more comparisons stand in the report.", style="dim")
    out.print()
    for law in list(laws_in_a_line(findings))[:MOST_LAWS]:
        out.print(law, soft_wrap=True)
    tables = shlex.join(["python", "-m", "jprm", "report", str(run), "--tables"])
    out.print(f"report: {run / 'report.html'}   all tables: {tables}", soft_wrap=True)


def headline(measured: list[Measured], findings: Findings) -> list[str]:
    """The main result in a sentence, what one has without reading, and what other cells and equal compute say."""
    main = measured[0]
    cell, k = main.cell, main.cell.votes_asked
    verifier, benchmark = cell.verifier, cell.votes.benchmark.name
    kind, missing = main.curve.missing_as, main.curve.missing_share(k)
    said = [
        f"{verifier.size} trained on {verifier.examples} examples has F1 {main.curve.f1(k)} at {_votes(k)} on "
        f"{len(main.curve.labels)} solutions ({benchmark})"
        + (f"; one vote: {main.curve.f1(1)}; gain {format(main.curve.gain(k), '+.3f')}." if k > 1 else ".")
    ]
    if baselines := findings.baselines:
        name, f1 = max(next(iter(baselines.values())).items(), key=lambda scored: scored[1])
        said.append(f"Without reading, the best that one can say ({name}) has F1 {f1:.3f}.")
    if missing:
        said.append(f"{missing:.1%} of the solutions got no verdict, which is {MISSING_AS[kind]}.")
    if note := one_vote_note(measured):
        said.append(note)
    if (best := best_point(measured)) is not None:
        label, m = best
        said.append(
            f"The best of {len(measured)} cells is {label}: F1 {m.curve.f1(m.cell.votes_asked)} at "
            f"{_votes(m.cell.votes_asked)}, chosen on these solutions and so a little too good."
        )
    if findings.spent:
        said.append(findings.spent.verdict)
    return said


def best_point(measured: list[Measured]) -> tuple[str, Measured] | None:
    """The cell of the highest F1 with its label, where axes make several; None elsewhere."""
    scored = [m for m in measured if math.isfinite(m.curve.f1(m.cell.votes_asked).value)]
    if not measured[0].cell.values or len(scored) < 2:
        return None
    best = max(scored, key=lambda m: m.curve.f1(m.cell.votes_asked).value)
    return short_labels([m.cell for m in measured])[measured.index(best)], best


def found_first(findings: Findings) -> list[Comparison]:
    """All comparisons: those of the axes after those of the main cell, and of each those that are told apart first."""
    groups = findings.comparisons, findings.along_axes.made
    return [c for group in groups for c in sorted(group, key=lambda c: not c.is_told_apart)]


def laws_in_a_line(findings: Findings) -> Iterator[str]:
    """The fitted laws with the intervals of their exponents, the reasons of those that could not be fitted last."""
    refused = []
    votes = sorted(findings.vote_fits, key=lambda named: not named[1].ok)[:1]  # the main cell's, if it has one
    fits = [*findings.axis_fits(), *((f"votes of {name}", fit) for name, fit in votes)]
    for name, fit in fits:
        if fit.ok:
            yield f"law: {name}: {_parameters(fit)}"
        else:
            refused.append(f"no law of {name}: {fit.reason}")
    for law in findings.laws:
        exponents = [f"{what} {value}" for what, value in law.quantities if what.startswith(("floor", "exponent"))]
        if exponents:
            yield f"law: {law.name}: {', '.join(exponents)}"
        elif law.refusal:
            refused.append(f"no law of {law.name}: {law.refusal}")
    yield from refused


def _parameters(fit: Fit) -> str:
    return f"{fit.law}, {', '.join(f'{name} {shown(value)}' for name, value in fit.parameters.items())}"


def _votes(n: int) -> str:
    return "one vote" if n == 1 else f"{n} votes"
