"""The tables, figures and page of `experiments/uses.py`: what a reader of GenPRM expects to see."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.evaluate import interval_of
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.jobs import provenance
from jprm.report import (
    Details,
    Headline,
    LineFigure,
    Page,
    Section,
    Table,
    columns,
    print_table,
    series_from_rows,
    write_page,
)

Row = dict[str, Any]
TABLES = {  # the value of `figure` in a row -> the title and the columns of the table of these rows
    "verifiers": (
        "Verifiers",
        "verifier | problems: tier | F1: f1* | no verdict: missing_share% | gain in F1 over the first: f1_gain+ | "
        "AUC of steps: step_auc* | AUC of answers: answer_auc* | lowest reward at the last step: min_at_last% | "
        "lucky solutions accepted: lucky_accepted% | lucky solutions: lucky | FLOPs of judging: judge_flops | "
        "tokens of training: train_tokens",
    ),
    "choices": (
        "Ways to choose",
        "verifier | solutions: n | none judged: missing_share% | highest score: best* | "
        "its gain over the majority: best_over_majority+ | weighted vote: weighted* | "
        "its gain over the majority: weighted_over_majority+",
    ),
    "equal_compute": (
        "Best of N at equal compute",
        "verifier | N of the first verifier: n_main | N for the same FLOPs: n | share of the FLOPs spent: spent% | "
        "accuracy* | none judged: missing_share% | gain over the first: gain_over_main+",
    ),
    "best_of_n_over_length": (
        "Best of N over solution length",
        "verifier | problems: tier | solutions: n | accuracy* | gain over the first: gain_over_main+ | "
        "number of problems: n_problems",
    ),
    "refinement": (
        "Refinement",
        "method | turn | mean accuracy: accuracy* | gain over turn 0: gain+ | gain over shuffled: over_shuffled+ | "
        "accuracy of the chosen one: chosen* | none judged: missing_share% | part of the critic's gain: kept* | "
        "rewritings a problem: calls | problems lost: lost",
    ),
    "refinement_matched": (
        "Refinement against best-of-N",
        "method | accuracy* | N for the same FLOPs: n | best of N: best_of_n* | gain over it: gain+ | "
        "N with cached prefixes: cached_n | gain over that: cached_gain+ | share of the FLOPs spent: spent%",
    ),
    "gate": (
        "A gate before the critic",
        "gate | metric | whose score: whose | below | confidence | part of the gain that is kept: kept* | "
        "part of the rewritings that pass: calls*",
    ),
    "search": (
        "Guided search",
        "strategy | scorer | settings | accuracy* | none judged: missing_share% | N for the same FLOPs: n | "
        "best of N: best_of_n* | gain over it: gain+ | N with cached prefixes: cached_n | "
        "gain over that: cached_gain+ | problems lost: lost",
    ),
    "bidirectional": (
        "Two directions",
        "verifier | F1: f1* | no verdict: missing_share% | gain in F1 over the last: f1_gain+ | "
        "AUC of steps: step_auc*",
    ),
    "delayed_evidence": (
        "Two directions, by how a fault shows",
        "what was read: read | how the fault shows: shows | verifier | AUC of the judged step: step_auc* | "
        "gain over the last: gain+ | gain over one forward pass: over_forward+ | problems: n_problems | "
        "solutions: n_items",
    ),
    "fast_slow": (
        "Fast and slow",
        "method | F1: f1* | no verdict: missing_share% | gain in F1 over always slow: f1_gain+ | "
        "tokens a solution: tokens | generated tokens a solution: generated_tokens",
    ),
}
# The name of a file -> the rows that it shows by their `figure`, the keys of line, x and y, and how they are drawn.
FIGURES = {
    "verifiers_at_equal_compute": (
        ("equal_compute",),
        ("verifier", "budget_flops", "accuracy"),
        LineFigure(
            "Accuracy of the chosen solution at equal FLOPs; each verifier takes as many candidates as they pay for.",
            "FLOPs a problem, solving and judging",
            "accuracy",
            log_x=10,
        ),
    ),
    "best_of_n": (
        ("best_of_n",),
        ("verifier", "n", "accuracy"),
        LineFigure(
            "Accuracy of the solution chosen among N samples of the policy.", "solutions per problem", "accuracy"
        ),
    ),
    "refinement": (
        ("refinement",),
        ("method", "turn", "accuracy"),
        LineFigure(
            "Mean accuracy of the solutions after each turn; `shuffled` doubts another step of the same solution, "
            "`blind` any step of any solution.",
            "turns of refinement",
            "accuracy",
            log_x=None,
        ),
    ),
    "gate": (
        ("gate", "gate_curve"),
        ("gate of metric", "calls", "kept"),
        LineFigure(
            "Part of the critic's gain that is kept behind a gate, against the part of its rewritings that pass it; "
            "shut by chance, both parts would be equal.",
            "part of the rewritings",
            "kept",
            log_x=None,
        ),
    ),
    "f1_over_length": (
        ("verifiers",),
        ("verifier", "steps", "f1"),
        LineFigure(
            "First-error F1 over the length of the solution that a problem needs.",
            "steps that the problem needs",
            "first-error F1",
            log_x=None,
        ),
    ),
    "fast_and_slow": (
        ("fast_slow",),
        ("cascade", "tokens", "f1"),
        LineFigure(
            "F1 against tokens: from never asking the slow verifier, by wider bands, to always.",
            "tokens a solution",
            "first-error F1",
            log_x=None,
        ),
    ),
}


def _named(row: Row) -> Row:
    """A row with every interval under the names of its ends, and with the names and places of its lines."""
    ends = {f"accuracy_{end}": row[end] for end in ("low", "high") if end in row}
    for over in ("gain_over_main", "gain_over_majority"):
        if over in row:
            ends |= {f"{over}_{end}": row[f"gain_{end}"] for end in ("low", "high")}
    _, _, steps = str(row.get("tier")).partition("=")  # such as "steps=3", or "all"
    lines = {"gate of metric": f"{row.get('metric')}, {row.get('gate')}", "cascade": "direct, then GenPRM"}
    return ends | lines | {"steps": steps or None} | row


def applications_tables(rows: Sequence[Row]) -> list[Table]:
    """The tables that have rows."""
    tables = [
        Table(title, columns(declared), [_named(row) for row in rows if row["figure"] == figure])
        for figure, (title, declared) in TABLES.items()
    ]
    return [table for table in tables if table.rows]


def applications_figures(rows: Sequence[Row]) -> dict[str, LineFigure]:
    """The figures by the names of their files; those without rows are left out."""
    figures = {}
    for name, (shown, keys, figure) in FIGURES.items():
        if series := series_from_rows((_named(row) for row in rows if row["figure"] in shown), *keys):
            figures[name] = dataclasses.replace(figure, series=series)
    return figures


def print_rows(rows: Sequence[Row]) -> None:
    """Prints every table."""
    for table in applications_tables(rows):
        print_table(table)


def write_applications_report(config: ApplicationsConfig, rows: Sequence[Row], path: Path, command: str) -> None:
    """Writes `report.html` and the figures beside it."""
    figures = applications_figures(rows)
    head = [
        Headline(f"{row['f1']:.3f}", f"F1 of {row['verifier']}", str(interval_of(row, "f1")))
        for row in rows
        if row["figure"] == "verifiers" and row["tier"] == "all" and row["f1"] is not None
    ]
    page = Page(
        title=f"jprm applications: {config.name}",
        lead="Verifiers of one base model, one set of examples and one number of trained tokens, at work: choosing, "
        "searching, criticising. All gains are paired by problem; intervals are 95 % over problems.",
        sections=[
            Section("Figures", list(figures.values())),
            *(Section(table.title, [dataclasses.replace(table, title="")]) for table in applications_tables(rows)),
            Section("Record", [Details({"config": config.model_dump(mode="json"), **provenance()})]),
        ],
        headline=head,
        command=command,
    )
    write_page(page, path, figures)
