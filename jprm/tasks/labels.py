"""Labelled solutions: Monte-Carlo values of policy solutions, or solutions whose truth is known by construction."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from jprm.errors import UserError
from jprm.jobs import Progress, Stage, Stages, Task, work_folder, write_rows
from jprm.label import LostProblem, RolloutSettings, first_error_of, label_rule, value_problems
from jprm.records import (
    Problem,
    Solution,
    append_jsonl,
    as_judged,
    from_json,
    read_jsonl,
    stream_jsonl,
    stream_records,
    to_json,
)
from jprm.seeds import rng_of, seed_of
from jprm.tasks.model_source import opened
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.policy import Policy
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.rollout_store import ROLLOUTS, RolloutStore, rollout_key, stream_rollouts
from jprm.tasks.settings import EXACT, LabelSection

VALUES, LOST = "values.jsonl", "lost.jsonl"
ROLLOUTS_PER_STATE = 70  # expected, as is the share of max_tokens that one has; only the plan and the ETA use them
ROLLOUT_SHARE = 3 / 8
TOLD = 20  # rows of files that were left out, with their reasons


class ProblemsLost(UserError):
    """Some problems have no values, because the sampler lost rollouts of them; all that was drawn is stored."""


@dataclass(frozen=True, slots=True)
class Example:
    """A solution to learn from, with its values `mc` [T + 1] where they were measured."""

    problem: Problem
    solution: Solution
    mc: tuple[float, ...] | None


class LabelledSolutions(Task):
    """The solutions that the verifiers of one seed learn from; `load_examples(stage)` reads them."""

    kind: ClassVar[str] = "labels"
    world: OpenWorld
    settings: LabelSection
    seed: int

    @property
    def label(self) -> str:
        return f"labels s={self.seed}"


@dataclass(frozen=True, eq=False)
class Labels(LabelledSolutions):
    """Solutions of the policy and planted ones; `policy` is None where no policy is rolled out.

    chunk_problems: how many problems a worker rolls out under one lease; 0 for all. It decides nothing.
    """

    world: OpenWorld
    settings: LabelSection
    policy: Policy | None
    seed: int
    chunk_problems: int = 0

    def parents(self) -> tuple[Task, ...]:
        return (self.policy.model,) if self.policy else ()

    def inputs(self) -> dict[str, Any]:
        """What decides solutions and values; thresholds are applied later."""
        left_out = {"epsilon", "difference_epsilon", "annotator_noise", "file"}
        # Keys that came later are left out where they are the defaults, as in keys from before there were any.
        fields = LabelSection.model_fields
        left_out |= {n for n in ("min_steps", "max_steps", "draw") if getattr(self.settings, n) == fields[n].default}
        labels = self.settings.model_dump(mode="json", exclude=left_out)
        asked = self.policy.inputs() if self.policy else {}
        return {"labels": labels, "world": self.world.identity, "seed": self.seed} | asked

    def parts(self, stages: Stages) -> tuple[Task, ...]:
        """Chunks of the problems; none where there are too few to share, or nothing is rolled out."""
        n, size = self.settings.problems, self.chunk_problems
        if self.policy is None or not 0 < size < n:
            return ()
        return tuple(LabelsPart(self, start, min(start + size, n)) for start in range(0, n, size))

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Writes one row per problem, chunk by chunk; rows of files that the world left out are told and counted."""
        rejected = self.world.world.rejected
        tell_rejected(context.progress, rejected)
        problems = self.drawn_problems
        if self.policy is None:
            summary = self._planted(stage, problems)
        else:
            self._take_over(stage, context.stages)
            summary = self.roll_out(stage, context, problems, self.policy)
        return summary | ({"rejected": len(rejected)} if rejected else {})

    @property
    def drawn_problems(self) -> list[Problem]:
        """The problems whose solutions are labelled."""
        return self.world.world.problems("train", self.settings.problems, seed_of(self.seed, "labels"))

    def flops(self) -> float:
        labels = self.settings
        if self.policy is None:
            return 0.0
        states = 1 + 1.6 * (labels.right_solutions + labels.wrong_solutions + labels.planted_solutions)
        tokens = labels.problems * states * ROLLOUTS_PER_STATE * ROLLOUT_SHARE * labels.max_tokens
        return self.policy.flops(tokens / labels.rollout_divisor)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.decode

    def roll_out(
        self, stage: Stage, context: TaskContext, problems: list[Problem], policy: Policy, may_lack: bool = False
    ) -> dict[str, Any]:
        """Measures what is missing, and returns the summary of the stage.

        Raises ProblemsLost where rollouts were lost, unless the result `may_lack` some, and whatever else stops the
        work; what was drawn until then is on disk.
        """
        path, progress = stage.file(VALUES), context.progress
        by_id = {problem.id: problem for problem in problems}
        done = {row["problem_id"] for row in stream_jsonl(path, {"problem_id": str})}
        store, lost = RolloutStore(stage.path, done), list[LostProblem]()
        started, before = time.monotonic(), store.count

        def tell() -> None:
            """Makes safe what was drawn, then tells how far the work is, where it can be stopped."""
            if store.is_due:
                store.flush()
                drawn, pace = store.count, (store.count - before) / (time.monotonic() - started)
                told = f"labels: {len(done)} of {len(problems)} problems, {drawn} rollouts, {pace:.1f} a second"
                if repeated := getattr(sampler, "retried", 0):
                    told += f", {repeated} requests to the server repeated"
                progress.show(told, share=len(done) / len(problems))

        if len(done) < len(problems):
            with opened(policy.sampler(context.stages)) as sampler:
                try:
                    for records in value_problems(
                        problems,
                        self.world.world,
                        sampler,
                        policy.model.tokenizer,
                        self._rollout_settings,
                        seed=seed_of(self.seed, "rollouts"),
                        done=frozenset(done),
                        prompt=policy.prompt,
                        log=store,
                        on_poll=tell,
                    ):
                        store.flush()
                        values = [record for record in records if not isinstance(record, LostProblem)]
                        append_jsonl(path, [to_json(v) | {"problem": to_json(by_id[v.problem_id])} for v in values])
                        done |= {v.problem_id for v in values}
                        lost += [record for record in records if isinstance(record, LostProblem)]
                        for record in records:
                            store.forget(record.problem_id)
                finally:
                    if stage.path.exists():  # not after another worker took the stage over
                        store.flush()
        stage.file(LOST).unlink(missing_ok=True)
        if lost and not may_lack:
            write_rows(stage.file(LOST), map(to_json, lost))
            raise ProblemsLost(
                f"{len(lost)} of {len(problems)} problems have no values ({lost[0].reason}); run the command again"
            )
        return self._summary(path, [problem_id for problem_id in by_id if problem_id in done])

    def _take_over(self, stage: Stage, stages: Stages) -> None:
        """Adds what parts have drawn and this stage has not, so that killing it on the way doubles no line.

        Rollouts come first: a problem with values counts as done.
        """
        parts = [work_folder(stages[part].path) for part in self.parts(stages)]
        rollouts, values = stage.file(ROLLOUTS), stage.file(VALUES)
        drawn = {rollout_key(row) for row in stream_rollouts(rollouts)}
        for part in parts:
            new = (row for row in stream_rollouts(part / ROLLOUTS) if rollout_key(row) not in drawn)
            append_jsonl(rollouts, new)
        valued = {row["problem_id"] for row in stream_jsonl(values, {"problem_id": str})}
        for part in parts:
            append_jsonl(values, (row for row in stream_jsonl(part / VALUES) if row["problem_id"] not in valued))

    @property
    def _rollout_settings(self) -> RolloutSettings:
        labels = self.settings
        return RolloutSettings(
            first=labels.first_samples,
            divisor=labels.rollout_divisor,
            max_tokens=labels.max_tokens,
            context_tokens=labels.context_tokens,
            correct_per_problem=labels.right_solutions,
            wrong_per_problem=labels.wrong_solutions,
            planted_per_problem=labels.planted_solutions,
            min_steps=labels.min_steps,
            max_steps=labels.max_steps,
            draw=labels.draw,
        )

    def _summary(self, path: Path, order: list[str]) -> dict[str, Any]:
        """Counts the finished values, whose rows are put into the order of the problems where they are not."""
        rows = {row["problem_id"]: row for row in read_jsonl(path)}
        if list(rows) != order:  # problems that were lost at first came later
            rows = {problem_id: rows[problem_id] for problem_id in order}
            write_rows(path, rows.values())
        sampled = sum(row["n"] for row in rows.values())
        return {
            "problems": len(rows),
            "solutions": sum(len(row["solutions"]) for row in rows.values()),
            "pass_at_1": sum(row["correct"] for row in rows.values()) / sampled if sampled else None,
            "unused": dict(Counter(row["reason"] for row in rows.values() if row["reason"])),
            "generated_tokens": sum(row["generated_tokens"] for row in rows.values()),
        }

    def _planted(self, stage: Stage, problems: list[Problem]) -> dict[str, Any]:
        rng, world, labels, rows = rng_of(self.seed, "planted"), self.world.world, self.settings, []
        for problem in problems:
            solutions = [world.reference(problem, rng)] * (labels.right_solutions > 0)
            solutions += [world.planted(problem, rng) for _ in range(labels.planted_solutions)]
            valued = [{"solution": to_json(s), "mc": None} for s in solutions if s is not None]
            rows.append({"problem": to_json(problem), "solutions": valued})
        write_rows(stage.file(VALUES), rows)
        return {"problems": len(rows), "solutions": sum(len(row["solutions"]) for row in rows)}


