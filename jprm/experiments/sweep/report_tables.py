"""The tables of what a sweep found, on the terminal and on its page: comparisons, laws, votes better spent."""

import itertools
from collections.abc import Iterable
from typing import Any

from jprm.evaluate import BestOfNAccuracy, interval_row
from jprm.experiments.sweep.axis_comparisons import AxisComparisons
from jprm.experiments.sweep.cell_tables import cells_table
from jprm.experiments.sweep.comparisons import Comparison, p_value, seeds_and_problems
from jprm.experiments.sweep.equal_compute import Spent, Stopped
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.table import METHODS, MISSING_AS, Measured, best_of_n_rows
from jprm.report import Table, columns, print_table, shown
from jprm.terminal import terminal

COMPARISONS = Table(
    "Paired comparisons against the main cell",
    columns(
        "the main cell has: question | gain in F1: difference+ | finding | p | detectable | votes | "
        "solutions: benchmark"
    ),
    note="95 % intervals by bootstrap over problems, p by permutation within problems. Detectable: the difference "
    "that these problems would show in 4 of 5 times. Of several seeds: Student's interval over seeds and problems.",
)
ALONG_AXES = Table(
    "Points of the axes against one another",
    columns("point | gain in F1: difference+ | finding | p | detectable | votes | solutions: benchmark"),
    note="Cells that differ in one axis alone, paired by problem, each at the votes that were asked for: 95 % "
    "intervals by bootstrap over problems, p by permutation within problems, not corrected for the number of "
    "comparisons. A mean counts each solution by the share of the settings that judged it rightly. Of several seeds: "
    "Student's interval.",
)
VOTE_FITS = Table(
    "F1(N) = c + a N^-b over N votes; c is the F1 of unlimited votes",
    columns("cell | c* | b* | a* | residual: rms | what weakens it: weakness"),
)
LAWS = Table(
    "Laws of loss, error and votes",
    columns("law, and what it says: what | estimate and 95 % interval: estimate | coverage"),
    highlight="is_head",
)
STOPPED = Table(
    "Adaptive votes: a step's voting stops when more votes can hardly turn it",
    columns(
        "solutions: benchmark | seed | votes: mode | risk | votes a solution: votes_per_item_fixed | "
        "stopped early: votes_per_item | share saved: saved* | change of F1: f1_change+ | no verdict: missing_share%"
    ),
    note="risk 0: stops where nothing can turn the step. A vote counts as Yes where its reward is at least 1/2. "
    "The votes of a chain can only be stopped whole: there the saving is an upper bound.",
)
SPENT = Table(
    "Solutions against verifications at equal compute",
    columns(
        "compute, in solutions: budget | self-consistency: self_consistency* | verifier* | solutions x votes: chosen | "
        "gain+ | none judged: silent%"
    ),
)
BEST_OF_N = Table(
    "Accuracy of the solution chosen among N samples of the policy.",
    columns(
        f"solutions: k | {' | '.join(f'{name}: {key}*' for name, key in METHODS.items())} | "
        "gain of the verifier over the majority: gain+ | none judged: silent%"
    ),
)
CHOOSING = Table(
    "Accuracy of the solution that each cell chooses.",
    columns(
        "cell | solutions: candidates | votes: n_votes | verifier: best* | majority* | "
        "gain of the verifier over the majority: gain+ | none judged: missing_share%"
    ),
)


def found_tables(findings: Findings) -> dict[str, list[Table]]:
    """Returns the tables of what was found, by the section of the page in which they stand."""
    stopped, spent = findings.stopped, findings.spent
    found = comparisons_table(findings.comparisons), along_axes_table(findings.along_axes)
    return {
        "What was found": [table for table in found if table.rows],
        "Best of N": _best_of_n(findings),
        "Votes better spent": [table for table in (stopped_table(stopped), spent_table(spent)) if table.rows],
        "Laws": [laws_table(findings), vote_fits_table(findings)],
    }


