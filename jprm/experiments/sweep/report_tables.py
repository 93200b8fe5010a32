"""The tables of a sweep's page: what was compared, the laws, votes better spent, what was dropped."""

from __future__ import annotations

import math
from collections.abc import Iterable

from jprm.evaluate import BestOfNAccuracy
from jprm.experiments.sweep.comparisons import Comparison, p_value, seeds_and_problems
from jprm.experiments.sweep.equal_compute import Spent, Stopped
from jprm.experiments.sweep.findings import METHODS, CoverageNotes, Findings
from jprm.experiments.sweep.table import MISSING_AS, Measured
from jprm.scaling import Table, shown
from jprm.tasks.benchmark import SolutionSet

PLACES_SHOWN = 5  # of what was dropped, those with the most


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Every comparison with interval, permutation test and what could have been found."""
    rows = []
    for c in comparisons:
        p = p_value(c.paired.permutation_p).removeprefix("= ") if c.paired else "-"
        detectable = c.paired.detectable if c.paired else math.nan
        finding = c.verdict + (f"; {seeds_and_problems(c.spread)}" if c.spread else "")
        rows.append([c.question, c.difference, finding, p, detectable, c.votes, c.benchmark])
    columns = ["main cell: ...", "gain in F1", "finding", "p", "detectable", "votes", "solutions"]
    return Table(
        columns,
        rows,
        caption="Paired comparisons against the main cell",
        note="95 % intervals by bootstrap over problems, p by permutation within problems. Detectable: the difference "
        "that these problems would show in 4 of 5 times. Of several seeds: Student's interval over seeds and problems.",
    )


def vote_fits_table(findings: Findings) -> Table:
    """The saturating vote law of every cell of the grid."""
    rows = []
    for name, fit in findings.vote_fits:
        values = [fit.parameters.get(key) for key in ("c", "b", "a")]
        rows.append([name, *values, fit.rms, fit.reason or fit.warning])
    coverage = {fit.measured_coverage for _, fit in findings.vote_fits} - {""}
    return Table(
        ["cell", "c", "b", "a", "residual", "what weakens it"],
        rows,
        caption="F1(N) = c + a N^-b over N votes; c is the F1 of unlimited votes",
        note=". ".join(["95 % intervals over resampled problems", *(f"Measured: {c}" for c in coverage)]) + ".",
    )


def laws_table(findings: Findings) -> Table:
    """The other laws, a row per quantity, with the measured coverage of their intervals below."""
    notes, rows, starts = CoverageNotes(), [], []
    for name, fit in findings.axis_fits():
        starts.append(len(rows))
        mark = notes.mark(fit.measured_coverage).strip()
        rows.append([f"{name}, {fit.law}", f"not fitted: {fit.reason}" if fit.reason else "", ""])
        rows += [[key, shown(value), mark] for key, value in fit.parameters.items()]
        rows += [["what weakens it", fit.warning, ""]] if fit.warning else []
    for law in findings.laws:
        starts.append(len(rows))
        mark = notes.mark(law.coverage).strip()
        rows.append([law.name, f"not fitted: {law.refusal}" if law.refusal else "", ""])
        rows += [[key, value, mark if "[" in value else ""] for key, value in law.quantities]
        rows += [["what weakens it", law.note, ""]] if law.note else []
    return Table(
        ["law, and what it says", "estimate and 95 % interval", "coverage"],
        rows,
        caption="Laws of loss, error and votes",
        note=" ".join(f"{line}." for line in notes.lines()),
        highlight=starts,
    )


def stopped_table(stopped: Iterable[Stopped]) -> Table:
    """What the sequential rule saves, per main cell and risk."""
    rows = []
    for s in stopped:
        row = s.result.row()
        spent = [row["votes_per_item_fixed"], row["votes_per_item"]]
        silent = f"{row['missing_share']:.1%}"
        rows.append([s.benchmark, s.seed, s.result.risk, *spent, s.result.saved, s.result.change, silent])
    columns = ["solutions", "seed", "risk", "votes a solution", "stopped early", "share saved"]
    return Table(
        [*columns, "change of F1", "no verdict"],
        rows,
        caption="Adaptive votes: a step's voting stops when more votes can hardly turn it",
        note="risk 0: stops where nothing can turn the step. A vote counts as Yes where its reward is at least 1/2. "
        "The votes of a chain can only be stopped whole: there the saving is an upper bound.",
    )


def spent_table(spent: Spent) -> Table:
    """Self-consistency and the verifier at each budget."""
    rows = []
    for at in spent.frontier:
        chosen = " or ".join(f"{s} x {v}" for s, v in dict.fromkeys(at.chosen))
        silent = [spent.table.missing[point].mean() for point in at.chosen]
        share = f"{sum(silent) / len(silent):.1%}" if silent else None
        rows.append([at.budget, at.self_consistency, at.verifier, chosen or None, at.gain, share])
    columns = ["compute, in solutions", "self-consistency", "verifier", "solutions x votes", "gain"]
    return Table(
        [*columns, "none judged"],
        rows,
        caption="Solutions against verifications at equal compute",
        note=f"A verification costs {spent.table.ratio:.2f} solutions ({spent.verification_tokens:.0f} tokens against "
        f"{spent.solution_tokens:.0f}). The best point of each method is chosen on one half of the problems and scored "
        "on the other. Intervals over problems; those of a paired gain between two points covered the truth in 96.8 % "
        "of 124 simulated sets.",
    )


def best_of_n_table(best: BestOfNAccuracy) -> Table:
    """Accuracy of the chosen solution by method."""
    rows = [
        [k, *(best.interval(method, k) for method in METHODS.values())] + [f"{best.missing_share('best', k):.1%}"]
        for k in best.ks
    ]
    return Table(
        ["solutions", *METHODS, "none judged"],
        rows,
        caption="Accuracy of the solution chosen among N samples of the policy.",
        note="pass@k: any of them is right. verifier: the highest least step reward. Where none was judged, verifier "
        f"and weighted vote choose nothing, which is {MISSING_AS[best.missing_as]}.",
    )


def dropped_table(measured: list[Measured]) -> Table:
    """What did not make it into the numbers: of each kind the total, and the places with the most."""
    found: dict[str, dict[str, tuple[int, int]]] = {
        "votes without a verdict (None)": {},
        "code that ran out of time": {},
        "code that failed": {},
        "rows rejected in reading": {},
        "samples without the form of a solution": {},
    }

    def count(what: str, where: str, n: int, of: int) -> None:
        found.setdefault(what, {})[where] = n, of

    for m in measured:
        votes, verifier, stages = m.cell.votes, m.cell.verifier, m.stages
        sampled = stages[votes].summary
        count("votes without a verdict (None)", m.cell.name, sampled["none"], sampled["rationales"])
        if pool := sampled.get("pool"):
            count("code that ran out of time", m.cell.name, pool["timeouts"], pool["snippets"])
            count("code that failed", m.cell.name, pool["errors"] + pool["died"], pool["snippets"])
            lacking = pool.get("memory", 0) + pool.get("sandbox", 0)
            if lacking:
                count("code that the machine could not run", m.cell.name, lacking, pool["snippets"])
        _count_benchmark(count, votes.benchmark, stages[votes.benchmark].summary)
        trained = stages[verifier].summary
        for reason, n in trained["filter"]["dropped"].items():
            labelled = trained["filter"]["kept"] + sum(trained["filter"]["dropped"].values())
            count(f"labelled solutions: {reason}", verifier.label, n, labelled)
        labels = stages[verifier.labels].summary
        for reason, n in labels.get("unused", {}).items():
            count(f"problems: {reason}", f"labels of seed {verifier.seed}", n, labels["problems"])
    rows, starts = [], []
    for what, places in found.items():
        starts.append(len(rows))
        rows.append([what, "in all", *map(sum, zip((0, 0), *places.values(), strict=True))])
        most = sorted(places.items(), key=lambda place: -place[1][0])[:PLACES_SHOWN]
        rows += [["", where, *n] for where, n in most if n[0] and len(places) > 1]
    return Table(["what", "where", "count", "of"], rows, highlight=starts)


def code_table(measured: list[Measured]) -> Table:
    """How the checks of each cell ran. A cell that was resumed tells of its last sitting."""
    rows = []
    cells = {m.cell.votes: m for m in measured}
    for votes, m in cells.items():
        summary = m.stages[votes].summary
        if m.cell.sampling.execution != "executed" or "pool" not in summary:
            continue
        pool = summary["pool"]
        ran = max(1, pool["snippets"] - pool["memo_hits"])
        rows.append(
            [
                votes.label,
                pool["snippets"],
                pool["memo_hits"],
                pool["errors"],
                pool["timeouts"],
                pool["died"],
                f"{1000 * pool['queue_s'] / ran:.1f}",
                f"{1000 * pool['run_s'] / ran:.1f}",
                summary["code_ran"],
            ]
        )
    header = "cell|pieces|known outcome|errors|time-outs|died|waited, mean ms|ran, mean ms|where"
    return Table(header.split("|"), rows)


def _count_benchmark(count, benchmark: SolutionSet, summary: dict) -> None:
    where = f"{benchmark.name} (seed {benchmark.seed})"
    if "rejected" in summary:
        read = summary["items"] + summary["rejected"]
        count("rows rejected in reading", where, summary["rejected"], read)
    if "malformed" in summary:
        count("samples without the form of a solution", where, summary["malformed"], summary["sampled"])
