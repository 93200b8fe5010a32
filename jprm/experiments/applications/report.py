"""The table and the page of `experiments/uses.py`: the figures that a reader of GenPRM expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as Shown

from jprm.evaluate import Interval
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.jobs import provenance, write_atomic
from jprm.scaling import Facts, Figure, Headline, Report, Section, Series, Table, line_figure, series_of, write_report
from jprm.terminal import terminal

Row = dict[str, Any]
# (title, rows of this figure, columns: names of plain values, and of intervals with a star)
TABLES = (
    (
        "Verifiers",
        "verifiers",
        "verifier tier f1* missing_share f1_gain* step_auc* answer_auc* min_at_last lucky_accepted lucky judge_flops "
        "train_tokens",
    ),
    (
        "Ways to choose",
        "choices",
        "verifier n missing_share best* best_over_majority* weighted* weighted_over_majority*",
    ),
    ("Best of N at equal compute", "equal_compute", "verifier n_main n spent accuracy* missing_share gain_over_main*"),
    ("Best of N over solution length", "best_of_n_over_length", "verifier tier n accuracy* gain_over_main* n_problems"),
    ("Refinement", "refinement", "method turn accuracy* gain* over_shuffled* chosen* missing_share kept* calls lost"),
    (
        "Refinement against best-of-N",
        "refinement_matched",
        "method accuracy* n best_of_n* gain* cached_n cached_gain* spent",
    ),
    ("A gate before the critic", "gate", "gate metric whose below confidence kept* calls*"),
    (
        "Guided search",
        "search",
        "strategy scorer settings accuracy* missing_share n best_of_n* gain* cached_n cached_gain* lost",
    ),
    ("Two directions", "bidirectional", "verifier f1* missing_share f1_gain* step_auc*"),
    (
        "Two directions, by how a fault shows",
        "delayed_evidence",
        "read shows verifier step_auc* gain* over_forward* n_problems n_items",
    ),
    ("Fast and slow", "fast_slow", "method f1* missing_share f1_gain* tokens generated_tokens"),
)
# The ends of an interval under its own name, or under a shorter one that a row shares.
ENDS = {"accuracy": "", "gain_over_main": "gain_", "gain_over_majority": "gain_"}


def interval_of(row: Row, name: str) -> Interval | None:
    """The interval `name` of a row; None where it is not defined."""
    if row.get(name) is None:
        return None
    stem = f"{name}_" if f"{name}_low" in row else ENDS[name]
    low, high = (row.get(f"{stem}{end}") for end in ("low", "high"))
    nan = float("nan")
    return Interval(row[name], nan if low is None else low, nan if high is None else high)


def print_rows(rows: Sequence[Row]) -> None:
    """Every table, as text."""
    for title, figure, columns in TABLES:
        found = _cells(rows, figure, columns)
        if found:
            table = Shown(*columns.replace("*", "").split(), title=title, box=None, title_justify="left")
            for cells in found:
                table.add_row(*(_text(cell) for cell in cells))
            terminal().print(table)


def write_applications_report(config: ApplicationsConfig, rows: Sequence[Row], path: Path, command: str) -> None:
    """Writes `report.html` and the figures beside it."""
    figures = applications_figures(rows)
    (path / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_atomic(path / "figures" / f"{name}.svg", figure.svg)
    sections = [Section("Figures", list(figures.values()))]
    for title, figure, columns in TABLES:
        if found := _cells(rows, figure, columns):
            names = columns.replace("*", "").split()
            sections.append(Section(title, [Table(names, found)]))
    record = {"config": config.model_dump(mode="json"), **provenance()}
    sections.append(Section("Record", [Facts(record)]))
    head = [
        Headline(f"{row['f1']:.3f}", f"F1 of {row['verifier']}", str(interval_of(row, "f1")))
        for row in rows
        if row["figure"] == "verifiers" and row["tier"] == "all" and row["f1"] is not None
    ]
    report = Report(
        title=f"jprm uses: {config.name}",
        lead="Verifiers of one base model, one set of examples and one number of trained tokens, at work: choosing, "
        "searching, criticising. All gains are paired by problem; intervals are 95 % over problems.",
        sections=sections,
        headline=head,
        command=command,
    )
    write_report(report, path / "report.html")


def applications_figures(rows: Sequence[Row]) -> dict[str, Figure]:
    """The figures by the names of their files; those without rows are left out."""
    made = {
        "verifiers_at_equal_compute": _lines(
            rows,
            ("equal_compute", "verifier", "budget_flops", "accuracy"),
            ("FLOPs a problem, solving and judging", 10),
            "Accuracy of the chosen solution at equal FLOPs; each verifier takes as many candidates as they pay for.",
        ),
        "best_of_n": _lines(
            rows,
            ("best_of_n", "verifier", "n", "accuracy"),
            ("solutions per problem", 2),
            "Accuracy of the solution chosen among N samples of the policy.",
        ),
        "refinement": _lines(
            rows,
            ("refinement", "method", "turn", "accuracy"),
            ("turns of refinement", None),
            "Mean accuracy of the solutions after each turn; `shuffled` doubts another step of the same solution, "
            "`blind` any step of any solution.",
        ),
        "gate": _lines(
            [
                row | {"figure": "gates", "line": f"{row['metric']}, {row['gate']}"}
                for row in rows
                if row.get("gate") and row.get("calls") is not None
            ],
            ("gates", "line", "calls", "kept"),
            ("part of the rewritings", None),
            "Part of the critic's gain that is kept behind a gate, against the part of its rewritings that pass it; "
            "shut by chance, both parts would be equal.",
        ),
        "f1_over_length": _lines(
            [row for row in rows if row.get("tier") != "all"],
            ("verifiers", "verifier", "tier", "f1"),
            ("steps that the problem needs", None),
            "First-error F1 over the length of the solution that a problem needs.",
        ),
        "fast_and_slow": _lines(
            [row | {"all": "direct, then GenPRM"} for row in rows],
            ("fast_slow", "all", "tokens", "f1"),
            ("tokens a solution", None),
            "F1 against tokens: from never asking the slow verifier, by wider bands, to always.",
        ),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def _lines(
    rows: Sequence[Row], what: tuple[str, str, str, str], x_axis: tuple[str, int | None], caption: str
) -> Figure | None:
    figure, name, x, y = what
    lines: dict[str, list[tuple[float, Interval]]] = {}
    for row in rows:
        if row["figure"] == figure and (at := interval_of(row, y)) is not None:
            lines.setdefault(row[name], []).append((_number(row[x]), at))
    series: list[Series] = []
    for label, points in lines.items():
        points.sort(key=lambda point: point[0])
        series.append(series_of(label, [p for p, _ in points], [at for _, at in points]))
    if not series:
        return None
    x_label, log_x = x_axis
    y_label = "first-error F1" if y == "f1" else y
    return Figure(line_figure(series, x_label=x_label, y_label=y_label, log_x=log_x), caption)


def _number(x: float | str) -> float:
    """A tier such as "steps=3" counts as its number."""
    return float(x.rpartition("=")[2]) if isinstance(x, str) else float(x)


def _cells(rows: Sequence[Row], figure: str, columns: str) -> list[list[Any]]:
    names = columns.split()
    return [
        [interval_of(row, n[:-1]) if n.endswith("*") else row.get(n) for n in names]
        for row in rows
        if row["figure"] == figure
    ]


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return str(cell)
