"""Labelled solutions: Monte-Carlo values of policy solutions, or solutions whose truth is known by construction."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.jobs import Stage, Task, write_rows
from jprm.label import RolloutSettings, value_problems
from jprm.records import Problem, Solution, append_jsonl, from_json, read_jsonl, stream_records, to_json
from jprm.seeds import rng_of, seed_of
from jprm.tasks.model_source import opened
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.policy import Policy
from jprm.tasks.resources import Speed, TaskContext
from jprm.tasks.settings import LabelSection

VALUES = "values.jsonl"
ROLLOUTS_PER_STATE = 70  # expected, as are the tokens of one; only the plan and the ETA use them
TOKENS_PER_ROLLOUT = 30
TOLD = 20  # rows of files that were left out, with their reasons


@dataclass(frozen=True, slots=True)
class Example:
    """A solution to learn from, with its values `mc` [T + 1] where they were measured."""

    problem: Problem
    solution: Solution
    mc: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Labels(Task):
    """The solutions that the verifiers of one seed learn from; `load_examples(stage)` reads them.

    `policy` is None where no policy is rolled out.
    """

    kind: ClassVar[str] = "labels"
    world: OpenWorld
    settings: LabelSection
    policy: Policy | None
    seed: int

    @property
    def label(self) -> str:
        return f"labels s={self.seed}"

    def parents(self) -> tuple[Task, ...]:
        return (self.policy.model,) if self.policy else ()

    def inputs(self) -> dict[str, Any]:
        """What decides solutions and values; thresholds are applied later."""
        thresholds = {"epsilon", "difference_epsilon", "annotator_noise"}
        labels = self.settings.model_dump(mode="json", exclude=thresholds)
        asked = self.policy.inputs() if self.policy else {}
        return {"labels": labels, "world": self.world.identity, "seed": self.seed} | asked

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Writes one row per problem, chunk by chunk; rows of files that the world left out are told and counted."""
        rejected = self.world.world.rejected
        for reason in rejected[:TOLD]:
            context.progress.note(f"rejected: {reason}")
        if len(rejected) > TOLD:
            context.progress.note(f"rejected: and {len(rejected) - TOLD} more rows")
        problems = self.world.world.problems("train", self.settings.problems, seed_of(self.seed, "labels"))
        if self.policy is None:
            summary = self._planted(stage, problems)
        else:
            summary = self._rolled_out(stage, context, problems, self.policy)
        return summary | ({"rejected": len(rejected)} if rejected else {})

    def flops(self) -> float:
        labels = self.settings
        if self.policy is None:
            return 0.0
        states = 1 + 1.6 * (labels.right_solutions + labels.wrong_solutions + labels.planted_solutions)
        tokens = labels.problems * states * ROLLOUTS_PER_STATE * TOKENS_PER_ROLLOUT
        return self.policy.flops(tokens / labels.rollout_divisor)

    def seconds(self, speed: Speed) -> float:
        return 3 + self.flops() / speed.decode

    def _rolled_out(
        self, stage: Stage, context: TaskContext, problems: list[Problem], policy: Policy
    ) -> dict[str, Any]:
        labels, path = self.settings, stage.file(VALUES)
        settings = RolloutSettings(
            first=labels.first_samples,
            divisor=labels.rollout_divisor,
            max_tokens=labels.max_tokens,
            correct_per_problem=labels.right_solutions,
            wrong_per_problem=labels.wrong_solutions,
            planted_per_problem=labels.planted_solutions,
        )
        done = {row["problem_id"] for row in read_jsonl(path, {"problem_id": str})}
        by_id = {problem.id: problem for problem in problems}
        n_done = len(done)
        with opened(policy.sampler(context.stages)) as sampler:
            chunks = value_problems(
                problems,
                self.world.world,
                sampler,
                policy.model.tokenizer,
                settings,
                seed=seed_of(self.seed, "rollouts"),
                done=done,
                prompt=policy.prompt,
            )
            for values in chunks:
                append_jsonl(path, [to_json(v) | {"problem": to_json(by_id[v.problem_id])} for v in values])
                n_done += len(values)
                context.progress.show(f"labels: {n_done} of {len(problems)} problems rolled out")
        rows = read_jsonl(path)
        return {
            "problems": len(rows),
            "solutions": sum(len(row["solutions"]) for row in rows),
            "pass_at_1": sum(row["correct"] for row in rows) / sum(row["n"] for row in rows),
            "unused": dict(Counter(row["reason"] for row in rows if row["reason"])),
            "generated_tokens": sum(row["generated_tokens"] for row in rows),
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


def load_examples(stage: Stage) -> list[Example]:
    """All labelled solutions of a finished stage, in the order of their problems' ids."""
    rows = stream_records(stage.file(VALUES), _examples, {"problem": dict, "solutions": list})
    return [e for _, examples in sorted(rows, key=lambda row: row[0]) for e in examples]


def _examples(row: dict[str, Any]) -> tuple[str, list[Example]]:
    """The problem's id, and its labelled solutions."""
    problem, examples = row["problem"], []
    for valued in row["solutions"]:
        known = valued if isinstance(valued, dict) else {}
        fields = {name: known.get(name) for name in ("solution", "mc")}
        examples.append(from_json(Example, {"problem": problem} | fields))
    return from_json(Problem, problem).id, examples
