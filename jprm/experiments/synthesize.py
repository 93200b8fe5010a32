"""`python -m jprm synthesize`: a teacher's rationales of labelled solutions, as conversations that `train` reads."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Resamples, interval_row, mean_interval
from jprm.experiments.label import SECTIONS, lost_in, with_defaults
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import FREE_KEYS, SweepConfig
from jprm.experiments.sweep.machine_speed import stored_speed
from jprm.experiments.training_files import named, write_training
from jprm.formats.protocols import KEY, ProtocolChoice
from jprm.jobs import RunDirectory, Stages, claim_directory, open_run, write_rows
from jprm.jobs.directory import check_writable
from jprm.label import write_messages, write_rationales
from jprm.report.tables import Table, columns, print_table
from jprm.tasks.labels import load_examples
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.settings import Style
from jprm.tasks.teacher_rationales import TRAINING_FORM, AttemptsLost, TeacherRationales, counts, load_kept, read_lost
from jprm.tasks.verifier import TrainedVerifier
from jprm.terminal import say

CONVERSATIONS, IDENTITY = "conversations.jsonl", "rationales.json"
ADVICE = "set name=OTHER for rationales of their own, or give --replace (stages that fit are used)"
COUNTS = Table(
    "Rationales of the teacher",
    columns(
        "labels: rule | seed | solutions | attempts | kept | solutions kept: share*% | lost by the server: lost | "
        "tokens: generated_tokens | pieces of code: executions"
    ),
    note="A solution is kept where an attempt is: 95 % interval by bootstrap over problems.",
)
LOSSES = Table("Attempts that are not kept", columns("reason | attempts | share%"))


def run_synthesis(
    config: SweepConfig, out: Path | None = None, replace: bool = False, training: Path | None = None
) -> int:
    """Has the teacher of a sweep's configuration write, in its run directory, and writes the file of conversations.

    out: the file; by default it lies in the run directory, where `replace` replaces that of another configuration.
    training: a folder for what each verifier of the grid learns and how (see `write_training`); None for none.
    Returns 3 where a server has lost attempts or nothing is kept, else 0. Raises UserError for the user's mistakes and
    for a server that is gone, Preempted on SIGTERM; every attempt that has ended until then is stored.
    """
    if config.model.teacher is None:
        raise UserError("model.teacher is not set; name a directory, or a table with base_url (docs/configuration.md)")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")
    check_writable(config.path)
    tasks, verifiers = _tasks(config), dict[str, TrainedVerifier]()
    if training is not None:
        check_writable(training)
        verifiers = named(Sweep(config).verifiers)
    with RunDirectory(config.path) as directory, Resources() as resources:
        if out is None:
            identity = config.model_dump(mode="json", include={*SECTIONS, "teacher", "cell"})
            identity |= {"seeds": config.seeds, "grid": {"labels": config.grid.labels}}
            about: dict[str, Any] = {"holds": "holds other rationales", "free": FREE_KEYS, "replace": replace}
            claim_directory(config.path / IDENTITY, identity, ADVICE, completed=with_defaults, **about)
        speed = stored_speed(config.path) or Speed()
        with open_run(config.path, list(tasks), resources, speed=speed, directory=directory) as runner:
            incomplete = [task for task in tasks if lost_in(runner, task, AttemptsLost)]
            runner.count_reused()
            runner.progress.close()  # what follows is printed below it
    rows = [row for task, style in tasks.items() for row in conversations(runner.stages, task, style)]
    out = out or config.path / CONVERSATIONS
    write_rows(out, rows)
    print_counts(runner.stages, list(tasks))
    say(f"conversations: {out} ({len(rows)} rows)")
    if training is not None:
        training.mkdir(parents=True, exist_ok=True)
        for name, verifier in verifiers.items():
            if verifier.taught not in incomplete:
                write_training(training, name, verifier, runner.stages)
                say(f"training: python -m jprm train --config {training / name}.toml")
    print(f"computed {runner.computed}, reused {runner.reused}")
    for task in incomplete:
        say(f"incomplete: {task.label}: attempts were lost; the same command asks for them again")
    return INCOMPLETE if incomplete or not rows else 0


def _tasks(config: SweepConfig) -> dict[TeacherRationales, Style]:
    """Returns what the teacher has to write for each seed at each point of the axes, and in which style."""
    sweep, tasks = Sweep(config), dict[TeacherRationales, Style]()
    for point in sweep.points:
        for seed in point.config.seeds:
            if (task := sweep.tasks_of(point.config).rationales(seed)) is not None:
                tasks.setdefault(task, point.config.cell.style)
    return tasks


def conversations(stages: Stages, task: TeacherRationales, style: Style) -> Iterator[dict[str, Any]]:
    """The rows of the file: a conversation for each attempt that is kept, in the order of the solutions."""
    examples = {example.solution.id: example for example in load_examples(stages[task.labels])}
    protocol, codec = task.protocol, task.model.tokenizer
    told = ProtocolChoice(name="genprm", chat="template", style=style, overrides=TRAINING_FORM).model_dump(mode="json")
    for kept in load_kept(stages[task]):
        example = examples[kept.solution_id]
        rationales = write_rationales(kept.steps, protocol, codec, style)
        assert rationales is not None, "what fits with analysis and code fits without one of them"
        yield {
            "messages": write_messages(example.problem, example.solution, rationales, protocol, style),
            KEY: told,
            "problem_id": example.problem.id,
            "solution_id": kept.solution_id,
            "attempt": kept.attempt,
            "first_error": kept.first_error,
            "labels": task.rule,
            "seed": task.labels.seed,
        }


def print_counts(stages: Stages, tasks: Sequence[TeacherRationales]) -> None:
    """Prints what became of the attempts of each task, and why those that are not kept are not."""
    rows, losses = [], Counter[str]()
    for task in tasks:
        stage = stages[task]
        about, examples = counts(stage), load_examples(stages[task.labels])
        kept = {attempt.solution_id for attempt in load_kept(stage)}
        resamples = Resamples.of([example.problem.id for example in examples])
        share = interval_row("share", mean_interval([example.solution.id in kept for example in examples], resamples))
        told = {"rule": task.rule, "seed": task.labels.seed, "lost": len(read_lost(stage))}
        rows.append(about | share | told)
        losses += Counter(about["losses"])
    print_table(COUNTS.of(rows))
    attempts = sum(row["attempts"] for row in rows)
    if losses:
        told = sorted(losses.items(), key=lambda item: (-item[1], item[0]))
        print_table(LOSSES.of({"reason": reason, "attempts": n, "share": n / attempts} for reason, n in told))
