"""The tables of a sweep, on the terminal and on its page: cells, comparisons, laws, and what was dropped."""

from collections.abc import Callable, Iterable
from typing import Any

from jprm.evaluate import BestOfNAccuracy, interval_row
from jprm.experiments.sweep.comparisons import Comparison, p_value, seeds_and_problems
from jprm.experiments.sweep.equal_compute import Spent, Stopped
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.table import METHODS, MISSING_AS, Measured, best_of_n_rows, one_vote_note
from jprm.report import Table, columns, print_table, shown
from jprm.tasks.benchmark import SolutionSet
from jprm.terminal import terminal

_SHOWN_ROWS = 60  # of a table on the terminal; the page and the results have all of them
PLACES_SHOWN = 5  # of what was dropped, those with the most
NAMED = ("model", "model_params", "train_examples", "style", "code", "marked_labels", "what", "seed")  # once for a cell
CELLS = Table(
    "",
    columns(
        "model | parameters: model_params | examples: train_examples | style | code | labels: marked_labels | "
        "variant: what | seed | votes: n_votes | F1: f1* | no verdict: missing_share% | tokens | seconds~"
    ),
)
COMPARISONS = Table(
    "Paired comparisons against the main cell",
    columns(
        "the main cell has: question | gain in F1: difference+ | finding | p | detectable | votes | "
        "solutions: benchmark"
    ),
    note="95 % intervals by bootstrap over problems, p by permutation within problems. Detectable: the difference "
    "that these problems would show in 4 of 5 times. Of several seeds: Student's interval over seeds and problems.",
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
DROPPED = Table("", columns("what | where | count | of"), highlight="is_head")
CODE = Table(
    "",
    columns(
        "cell | pieces: snippets | known outcome: memo_hits | errors | time-outs: timeouts | died | "
        "waited, mean ms: waited_ms | ran, mean ms: ran_ms | where"
    ),
)


def found_tables(findings: Findings, every_cell: bool = True) -> dict[str, list[Table]]:
    """What was found, by the section of the page; the vote laws are those of every cell, or of the main cells alone."""
    stopped, spent = findings.stopped, findings.spent
    return {
        "What was found": [comparisons_table(findings.comparisons)],
        "Best of N": _best_of_n(findings),
        "Votes better spent": [table for table in (stopped_table(stopped), spent_table(spent)) if table.rows],
        "Laws": [laws_table(findings), vote_fits_table(findings, every_cell)],
    }


def print_sweep(measured: list[Measured], findings: Findings) -> None:
    """Prints one block of rows per cell, and below it what was found; of many cells the first."""
    out = terminal()
    print_table(cells_table(measured, in_blocks=True).without("model_params"), out, most_rows=_SHOWN_ROWS)
    notes = ["* no consensus filter"] if any(not row["filtered"] for m in measured for row in m.rows) else []
    for note in (*notes, one_vote_note(measured), f"no verdict: {MISSING_AS[measured[0].curve.missing_as]}"):
        if note:
            out.print(note, style="dim")
    for benchmark, scores in findings.baselines.items():
        said = ", ".join(f"{name} {f1:.3f}" for name, f1 in scores.items())
        out.print(f"F1 on {benchmark} without reading: {said}")
    for table in (table for tables in found_tables(findings, every_cell=False).values() for table in tables):
        if table.rows:
            out.print()
            print_table(table, out, most_rows=_SHOWN_ROWS)


def cells_table(measured: Iterable[Measured], in_blocks: bool = False) -> Table:
    """A row per cell and number of votes; `in_blocks` names a cell in its first row only."""
    rows = []
    for m in measured:
        for i, row in enumerate(m.rows):
            labels = row["labels"] + ("" if row["filtered"] else " *")
            row = row | {"marked_labels": labels, "what": row["variant"] or row["benchmark"]}
            rows.append(row | dict.fromkeys(NAMED, "") if in_blocks and i else row)
    return CELLS.of(rows)


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Every comparison with interval, permutation test and what could have been found."""
    return COMPARISONS.of(
        {
            "question": c.question,
            "finding": c.verdict + (f"; {seeds_and_problems(c.spread)}" if c.spread else ""),
            "p": p_value(c.paired.permutation_p) if c.paired else "-",
            "detectable": c.paired.detectable if c.paired else None,
            "votes": c.votes,
            "benchmark": c.benchmark,
            **interval_row("difference", c.difference),
        }
        for c in comparisons
    )


def vote_fits_table(findings: Findings, every_cell: bool = True) -> Table:
    """The saturating vote law of every cell of the grid, or of the main cells alone."""
    fits = [(name, fit) for name, fit in findings.vote_fits if every_cell or name in findings.main_names]
    rows = []
    for name, fit in fits:
        row = {"cell": name, "rms": fit.rms, "weakness": fit.reason or fit.warning}
        for key, value in fit.parameters.items():
            row |= interval_row(key, value)
        rows.append(row)
    coverage = {fit.measured_coverage for _, fit in fits} - {""}
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
        f"A verification costs {spent.table.ratio:.2f} solutions ({spent.verification_tokens:.0f} tokens against "
        f"{spent.solution_tokens:.0f}). The best point of each method is chosen on one half of the problems and scored "
        "on the other. Intervals over problems; those of a paired gain between two points covered the truth in 96.8 % "
        "of 124 simulated sets.",
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
            if lacking := pool.get("memory", 0) + pool.get("sandbox", 0):
                count("code that the machine could not run", m.cell.name, lacking, pool["snippets"])
        _count_benchmark(count, votes.benchmark, stages[votes.benchmark].summary)
        kept = stages[verifier].summary["filter"]
        for reason, n in kept["dropped"].items():
            labelled = kept["kept"] + sum(kept["dropped"].values())
            count(f"labelled solutions: {reason}", verifier.label, n, labelled)
        labels = stages[verifier.labels].summary
        for reason, n in labels.get("unused", {}).items():
            count(f"problems: {reason}", f"labels of seed {verifier.seed}", n, labels["problems"])
    rows = []
    for what, places in found.items():
        total, of = map(sum, zip((0, 0), *places.values(), strict=True))
        rows.append({"what": what, "where": "in all", "count": total, "of": of, "is_head": True})
        most = sorted(places.items(), key=lambda place: -place[1][0])[:PLACES_SHOWN]
        for where, (n, of) in most:
            if n and len(places) > 1:
                rows.append({"what": "", "where": where, "count": n, "of": of})
    return DROPPED.of(rows)


def _count_benchmark(count: Callable[[str, str, int, int], None], benchmark: SolutionSet, summary: dict) -> None:
    where = f"{benchmark.name} (seed {benchmark.seed})"
    if "rejected" in summary:
        read = summary["items"] + summary["rejected"]
        count("rows rejected in reading", where, summary["rejected"], read)
    if "malformed" in summary:
        count("samples without the form of a solution", where, summary["malformed"], summary["sampled"])


def code_table(measured: list[Measured]) -> Table:
    """How the checks of each cell ran. For a cell that was resumed, this is about its last attempt."""
    rows = []
    for votes, m in {m.cell.votes: m for m in measured}.items():
        summary = m.stages[votes].summary
        if m.cell.sampling.execution != "executed" or "pool" not in summary:
            continue
        pool = summary["pool"]
        ran = max(1, pool["snippets"] - pool["memo_hits"])
        means = {"waited_ms": f"{1000 * pool['queue_s'] / ran:.1f}", "ran_ms": f"{1000 * pool['run_s'] / ran:.1f}"}
        rows.append(pool | means | {"cell": votes.label, "where": summary["code_ran"]})
    return CODE.of(rows)