def print_tables(measured: list[Measured], findings: Findings) -> None:
    """Prints all tables: a block of rows for each cell, and below it what was found."""
    out = terminal()
    for table in (cells_table(measured, in_blocks=True), *itertools.chain(*found_tables(findings).values())):
        if table.rows:
            print_table(table, out)
            out.print()


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Every comparison with interval, permutation test and what could have been found."""
    return COMPARISONS.of(map(_compared, comparisons))


def along_axes_table(found: AxisComparisons) -> Table:
    """The points of the axes against one another, and how many such comparisons are not made."""
    more = f" {found.left_out:,} more comparisons in single settings are not made." if found.left_out else ""
    return ALONG_AXES.of(({"point": c.question} | _compared(c) for c in found.made), ALONG_AXES.note + more)


def _compared(c: Comparison) -> dict[str, Any]:
    return {
        "question": c.question,
        "finding": c.verdict + (f"; {seeds_and_problems(c.spread)}" if c.spread else ""),
        "p": p_value(c.paired.permutation_p) if c.paired else "-",
        "detectable": c.paired.detectable if c.paired else None,
        "votes": c.votes,
        "benchmark": c.benchmark,
        **interval_row("difference", c.difference),
    }


def vote_fits_table(findings: Findings) -> Table:
    """The saturating vote law of every cell of the grid."""
    rows = []
    for name, fit in findings.vote_fits:
        row = {"cell": name, "rms": fit.rms, "weakness": fit.reason or fit.warning}
        for key, value in fit.parameters.items():
            row |= interval_row(key, value)
        rows.append(row)
    coverage = {fit.measured_coverage for _, fit in findings.vote_fits} - {""}
    note = ". ".join(["95 % intervals over resampled problems", *(f"Measured: {c}" for c in coverage)])
    return VOTE_FITS.of(rows, f"{note}.")


def laws_table(findings: Findings) -> Table:
    """The other laws, a row per quantity, with the measured coverage of their intervals below."""
    marks: dict[str, str] = {}  # (a), (b), ... of each coverage, which many intervals share
    rows = []

    def add(name: str, refusal: str, quantities: Iterable[tuple[str, str]], coverage: str, weakness: str) -> None:
        mark = marks.setdefault(coverage, f"({chr(ord('a') + len(marks))})") if coverage else ""
        refused = f"not fitted: {refusal}" if refusal else ""
        rows.append({"what": name, "estimate": refused, "coverage": "", "is_head": True})
        for what, estimate in quantities:
            rows.append({"what": what, "estimate": estimate, "coverage": mark if "[" in estimate else ""})
        if weakness:
            rows.append({"what": "what weakens it", "estimate": weakness, "coverage": ""})

    for name, fit in findings.axis_fits():
        quantities = [(key, shown(value)) for key, value in fit.parameters.items()]
        add(f"{name}, {fit.law}", fit.reason, quantities, fit.measured_coverage, fit.warning)
    for law in findings.laws:
        add(law.name, law.refusal, law.quantities, law.coverage, law.note)
    return LAWS.of(rows, " ".join(f"{mark} measured: {coverage}." for coverage, mark in marks.items()))


def stopped_table(stopped: Iterable[Stopped]) -> Table:
    """What the sequential rule saves, per main cell and risk."""
    return STOPPED.of({"benchmark": s.benchmark, "seed": s.seed, "mode": s.mode} | s.result.row() for s in stopped)


def spent_table(spent: Spent | None) -> Table:
    """Self-consistency and the verifier at each budget; empty where there are no candidates."""
    if spent is None:
        return SPENT
    rows = []
    for at in spent.frontier:
        silent = [spent.table.missing[point].mean() for point in at.chosen]
        row = {
            "budget": at.budget,
            "chosen": " or ".join(f"{s} x {v}" for s, v in dict.fromkeys(at.chosen)) or None,
            "silent": sum(silent) / len(silent) if silent else None,
        }
        estimates = {"self_consistency": at.self_consistency, "verifier": at.verifier, "gain": at.gain}
        for name, estimate in estimates.items():
            row |= interval_row(name, estimate)
        rows.append(row)
    return SPENT.of(
        rows,
        f"{spent.verdict} A verification costs {spent.table.ratio:.2f} solutions "
        f"({spent.verification_tokens:.0f} tokens against {spent.solution_tokens:.0f}). The best point of each method "
        "is chosen on one half of the problems and scored on the other. Intervals over problems; those of a paired "
        "gain between two points covered the truth in 96.8 % of 124 simulated sets.",
    )


def _best_of_n(findings: Findings) -> list[Table]:
    """The main cell's choices, and where several cells choose, each of them at the most candidates."""
    if findings.best_of_n is None:
        return []
    tables = [best_of_n_table(findings.best_of_n)]
    if len(findings.choosing) > 1:
        most = max(findings.best_of_n.ks)
        rows = [row for row in best_of_n_rows(findings.choosing) if row["candidates"] == most]
        tables.append(CHOOSING.of(rows, "The rows with fewer candidates stand in best_of_n.jsonl."))
    return tables


def best_of_n_table(best: BestOfNAccuracy) -> Table:
    """Accuracy of the chosen solution by method, and whether the verifier beats the majority."""
    rows = []
    for k in best.ks:
        row: dict[str, Any] = {"k": k, "silent": best.missing_share("best", k)}
        row |= interval_row("gain", best.gain("best", "majority", k))
        for method in METHODS.values():
            row |= interval_row(method, best.interval(method, k))
        rows.append(row)
    gain = best.gain("best", "majority", best.ks[-1])
    verdict = "beats" if gain.low > 0 else "loses against" if gain.high < 0 else "is not told apart from"
    return BEST_OF_N.of(
        rows,
        f"Of {best.ks[-1]} solutions, the verifier's choice {verdict} the majority vote. "
        "pass@k: any of them is right. verifier: the highest least step reward. Where none was judged, verifier and "
        f"weighted vote choose nothing, which is {MISSING_AS[best.missing_as]}.",
    )
