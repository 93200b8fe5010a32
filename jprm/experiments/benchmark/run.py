"""Runs an evaluation: draws the votes that are missing, and prints the table of all that are stored."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.experiments.benchmark.config import BenchmarkConfig
from jprm.experiments.benchmark.judged import Account, JudgedRow, judged
from jprm.experiments.benchmark.measures import scores
from jprm.experiments.benchmark.remembered import as_trained
from jprm.experiments.benchmark.report import Result, print_result, write_json
from jprm.jobs import (
    Graph,
    Progress,
    RunDirectory,
    Runner,
    StageFailed,
    Stages,
    Worker,
    claim_directory,
    doing,
    flattened,
    holders,
    read_identity,
)
from jprm.paths import present
from jprm.records import ReadOut
from jprm.score import find_scorer
from jprm.tasks.benchmark_file import BenchmarkFile
from jprm.tasks.checkpoint import ADVICE, CheckpointSampling, recorded_engine
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.samplers import NoProbabilities
from jprm.tasks.vote_store import holds_votes
from jprm.tasks.votes import SolutionsLost, Votes, stored_votes
from jprm.verify import ONE_VOTE

IDENTITY = "identity.json"  # in the run directory: all that decides the votes but the sizes of the engine
HOLDS = "holds the votes of another run"


def run_benchmark(config: BenchmarkConfig) -> int:
    """Runs or resumes an evaluation, prints its table, and returns the exit code.

    0: every row is in the table. 3: rows were rejected, solutions lost, or (with `regrade`) votes are missing; the rest
    is in the table. Raises UserError for what keeps it from running.
    """
    result = evaluate(config)
    print_result(result)
    if config.json_file is not None:
        write_json(config.json_file, result)
    return 0 if result.complete else INCOMPLETE


def evaluate(config: BenchmarkConfig) -> Result:
    """Runs or resumes an evaluation, and returns all that is known of it. Raises UserError for what keeps it from that.

    What it does is told on standard error.
    """
    present(config.data, "--data")
    benchmark = BenchmarkFile(config.data, config.layout, config.full)
    truth = benchmark.inputs()
    if not config.regrade or (config.model and config.model.is_dir()):
        config = as_trained(config)
    sampling = None
    if not config.regrade:
        scorer = find_scorer(config.scorer)
        sampling = CheckpointSampling.of(config.model, config, scorer, config.read_protocol(scorer.protocol))
    place, other = "give --out DIR for another place", "give another --out DIR"
    with RunDirectory(config.directory, config.worker, place=place, other=other) as directory:
        sampling = _claimed(directory.path, truth, sampling)
        stages = Stages(directory.path)
        votes = Votes(sampling, benchmark, sampling.draws(config.n), config.limit, config.chunk)
        votes = with_readout(votes, readout_of(config, votes, stages))
        if not config.regrade:
            votes = _draw(config, votes, stages)
        return _result(config, votes, stages)


def _claimed(path: Path, truth: Mapping[str, Any], sampling: CheckpointSampling | None) -> CheckpointSampling:
    """Returns the sampling whose votes the directory holds from now on: the given one, or else that of its votes.

    Raises UserError where it holds votes of another one, or, where no sampling is given, none at all.
    """
    if (path / "votes.jsonl").exists():
        raise UserError(f"{path}: {HOLDS}, in the layout of an earlier version; give another --out")
    file = path / IDENTITY
    if sampling is not None:  # a directory without votes is anyone's: what was asked first may have been a mistake
        stages = path / "stages"
        replace = not (any(map(holds_votes, stages.glob("*"))) or any(doing(stages / name) for name in holders(stages)))
        claim_directory(file, {**truth, **sampling.identity}, ADVICE, holds=HOLDS, replace=replace)
        return sampling
    stored = read_identity(file, ADVICE)
    if stored is None:
        raise UserError(
            f"{path}: there are no votes to make a table from; leave --regrade out to draw them, "
            "or name another folder with --out"
        )
    # The votes are what they are; only what they are compared with has to be the same.
    claim_directory(file, {**stored, **truth}, ADVICE, holds=HOLDS)
    scorer = find_scorer(stored["scorer"])
    return CheckpointSampling(scorer, scorer.readout, {k: v for k, v in stored.items() if k not in truth})


def readout_of(config: BenchmarkConfig, votes: Votes, stages: Stages) -> ReadOut:
    """Returns the read-out that the user asks for, else the scorer's own; without probabilities it is the word.

    Raises UserError where the stored votes cannot give what is asked for.
    """
    only = recorded_engine(stages, votes).get("readout")
    if only and config.readout not in (None, only):
        raise UserError(
            f"--readout {config.readout}: the votes in {stages.root} have no probabilities; use --readout {only}"
        )
    return only or config.readout or votes.sampling.readout


def with_readout(votes: Votes, readout: ReadOut) -> Votes:
    """Returns the same votes, read in this way."""
    assert isinstance(votes.sampling, CheckpointSampling)
    return dataclasses.replace(votes, sampling=dataclasses.replace(votes.sampling, readout=readout))


def _draw(config: BenchmarkConfig, votes: Votes, stages: Stages) -> Votes:
    """Draws what is missing, and returns the votes, which a server may have only as words.

    Lost solutions stay in the unfinished stage. Raises UserError for what ends the work.
    """
    if stages[votes].done:
        return votes
    speed = Speed()
    graph = Graph(stages, [votes])
    progress = Progress(sum(graph.seconds(task, speed) for task in graph.unfinished()))
    try:
        # A signal stops it where it is, since every vote is stored: no safe points are needed (see `jprm.signals`).
        with Resources() as resources:
            if votes.n_votes < config.n:
                progress.note(f"{ONE_VOTE} ({config.n} were asked for)")
            runner = Runner(graph, resources, progress, speed)
            if config.worker:
                _share(Worker(runner), votes)
            else:
                runner.ensure(votes)
    except StageFailed as failed:
        cause = failed.__cause__
        assert cause is not None, "a task has failed in this process"
        if isinstance(cause, NoProbabilities) and config.readout is None:
            return _draw(config, with_readout(votes, "vote"), stages)
        if not isinstance(cause, SolutionsLost):
            raise cause from None
    finally:
        progress.close()
    return votes


def _share(worker: Worker, votes: Votes) -> None:
    """Draws votes together with other workers. Raises UserError for what ends the work, but not for lost solutions."""
    worker.work()
    if failure := worker.runner.failure_below(votes):
        if not worker.stages[votes.benchmark].done:
            raise UserError(failure.reason)
        store, _ = stored_votes(worker.stages, votes, [item.solution.id for item in votes.items(worker.stages)])
        if not any(store.lost.values()):
            raise UserError(failure.reason)


def _result(config: BenchmarkConfig, votes: Votes, stages: Stages) -> Result:
    """Makes the table of what is stored. Raises UserError where that is nothing."""
    sampling, benchmark = votes.sampling, votes.benchmark
    assert isinstance(sampling, CheckpointSampling) and isinstance(benchmark, BenchmarkFile)
    contents, stage = benchmark.contents, stages[votes]
    chosen = contents.rows[: config.limit]
    store, seconds = stored_votes(stages, votes, [row.solution.id for row in chosen])
    found, missing = [], 0
    for row in chosen:
        name = row.solution.id
        solution = judged(row, store.rationales(name), votes.n_votes, sampling.readout, votes.stop_early)
        if solution is None and (reason := store.lost.get(name, "")):
            solution = JudgedRow(row, None, (), reason)
        if solution is not None:
            found.append(solution)
        else:
            missing += 1
    if not found:
        raise UserError(
            f"{stages.root}: {votes.n_votes} votes are stored of no solution; run it without --regrade, or with a "
            "smaller --n"
        )
    model = sampling.checkpoint.directory if sampling.checkpoint else config.model
    identity = read_identity(stages.root / IDENTITY, ADVICE) or {}
    about = {
        "benchmark": benchmark.name,
        "data": str(config.data),
        "model": str(model) if model else None,
        "n": votes.n_votes,
        "n_asked": config.n,
        "readout": sampling.readout,
        "full": not votes.stop_early,
        "missing_as": config.missing,
        **{name: sampling.identity[name] for name in ("scorer", "mode", "seed")},
        "identity": identity | flattened({"engine": recorded_engine(stages, votes)}),
    }
    return Result(
        about,
        found,
        scores(found, votes.n_votes, not votes.stop_early, config.missing, sampling.scorer.voting),
        Account.of(found),
        contents.rejected,
        contents.notes,
        missing,
        seconds if stage.done else seconds + stage.seconds,
    )