@dataclass(frozen=True, eq=False)
class LabelsPart(Task):
    """The labelled solutions of the problems from `start` to `stop`: what one worker leases at a time."""

    kind: ClassVar[str] = "labels_part"
    labels: Labels
    start: int
    stop: int

    @property
    def label(self) -> str:
        return f"{self.labels.label}, problems {self.start} to {self.stop}"

    def parents(self) -> tuple[Task, ...]:
        return self.labels.parents()

    def inputs(self) -> dict[str, Any]:
        return {"labels": self.labels.key, "start": self.start, "stop": self.stop}

    def seconds(self, speed: Speed) -> float:
        return self.labels.seconds(speed) * (self.stop - self.start) / self.labels.settings.problems

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """What is lost is left to the whole, which asks again."""
        assert self.labels.policy is not None, "only rollouts are divided"
        problems = self.labels.drawn_problems[self.start : self.stop]
        return self.labels.roll_out(stage, context, problems, self.labels.policy, may_lack=True)


def tell_rejected(progress: Progress, rejected: Sequence[str]) -> None:
    """Notes the first rows of files that were left out, "file:line: reason" each, and how many more there are."""
    for reason in rejected[:TOLD]:
        progress.note(f"rejected: {reason}")
    if len(rejected) > TOLD:
        progress.note(f"rejected: and {len(rejected) - TOLD} more rows")


