"""The tables of the cells of a sweep: their rows, what was dropped on the way, and how their code ran."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from jprm.experiments.sweep.short_names import heading, value_in_words
from jprm.experiments.sweep.table import MISSING_AS, Measured, one_vote_note
from jprm.report import Column, Table, columns
from jprm.tasks.benchmark import SolutionSet

PLACES_SHOWN = 5  # of what was dropped, those with the most
NAMED = ("model", "model_params", "train_examples", "style", "code", "marked_labels", "what", "seed")  # once for a cell
LEFT_OUT_IF_EQUAL = {"style": "style", "code": "code", "labels": "labels", "what": "solutions", "seed": "seed"}
F1_SAYS = (
    "F1 is the harmonic mean of two accuracies, as in ProcessBench: the share of the wrong solutions whose first wrong "
    "step is named, and the share of the right ones that are passed."
)
CELLS = Table(
    "",
    columns(
        "model | parameters: model_params | examples: train_examples | style | code | labels: marked_labels | "
        "variant: what | seed | votes: n_votes | F1: f1* | no verdict: missing_share% | tokens | seconds~"
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


def cells_table(measured: Sequence[Measured], in_blocks: bool = False) -> Table:
    """A row for each cell and number of votes, with a column for each axis; `in_blocks` names a cell once.

    What is the same in all cells has no column, and is told below the table.
    """
    axes = [key for key, _ in measured[0].cell.values if not key.startswith("cell.")]
    axis_columns = [Column(heading(key, axes), key) for key in axes]
    at = [column.key for column in CELLS.columns].index("n_votes")
    table = replace(CELLS, columns=(*CELLS.columns[:at], *axis_columns, *CELLS.columns[at:]))
    rows = []
    for m in measured:
        for i, row in enumerate(m.rows):
            labels = row["labels"] + ("" if row["filtered"] else " *")
            row = row | {"marked_labels": labels, "what": row["variant"] or row["benchmark"]}
            row |= {key: value_in_words(row[key]) for key in axes if not isinstance(row[key], int | float)}
            rows.append(row | dict.fromkeys((*NAMED, *axes), "") if in_blocks and i else row)
    firsts = [m.rows[0] | {"what": m.cell.variant or m.cell.votes.benchmark.name} for m in measured]
    equal = [key for key in LEFT_OUT_IF_EQUAL if len({str(row[key]) for row in firsts}) == 1]
    same = ", ".join(f"{LEFT_OUT_IF_EQUAL[key]} {firsts[0][key]}" for key in equal)
    notes = [
        f"The same in all cells: {same}." if same else "",
        "The labels of a cell with a * passed no consensus filter." if not all(r["filtered"] for r in firsts) else "",
        f"A solution without a verdict is {MISSING_AS[measured[0].curve.missing_as]}.",
        one_vote_note(measured),
        f"{F1_SAYS} The same rows, with costs and accuracies, stand in results.jsonl.",
    ]
    left_out = ["marked_labels" if key == "labels" else key for key in equal]
    if "labels" in equal and not all(row["filtered"] for row in firsts):
        left_out.remove("marked_labels")  # its stars differ
    return table.without(*left_out).of(rows, " ".join(filter(None, notes)))


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
