"""`python -m jprm label`: the labelled solutions of a sweep's configuration, as a file and as a table.

The stages are those that a sweep of the same configuration makes, in the same run directory, so neither computes what
the other has. Rows of problems that gave no solution are counted by their reasons and kept in a file of their own.

With another `labels.draw` the same solutions are valued once more, by rollouts of their own; what was drawn before in
the same run directory is compared with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Interval, Resamples, interval_row, mean_interval, share_interval
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import FREE_KEYS, SweepConfig
from jprm.experiments.sweep.machine_speed import stored_speed
from jprm.jobs import RunDirectory, Runner, StageFailed, Stages, Task, claim_directory, open_run, write_rows
from jprm.jobs.directory import check_writable
from jprm.label import Agreement, agreement, label_rule
from jprm.records import read_jsonl
from jprm.report.tables import Table, columns, print_table
from jprm.tasks.label_file import label_rows
from jprm.tasks.labels import LOST, VALUES, LabelledSolutions, ProblemsLost
from jprm.tasks.resources import Resources, Speed
from jprm.tasks.rollout_store import count_rollouts, state_counts
from jprm.terminal import say

LABELS, UNUSED, IDENTITY = "labels.jsonl", "unused.jsonl", "labels.json"
ADVICE = "set name=OTHER for labels of their own, or give --replace (stages that fit are used)"
# The sections of a configuration that decide labels.
SECTIONS = ("world", "data", "model", "base", "labels", "axes", "only", "skip")
SEEDS = Table(
    "", columns("seed | problems | solved samples: pass_at_1*% | unused | solutions | rollouts | tokens drawn: tokens")
)
BY_RULE = Table(
    "", columns("rule | solutions without an error: right | with an error: wrong*% | same first error as rpe: same*%")
)


@dataclass(frozen=True)
class SeedLabels:
    """What came out for one seed: rows of `values.jsonl`, rows for readers, and what was lost, by problem."""

    seed: int
    values: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    lost: dict[str, str]
    rollouts: int | None
    other_draws: dict[int, Agreement]

    @property
    def unused(self) -> list[dict[str, Any]]:
        """The problems without a labelled solution, each with the reason."""
        found = []
        for row in self.values:
            if row["reason"]:
                about = {"problem": row["problem"]["text"], "answer": row["problem"]["answer"]}
                about |= {"n": row["n"], "correct": row["correct"]}
                found.append({"seed": self.seed, "problem_id": row["problem_id"], "reason": row["reason"]} | about)
        lost = ({"seed": self.seed, "problem_id": key, "reason": reason} for key, reason in self.lost.items())
        return [*found, *lost]

    @property
    def row(self) -> dict[str, Any]:
        """The row of `SEEDS`."""
        sampled = [row for row in self.values if row.get("n") and "correct" in row]
        solved = None
        if sampled:
            resamples = Resamples.of([row["problem_id"] for row in sampled])
            solved = share_interval([r["correct"] for r in sampled], [r["n"] for r in sampled], resamples)
        return {
            "seed": self.seed,
            "problems": len(self.values) + len(self.lost),
            "unused": len(self.unused),
            "solutions": len(self.rows),
            "rollouts": self.rollouts,
            "tokens": sum(row.get("generated_tokens", 0) for row in self.values),
        } | interval_row("pass_at_1", solved)


def run_label(
    config: SweepConfig, *, out: Path | None = None, replace: bool = False, mix_versions: bool = False
) -> int:
    """Computes what is missing, writes the rows, prints the table, and returns the exit code.

    out: the file of the rows, by default `labels.jsonl` in the run directory. 0: done. 3: rows of the input were
    rejected, rollouts were lost (the same command draws them again), or no solution came out at all. Raises UserError
    for the user's mistakes and for a server that is gone, Preempted on SIGTERM; what was drawn until then is stored.
    """
    check_writable(config.path)
    tasks = _tasks(config)
    with RunDirectory(config.path) as directory, Resources() as resources:
        if out is None:
            identity = config.model_dump(mode="json", include=set(SECTIONS)) | {"seeds": config.seeds}
            about: dict[str, Any] = {"holds": "holds other labels", "free": FREE_KEYS, "replace": replace}
            claim_directory(config.path / IDENTITY, identity, ADVICE, completed=with_defaults, **about)
        speed = stored_speed(config.path) or Speed()
        with open_run(
            config.path, tasks, resources, speed=speed, mix_versions=mix_versions, directory=directory
        ) as runner:
            found = [_labelled(runner, task) for task in tasks]
            runner.count_reused()
            runner.progress.close()  # what follows is printed below it
    worlds = dict.fromkeys(task.world.world for task in tasks)
    rejected = [reason for world in worlds for reason in world.rejected]
    out = out or config.path / LABELS
    write_rows(out, [row for one in found for row in one.rows])
    unused = [row for one in found for row in one.unused]
    write_rows(config.path / UNUSED, [*unused, *({"reason": reason} for reason in rejected)])
    _print(found, unused, rejected, config.labels.draw)
    say(f"labels: {out}   unused problems: {config.path / UNUSED}")
    print(f"computed {runner.computed}, reused {runner.reused}")
    complete = not rejected and not any(one.lost for one in found) and any(one.rows for one in found)
    return 0 if complete else INCOMPLETE


def with_defaults(identity: dict[str, Any]) -> dict[str, Any]:
    """Completes stored sections with the defaults of keys that have come since; as they are, if they no longer fit."""
    whole = {key for key in identity if key in (*SECTIONS, "teacher", "cell")}
    try:
        config = SweepConfig.model_validate({key: identity[key] for key in whole})
    except ValueError:
        return identity
    return identity | config.model_dump(mode="json", include=whole)


def _tasks(config: SweepConfig) -> list[LabelledSolutions]:
    """The labelled solutions to make. Raises UserError where there are no values, or several sets for one seed."""
    if config.labels.source != "rollouts":
        raise UserError(f'labels.source = "{config.labels.source}": there is nothing to roll out; take "rollouts"')
    tasks = Sweep(config).labels
    if len(tasks) > len({task.seed for task in tasks}):
        raise UserError("the axes make several sets of labels for one seed; choose one with only = [...]")
    return tasks


def _labelled(runner: Runner, task: LabelledSolutions) -> SeedLabels:
    """Computes the labels of one seed; of a stage whose sampler lost some problems it takes the others."""
    if reason := lost_in(runner, task, ProblemsLost):
        runner.progress.note(f"{task.label}: {reason}")
    stage = runner.stages[task]
    values = read_jsonl(stage.file(VALUES))
    lost = {row["problem_id"]: row["reason"] for row in read_jsonl(stage.file(LOST), {"problem_id": str})}
    rows = sorted(label_rows(values, task.settings, task.seed), key=lambda row: row["problem_id"])
    return SeedLabels(task.seed, values, rows, lost, count_rollouts(stage.path), _other_draws(runner.stages, task))


def _other_draws(stages: Stages, task: LabelledSolutions) -> dict[int, Agreement]:
    """How the values of other draws of the same solutions agree with these, by the number of the draw.

    A draw without a common state, as where no problem was solved, is left out.
    """
    own, draw, counts = dict(stages[task].inputs["labels"]), task.settings.draw, state_counts(stages[task].path)
    found = {}
    for stage in stages.alike(task, {"labels"}):
        labels = dict(stage.inputs["labels"])
        other = labels.pop("draw", 0)
        if stage.done and other != draw and labels == {key: own[key] for key in own if key != "draw"}:
            others = state_counts(stage.path)
            found |= {other: agreement(counts, others)} if counts.keys() & others.keys() else {}
    return found


def lost_in(runner: Runner, task: Task, loss: type[UserError]) -> str:
    """Computes a task. Returns the reason where it failed by a `loss`, which leaves all the rest stored; "" for none.

    Raises whatever else it failed with.
    """
    try:
        runner.ensure(task)
    except StageFailed as failed:
        if not isinstance(failed.__cause__, loss):
            raise (failed.__cause__ or failed) from None
        return failed.failure.reason
    return ""


def _print(found: Sequence[SeedLabels], unused: Sequence[dict[str, Any]], rejected: Sequence[str], draw: int) -> None:
    print_table(SEEDS.of(one.row for one in found))
    for one in found:
        for other, same in sorted(one.other_draws.items()):
            print(
                f"seed {one.seed}, draw {draw} against draw {other}: {same.states} states, {same.informative} of them "
                f"neither all right nor all wrong; chi-square {same.chi_square:.1f} ({same.informative} are expected), "
                f"p = {same.p:.3f}"
            )
    if rows := [row for one in found for row in one.rows]:
        print("\nsolutions by the first step that is labelled wrong; 95 % intervals over problems")
        print_table(BY_RULE.of(_by_rule(rows)))
    reasons = Counter("rollouts lost" if "rollouts lost" in row["reason"] else row["reason"] for row in unused)
    for reason, n in reasons.most_common():
        print(f"unused: {n} problems: {reason}")
    if rejected:
        print(f"rejected in reading: {len(rejected)} rows, such as {rejected[0]}")


def _by_rule(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `BY_RULE`."""
    resamples = Resamples.of([row["problem_id"] for row in rows])

    def share(flags: list[bool]) -> Interval:
        return mean_interval([float(flag) for flag in flags], resamples)

    table = []
    for rule in label_rule:
        first = [row["first_error"][rule] for row in rows]
        same = [at == row["first_error"]["rpe"] for at, row in zip(first, rows, strict=True)]
        shares = interval_row("wrong", share([at >= 0 for at in first])) | interval_row("same", share(same))
        table.append({"rule": rule, "right": sum(at < 0 for at in first)} | shares)
    return table