def step_labels(rule: str, mc: Sequence[float], settings: LabelSection) -> list[int]:
    """The label of each step under a rule that goes by values `mc` [T + 1], at the threshold of the settings.

    Raises UserError where a rule of the user's does not give a label for each step.
    """
    threshold = threshold_of(rule, settings)
    labels = [*label_rule[rule](mc, *([] if threshold is None else [threshold]))]
    if len(labels) != len(mc) - 1 or not set(labels) <= {0, 1}:
        raise UserError(
            f"the label rule {rule} gave {labels!r:.60} for {len(mc) - 1} steps; a step has 1, or 0 if wrong"
        )
    return [int(label) for label in labels]


def labelled_first_error(rule: str, example: Example, settings: LabelSection) -> int:
    """The label of a solution: the 0-based first step labelled wrong, -1 for none.

    Raises UserError where the rule asks for what is not known.
    """
    if rule == EXACT:
        if example.solution.first_error is None:
            raise UserError(f"solution {example.solution.id}: its truth is unknown; choose another grid.labels")
        return example.solution.first_error
    if example.mc is None:
        raise UserError(f"solution {example.solution.id} has no values; choose grid.labels = exact")
    return first_error_of(step_labels(rule, example.mc, settings))


def threshold_of(rule: str, settings: LabelSection) -> float | None:
    """The threshold of a rule; None for one that has none."""
    return {"rpe": settings.epsilon, "difference": settings.difference_epsilon}.get(rule)


def rule_inputs(rule: str, settings: LabelSection) -> dict[str, Any]:
    """A rule as inputs of a task: its name, its threshold, and the file that defines it where it is the user's."""
    plugin = label_rule.digest(rule) if rule != EXACT else ""
    return {"rule": rule, "threshold": threshold_of(rule, settings)} | ({"rule_plugin": plugin} if plugin else {})


def load_examples(stage: Stage) -> list[Example]:
    """All labelled solutions of a finished stage, in the order of their problems' ids."""
    rows = stream_records(stage.file(VALUES), examples_of, {"problem": dict, "solutions": list})
    return [e for _, examples in sorted(rows, key=lambda row: row[0]) for e in examples]


def examples_of(row: Mapping[str, Any]) -> tuple[str, list[Example]]:
    """The problem's id, and its labelled solutions, of one row of `values.jsonl`. Raises UserError for damage."""
    problem, examples = row["problem"], []
    for valued in row["solutions"]:
        known = valued if isinstance(valued, dict) else {}
        fields = {name: known.get(name) for name in ("solution", "mc")}
        example = from_json(Example, {"problem": problem} | fields)
        shown = replace(example.solution, steps=as_judged(example.solution.steps))
        examples.append(replace(example, solution=shown))
    return from_json(Problem, problem).id, examples
