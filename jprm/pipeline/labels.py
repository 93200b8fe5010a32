"""Labelled solutions: Monte-Carlo values of policy solutions, or solutions whose truth is known by construction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jprm.label import RolloutSettings, value_problems
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.policy import policy_base, policy_engine
from jprm.records import Problem, Solution, append_jsonl, from_json, read_jsonl, stream_records, to_json
from jprm.runs import Stage
from jprm.seeds import rng_of, seed_of

ROLLOUTS_PER_STATE = 70  # expected, and the tokens of one; only the plan and the ETA use them
TOKENS_PER_ROLLOUT = 30


@dataclass(frozen=True, slots=True)
class Example:
    """A solution to learn from, with its values `mc` [T + 1] where they were measured."""

    problem: Problem
    solution: Solution
    mc: tuple[float, ...] | None


@dataclass(frozen=True)
class Labels:
    """The solutions that verifiers of one seed learn from; `load_examples(stage)` reads them."""

    kind: ClassVar[str] = "labels"
    version: ClassVar[int] = 1
    seed: int

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The policy, where it is rolled out."""
        return (policy_base(lab, self.seed),) if self._by_rollouts(lab) else ()

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """What decides solutions and values; thresholds are applied later."""
        labels = lab.config.labels.model_dump(mode="json", exclude={"epsilon", "difference_epsilon", "annotator_noise"})
        return {"labels": labels, "world": lab.world_identity, "seed": self.seed}

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Writes one row per problem, chunk by chunk."""
        problems = lab.world.problems("train", lab.config.labels.problems, seed_of(self.seed, "labels"))
        rows = self._rolled_out if self._by_rollouts(lab) else self._planted
        return rows(lab, stage, problems)

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs."""
        labels = lab.config.labels
        if not self._by_rollouts(lab):
            return 0.0
        states = 1 + 1.6 * (labels.right_solutions + labels.wrong_solutions + labels.planted_solutions)
        tokens = labels.problems * states * ROLLOUTS_PER_STATE * TOKENS_PER_ROLLOUT
        tokens /= labels.rollout_divisor
        return lab.decode_flops(lab.config.model.policy, labels.context_tokens, tokens)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 3 + self.flops(lab) / lab.rates.decode

    def _by_rollouts(self, lab: Lab) -> bool:
        return lab.config.labels.source == "rollouts"

    def _rolled_out(self, lab: Lab, stage: Stage, problems: list[Problem]) -> dict[str, Any]:
        labels, path = lab.config.labels, stage.file("values.jsonl")
        settings = RolloutSettings(
            first=labels.first_samples,
            divisor=labels.rollout_divisor,
            max_tokens=labels.max_tokens,
            correct_per_problem=labels.right_solutions,
            wrong_per_problem=labels.wrong_solutions,
            planted_per_problem=labels.planted_solutions,
        )
        done = {row["problem_id"] for row in read_jsonl(path, {"problem_id": str})}
        chunks = value_problems(
            problems,
            lab.world,
            policy_engine(lab, self.seed),
            lab.tokenizer,
            settings,
            seed=seed_of(self.seed, "rollouts"),
            done=done,
        )
        by_id = {problem.id: problem for problem in problems}
        n_done = len(done)
        for values in chunks:
            append_jsonl(path, [to_json(v) | {"problem": to_json(by_id[v.problem_id])} for v in values])
            n_done += len(values)
            lab.progress.show(f"labels: {n_done} of {len(problems)} problems rolled out")
        rows = read_jsonl(path)
        return {
            "problems": len(rows),
            "solutions": sum(len(row["solutions"]) for row in rows),
            "pass_at_1": sum(row["correct"] for row in rows) / sum(row["n"] for row in rows),
            "unused": {reason: n for reason in {r["reason"] for r in rows} - {""} if (n := _count(rows, reason))},
            "generated_tokens": sum(row["generated_tokens"] for row in rows),
        }

    def _planted(self, lab: Lab, stage: Stage, problems: list[Problem]) -> dict[str, Any]:
        rng = rng_of(self.seed, "planted")
        labels, rows = lab.config.labels, []
        for problem in problems:
            solutions = [lab.world.reference(problem, rng)] * (labels.right_solutions > 0)
            solutions += [lab.world.planted(problem, rng) for _ in range(labels.planted_solutions)]
            valued = [{"solution": to_json(s), "mc": None} for s in solutions if s is not None]
            rows.append({"problem": to_json(problem), "solutions": valued})
        stage.file("values.jsonl").unlink(missing_ok=True)  # made in one go, also after an earlier sitting died
        append_jsonl(stage.file("values.jsonl"), rows)
        return {"problems": len(rows), "solutions": sum(len(row["solutions"]) for row in rows)}


def load_examples(stage: Stage) -> list[Example]:
    """All labelled solutions of a finished stage, in the order of their problems' ids."""
    rows = stream_records(stage.file("values.jsonl"), _examples, {"problem": dict, "solutions": list})
    return [e for _, examples in sorted(rows, key=lambda row: row[0]) for e in examples]


def _examples(row: dict[str, Any]) -> tuple[str, list[Example]]:
    """The problem's id, and its labelled solutions."""
    problem, examples = row["problem"], []
    for valued in row["solutions"]:
        known = valued if isinstance(valued, dict) else {}
        fields = {name: known.get(name) for name in ("solution", "mc")}
        examples.append(from_json(Example, {"problem": problem} | fields))
    return from_json(Problem, problem).id, examples


def _count(rows: list[dict[str, Any]], reason: str) -> int:
    return sum(row["reason"] == reason for row in rows)
