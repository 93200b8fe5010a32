"""F1 against the temperature of the votes, for several checkpoints: an example of an experiment of one's own.

    python experiments/temperature.py data=ProcessBench/gsm8k.json 'models=["A", "B"]' 'temperatures=[0.3, 0.7, 1.0]'

An experiment is a configuration, its tasks and its rows. Everything else is there: the tasks are resumed and shared,
the votes are those of `python -m jprm evaluate`, and the rows become a table and a page.
"""

import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from jprm.cli import guarded
from jprm.config import load
from jprm.evaluate import interval_row, vote_curve
from jprm.experiments.sweep.run import write_rows
from jprm.jobs import RunDirectory, Stages, claim_directory, open_run
from jprm.report import LineFigure, Page, Section, Table, columns, print_table, series_from_rows, write_page
from jprm.score import find_scorer
from jprm.tasks.benchmark import load_items
from jprm.tasks.benchmark_file import BenchmarkFile
from jprm.tasks.checkpoint import CheckpointSampling
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.settings import CheckpointSection
from jprm.tasks.vote_store import RATIONALES, stream_rewards
from jprm.tasks.votes import Votes
from jprm.verify import published


class TemperatureConfig(CheckpointSection):
    """Everything that the experiment can be told; how a checkpoint is sampled, it shares with `evaluate`."""

    data: Path
    """The file of judged solutions."""
    models: tuple[Path, ...] = Field(min_length=1)
    """The checkpoints: directories, or names of the hub that are in the local cache."""
    temperatures: tuple[float, ...] = (0.3, 0.6, 1.0)
    """The temperatures of the votes."""
    n_votes: int = Field(default=4, ge=1)
    """The votes on each step."""
    protocol: tuple[str, ...] = ()
    """Other overrides of the protocol, such as "budget.max_tokens=512"."""
    directory: Path = Path("runs/temperature")
    """The run directory."""


def tasks_of(config: TemperatureConfig) -> Iterator[tuple[dict[str, Any], Votes]]:
    """The votes of each checkpoint at each temperature, with the columns that name them."""
    benchmark, scorer = BenchmarkFile(config.data), find_scorer(config.scorer)
    for model in config.models:
        for temperature in config.temperatures:
            asked = (*config.protocol, f"sampling.temperature={temperature}")
            protocol = published(scorer.protocol, asked)
            sampling = CheckpointSampling.of(model, config, scorer, protocol)
            yield (
                {"model": model.name, "temperature": temperature},
                Votes(sampling, benchmark, sampling.draws(config.n_votes)),
            )


def row_of(names: dict[str, Any], votes: Votes, stages: Stages) -> dict[str, Any]:
    """The row of finished votes: F1 with its interval over problems, and the share of solutions without a verdict."""
    items = [i for i in load_items(stages[votes.benchmark]) if i.solution.first_error is not None]
    rewards = dict(stream_rewards(stages[votes].file(RATIONALES), votes.n_votes, votes.sampling.readout))
    curve = vote_curve(
        [rewards[item.solution.id] for item in items],  # pyright: ignore[reportArgumentType]
        [item.solution.first_error for item in items],  # pyright: ignore[reportArgumentType]
        [item.problem.id for item in items],
    )
    n = votes.n_votes
    return names | {"n_votes": n, "missing_share": curve.missing_share(n)} | interval_row("f1", curve.f1(n))


def run(words: list[str]) -> int:
    """Draws the votes that are missing, and writes rows, table, figure and page. Returns the exit code."""
    config = load(TemperatureConfig, None, words)
    path, cells = config.directory, list(tasks_of(config))
    with RunDirectory(path) as directory, Resources() as resources:
        identity, advice = config.model_dump(mode="json"), "set directory=OTHER for a run of its own"
        claim_directory(path / "config.json", identity, advice, free=("directory", "workers", "slots"))
        with open_run(path, [votes for _, votes in cells], resources, speed=Speed(), directory=directory) as runner:
            rows = [row_of(names, votes, runner.stages) for names, votes in cells if runner.ensure(votes)]
            runner.count_reused()
    heads = columns("model | temperature | votes: n_votes | F1: f1* | no verdict: missing_share%")
    table = Table("F1 against temperature", heads, rows)
    lines = series_from_rows(rows, "model", "temperature", "f1")
    figure = LineFigure("First-error F1; bands are 95 % over problems.", "temperature", "F1", lines, log_x=None)
    write_rows(path / "results.jsonl", rows)
    command = shlex.join(["python", "experiments/temperature.py", *words])
    sections = [Section("What was found", [figure, dataclasses.replace(table, title="")])]
    write_page(Page("F1 against temperature", "", sections, command=command), path, {"f1": figure})
    print_table(table)
    print(f"results: {path / 'results.jsonl'}   computed {runner.computed}, reused {runner.reused}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: run(sys.argv[1:])))
