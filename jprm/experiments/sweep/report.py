"""The page of a sweep: what was found first, then the tables, the figures, rationales to read, and the record."""

from pathlib import Path

from jprm.evaluate import SOME_ERROR
from jprm.experiments.sweep.cell_tables import F1_SAYS, cells_table, code_table, dropped_table
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.figures import sweep_figures
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.report_tables import found_tables
from jprm.experiments.sweep.screen import headline
from jprm.experiments.sweep.table import MISSING_AS, Measured
from jprm.jobs import provenance
from jprm.report import (
    MOST_BYTES,
    BarFigure,
    Details,
    Headline,
    Items,
    JudgedItem,
    LineFigure,
    Page,
    Section,
    judged_item,
    write_page,
)
from jprm.tasks.base import Base
from jprm.tasks.benchmark import load_known
from jprm.tasks.vote_store import RATIONALES, step_rewards, stream_rationales
from jprm.verify import first_error

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
    page, figures = sweep_page(config, measured, findings, command)
    write_page(page, path, figures)


def sweep_page(
    config: SweepConfig, measured: list[Measured], findings: Findings, command: str
) -> tuple[Page, dict[str, LineFigure | BarFigure]]:
    """The page of what is measured, and its figures by the names of their files."""
    figures = sweep_figures(measured, findings)
    found = found_tables(findings)
    sections = found | {
        "What was found": [*found["What was found"], *figures.values()],
        "All cells": [cells_table(measured).without("seconds")],
        "What was dropped, and why": [dropped_table(measured), _labels(measured)],
        "Judged solutions": _browsers(measured),
        "Generated code": [code_table(measured)],
        "Record": [Details({"config": config.model_dump(mode="json"), **provenance()})],
    }
    page = Page(
        title=f"jprm sweep: {config.name}",
        lead=f"{LEADS.get(config.world.kind) or f'The problems are those of the world {config.world.kind}.'} "
        f"{_origins(measured)}",
        sections=[Section(title, blocks) for title, blocks in sections.items() if blocks],
        headline=_tiles(measured[0], findings),
        below=" ".join([*headline(measured, findings), F1_SAYS]),
        command=command,
    )
    return page, figures


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


def _tiles(main: Measured, findings: Findings) -> list[Headline]:
    """F1 of the main cell with one vote and with those asked for, what the votes bring, and what reads nothing."""
    curve, k = main.curve, main.cell.votes_asked
    gain, missing = curve.gain(k), MISSING_AS[curve.missing_as]
    tiles = [
        Headline(f"{curve.f1(k).value:.3f}", f"F1 at {k} votes", str(curve.f1(k))),
        Headline(f"{curve.f1(1).value:.3f}", "F1 at one vote", str(curve.f1(1))),
        Headline(f"{gain.value:+.3f}", f"gain of {k} votes over one", format(gain, "+.3f")),
    ]
    for benchmark, scores in [*findings.baselines.items()][:1]:
        name = max(scores, key=lambda name: scores[name])
        tiles.append(
            Headline(f"{scores[name]:.3f}", "F1 without reading", f"the best baseline ({name}) on {benchmark}")
        )
    return [
        *tiles,
        Headline(str(len(curve.labels)), "solutions judged", f"{int((curve.labels >= 0).sum())} of them wrong"),
        Headline(f"{curve.missing_share(k):.1%}", f"without a verdict at {k} votes", missing),
    ]


def _labels(measured: list[Measured]) -> Details:
    labels = {m.cell.verifier.seed: m.stages[m.cell.verifier.labels].summary for m in reversed(measured)}
    return Details({f"labels, seed {seed}": labels[seed] for seed in reversed(labels)})


def _browsers(measured: list[Measured]) -> list[Items]:
    """The solutions of the first main cell on each set, with all that its votes wrote on them."""
    mains = {m.cell.votes.benchmark.name: m for m in reversed(measured) if not m.cell.variant}
    share = MOST_BYTES // len(mains)
    return [Items(m.cell.name, _judged(m), share) for m in reversed(mains.values())]


def _judged(main: Measured) -> list[JudgedItem]:
    votes, stages = main.cell.votes, main.stages
    readout, judged = votes.sampling.readout, []
    rationales = {one[0].solution_id: one for one in stream_rationales(stages[votes].file(RATIONALES))}
    for item, label in zip(*load_known(stages[votes.benchmark]), strict=True):
        of_item = rationales[item.solution.id]
        prediction = first_error(step_rewards(of_item, votes.n_votes, readout))
        if label == SOME_ERROR and prediction is not None and prediction >= 0:
            label = prediction  # of which it is only known that there is an error
        judged.append(judged_item(item.problem, item.solution, of_item, prediction, label, readout))
    return judged
