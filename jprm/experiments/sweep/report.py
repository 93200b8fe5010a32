"""The page of a sweep: what was found first, then the tables, the figures, rationales to read, and the record."""

from __future__ import annotations

from pathlib import Path

from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.figures import sweep_figures
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.report_tables import (
    best_of_n_table,
    code_table,
    comparisons_table,
    dropped_table,
    laws_table,
    spent_table,
    stopped_table,
    vote_fits_table,
)
from jprm.experiments.sweep.table import MISSING_AS, Measured, one_vote_note
from jprm.jobs import provenance, write_atomic
from jprm.scaling import Facts, Headline, Report, Samples, Section, Table, sample_of, write_report
from jprm.tasks.benchmark import load_items
from jprm.tasks.vote_store import RATIONALES, step_rewards, stream_rationales
from jprm.verify import first_error

SHOWN_SAMPLES = 8
EMBEDDED_NOTE = (
    "All models here are trained from scratch on the embedded world, whose per-step truth is exact. They start from an "
    "induction-ready initialisation, which stands for the copying skill that a pretrained model brings along."
)


def write_sweep_report(
    config: SweepConfig, measured: list[Measured], findings: Findings, path: Path, command: str
) -> None:
    """Writes `report.html` and the figures beside it."""
    figures = sweep_figures(measured, findings)
    (path / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_atomic(path / "figures" / f"{name}.svg", figure.svg)
    main = measured[0]
    k = main.cell.votes.n_votes
    gain = main.curve.gain(k)
    spent = [stopped_table(findings.stopped)] if findings.stopped else []
    spent += [spent_table(findings.spent)] if findings.spent else []
    sections = [
        Section("What was found", [comparisons_table(findings.comparisons), *figures.values()]),
        *([Section("Votes better spent", spent)] if spent else []),
        Section("Laws", [laws_table(findings), vote_fits_table(findings)]),
        Section("All cells", [_cells(measured)]),
        Section("What was dropped, and why", [dropped_table(measured), _labels(measured)]),
        Section("Rationales to read", [Samples(_samples(main))]),
        Section("Generated code", [code_table(measured)]),
        Section("Record", [Facts({"config": config.model_dump(mode="json"), **provenance()})]),
    ]
    if findings.best_of_n:
        sections.insert(1, Section("Best of N", [best_of_n_table(findings.best_of_n)]))
    report = Report(
        title=f"jprm sweep: {config.name}",
        lead=EMBEDDED_NOTE if config.world.kind == "embedded" else "Models trained from scratch on GSM8K text.",
        sections=sections,
        headline=[
            Headline(f"{main.curve.f1(k).value:.3f}", f"F1 at {k} votes", str(main.curve.f1(k))),
            Headline(f"{main.curve.f1(1).value:.3f}", "F1 at one vote", str(main.curve.f1(1))),
            Headline(f"{gain.value:+.3f}", f"gain of {k} votes over one", format(gain, "+.3f")),
            Headline(str(len(main.curve.labels)), "solutions judged", "half of them wrong"),
            Headline(
                f"{main.curve.missing_share(k):.1%}",
                f"without a verdict at {k} votes",
                MISSING_AS[main.curve.missing_as],
            ),
        ],
        command=command,
    )
    write_report(report, path / "report.html")


def _cells(measured: list[Measured]) -> Table:
    columns = [
        "model",
        "parameters",
        "examples",
        "style",
        "code",
        "labels",
        "variant",
        "seed",
        "votes",
        "F1",
        "no verdict",
        "tokens",
    ]
    rows = [
        [
            *(row[key] for key in ("model", "model_params", "train_examples", "style", "code", "labels")),
            row["variant"] or row["benchmark"],
            row["seed"],
            row["n_votes"],
            m.curve.f1(row["n_votes"]),
            f"{row['missing_share']:.1%}",
            row["tokens"],
        ]
        for m in measured
        for row in m.rows
    ]
    return Table(
        columns,
        rows,
        note=" ".join(
            (
                f"A solution without a verdict is {MISSING_AS[measured[0].curve.missing_as]}.",
                "The same rows, with costs and accuracies, stand in results.jsonl.",
                one_vote_note(measured),
            )
        ).strip(),
    )


def _labels(measured: list[Measured]) -> Facts:
    labels = {m.cell.verifier.seed: m.stages[m.cell.verifier.labels].summary for m in reversed(measured)}
    return Facts({f"labels, seed {seed}": labels[seed] for seed in reversed(labels)})


def _samples(main: Measured) -> list:
    votes, stages = main.cell.votes, main.stages
    readout = votes.sampling.readout
    items = load_items(stages[votes.benchmark])
    shown = items[:: max(1, len(items) // SHOWN_SAMPLES)][:SHOWN_SAMPLES]
    wanted = {item.solution.id for item in shown}
    rationales = {
        judged[0].solution_id: judged
        for judged in stream_rationales(stages[votes].file(RATIONALES))
        if judged[0].solution_id in wanted
    }
    samples = []
    for item in shown:
        judged = rationales[item.solution.id]
        prediction = first_error(step_rewards(judged, votes.n_votes, readout))
        samples.append(sample_of(item.problem, item.solution, judged, prediction, readout=readout))
    return samples
