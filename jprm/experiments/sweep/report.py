"""The page of a sweep: what was found first, then the tables, the figures, rationales to read, and the record."""

from dataclasses import replace
from pathlib import Path

from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.figures import sweep_figures
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.report_tables import cells_table, code_table, dropped_table, found_tables
from jprm.experiments.sweep.table import MISSING_AS, Measured, one_vote_note
from jprm.jobs import provenance
from jprm.report import Cards, Details, Headline, Page, Section, SolutionCard, Table, card_of, write_page
from jprm.tasks.base import Base
from jprm.tasks.benchmark import load_items
from jprm.tasks.vote_store import RATIONALES, step_rewards, stream_rationales
from jprm.verify import first_error

SHOWN_SAMPLES = 8
LEADS = {  # by world
    "embedded": "The problems are those of the embedded world, whose per-step truth is exact.",
    "gsm8k": "The problems are those of GSM8K, whose worked solutions tell the truth of their steps.",
    "problems": "The problems are those of files, whose right answers are known and whose steps are not.",
}
FROM_SCRATCH = (
    "are trained from scratch, from an induction-ready initialisation, which stands for the copying skill that a "
    "pretrained model brings along"
)


def write_sweep_report(
    config: SweepConfig, measured: list[Measured], findings: Findings, path: Path, command: str
) -> None:
    """Writes `report.html` and the figures beside it."""
    figures = sweep_figures(measured, findings)
    found = found_tables(findings)
    sections = found | {
        "What was found": [*found["What was found"], *figures.values()],
        "All cells": [_cells(measured)],
        "What was dropped, and why": [dropped_table(measured), _labels(measured)],
        "Rationales to read": [Cards(_cards(measured[0]))],
        "Generated code": [code_table(measured)],
        "Record": [Details({"config": config.model_dump(mode="json"), **provenance()})],
    }
    page = Page(
        title=f"jprm sweep: {config.name}",
        lead=f"{LEADS[config.world.kind]} {_origins(measured)}",
        sections=[Section(title, blocks) for title, blocks in sections.items() if blocks],
        headline=_headline(measured[0]),
        command=command,
    )
    write_page(page, path, figures)


def _origins(measured: list[Measured]) -> str:
    """Where the models of the verifiers come from."""
    bases = {m.cell.verifier.size: m.cell.verifier.base for m in measured}
    presets = sorted(size for size, base in bases.items() if isinstance(base, Base))
    others = sorted(bases.keys() - presets)
    said = [f"the presets {', '.join(presets)} {FROM_SCRATCH}"] * bool(presets)
    said += [
        f"{', '.join(others)} {'is a checkpoint that is' if len(others) == 1 else 'are checkpoints that are'} "
        "trained further"
    ] * bool(others)
    return f"Of the verifiers, {'; '.join(said)}."


def _headline(main: Measured) -> list[Headline]:
    """F1 of the main cell with one vote and with all, and what the votes bring."""
    curve, k = main.curve, main.cell.votes.n_votes
    gain, missing = curve.gain(k), MISSING_AS[curve.missing_as]
    return [
        Headline(f"{curve.f1(k).value:.3f}", f"F1 at {k} votes", str(curve.f1(k))),
        Headline(f"{curve.f1(1).value:.3f}", "F1 at one vote", str(curve.f1(1))),
        Headline(f"{gain.value:+.3f}", f"gain of {k} votes over one", format(gain, "+.3f")),
        Headline(str(len(curve.labels)), "solutions judged", f"{int((curve.labels >= 0).sum())} of them wrong"),
        Headline(f"{curve.missing_share(k):.1%}", f"without a verdict at {k} votes", missing),
    ]


def _cells(measured: list[Measured]) -> Table:
    notes = [
        f"A solution without a verdict is {MISSING_AS[measured[0].curve.missing_as]}.",
        "The labels of a cell with a * passed no consensus filter.",
        "The same rows, with costs and accuracies, stand in results.jsonl.",
        one_vote_note(measured),
    ]
    return replace(cells_table(measured).without("seconds"), note=" ".join(filter(None, notes)))


def _labels(measured: list[Measured]) -> Details:
    labels = {m.cell.verifier.seed: m.stages[m.cell.verifier.labels].summary for m in reversed(measured)}
    return Details({f"labels, seed {seed}": labels[seed] for seed in reversed(labels)})


def _cards(main: Measured) -> list[SolutionCard]:
    """Solutions of the main cell, evenly from the first to the last, with what its verifier wrote on them."""
    votes, stages = main.cell.votes, main.stages
    readout = votes.sampling.readout
    items = load_items(stages[votes.benchmark])
    chosen = items[:: max(1, len(items) // SHOWN_SAMPLES)][:SHOWN_SAMPLES]
    wanted = {item.solution.id for item in chosen}
    rationales = {
        judged[0].solution_id: judged
        for judged in stream_rationales(stages[votes].file(RATIONALES))
        if judged[0].solution_id in wanted
    }
    cards = []
    for item in chosen:
        judged = rationales[item.solution.id]
        prediction = first_error(step_rewards(judged, votes.n_votes, readout))
        cards.append(card_of(item.problem, item.solution, judged, prediction, readout=readout))
    return cards
