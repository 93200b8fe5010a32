"""Sets of solutions that verifiers judge: natural errors of the policy, planted errors, ProcessBench, candidates."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jprm.digests import content_digest
from jprm.errors import UserError
from jprm.label import Rollout
from jprm.pipeline.lab import Lab, Task
from jprm.pipeline.policy import policy_base, sample_solutions
from jprm.records import Problem, Solution, append_jsonl, from_json, stream_records, to_json
from jprm.runs import Stage
from jprm.seeds import rng_of, seed_of
from jprm.worlds.base import make_solution

# Problems sampled per solution kept, so that enough wrong and right ones are among them.
PROBLEMS_PER_ITEM = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A solution to judge; `correct_answer` is the grade of its final answer, where that is known."""

    problem: Problem
    solution: Solution
    correct_answer: bool | None = None


@dataclass(frozen=True)
class Benchmark:
    """A set of solutions; `load_items(stage)` reads it.

    policy: one well-formed solution of the policy per problem, as many wrong as right, errors as they come.
    planted: references and references with a planted error, half and half.
    processbench: the rows of `<data.root>/processbench/gsm8k.jsonl(.gz)`.
    candidates: all solutions that the policy sampled for each problem, for best-of-N.
    """

    kind: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 1
    name: str
    seed: int

    @property
    def scores_solutions(self) -> bool:
        """Whether every step's reward is wanted, not only the first error."""
        return self.name == "candidates"

    def parents(self, lab: Lab) -> tuple[Task, ...]:
        """The policy, where it writes the solutions."""
        return (policy_base(lab, self.seed),) if self.name in ("policy", "candidates") else ()

    def inputs(self, lab: Lab) -> dict[str, Any]:
        """What decides the set."""
        if self.name == "processbench":
            return {"name": self.name, "data": content_digest(_processbench_file(lab))}
        evaluate, labels = lab.config.evaluate, lab.config.labels
        inputs = {"name": self.name, "seed": self.seed, "world": lab.world_identity, "split": evaluate.split}
        if self.name == "candidates":
            inputs |= {"problems": evaluate.candidates_problems, "candidates": evaluate.candidates}
        else:
            inputs |= {"problems": evaluate.problems}
        if self.parents(lab):
            inputs |= labels.model_dump(include={"temperature", "max_tokens", "context_tokens"})
        return inputs

    def size(self, lab: Lab) -> int:
        """Expected number of solutions."""
        evaluate = lab.config.evaluate
        if self.name == "candidates":
            return evaluate.candidates_problems * evaluate.candidates // 2
        return evaluate.problems

    def compute(self, lab: Lab, stage: Stage) -> dict[str, Any]:
        """Makes the set and writes it at once."""
        make = {
            "policy": self._policy,
            "planted": self._planted,
            "processbench": self._processbench,
            "candidates": self._candidates,
        }
        items, notes = make[self.name](lab)
        write_items(stage, items)
        kinds = collections.Counter(item.solution.error_kind or "right" for item in items)
        return {"items": len(items), "kinds": dict(kinds)} | notes

    def flops(self, lab: Lab) -> float:
        """Expected FLOPs: of the policy's samples, most of which a set of right and wrong ones leaves out."""
        if not self.parents(lab):
            return 0.0
        sampled = self.size(lab) * (2 if self.scores_solutions else PROBLEMS_PER_ITEM)
        labels = lab.config.labels
        tokens = sampled * labels.max_tokens / 2
        return lab.decode_flops(lab.config.model.policy, labels.context_tokens, tokens)

    def work(self, lab: Lab) -> float:
        """Expected seconds."""
        return 2 + self.flops(lab) / lab.rates.decode

    def _problems(self, lab: Lab, n: int) -> list[Problem]:
        return lab.world.problems(lab.config.evaluate.split, n, seed_of(self.seed, "benchmark", self.name))

    def _policy(self, lab: Lab) -> tuple[list[Item], dict[str, Any]]:
        wanted = lab.config.evaluate.problems // 2
        problems = self._problems(lab, PROBLEMS_PER_ITEM * 2 * wanted)
        sampled = sample_solutions(lab, problems, 1, self.seed, "benchmark")
        wrong, right, malformed = [], [], 0
        for problem, samples in zip(problems, sampled, strict=True):
            items = _usable(lab, problem, samples)
            malformed += not items
            for item in items:
                (right if item.solution.first_error == -1 else wrong).append(item)
        kept = min(len(wrong), len(right), wanted)
        if kept == 0:
            raise UserError(
                f"benchmark {self.name}: of {len(problems)} policy solutions {len(right)} are right and {len(wrong)} "
                "wrong; both kinds are needed: train the policy longer or shorter (base.steps)"
            )
        notes = {"sampled": len(problems), "wrong": len(wrong), "right": len(right), "malformed": malformed}
        return wrong[:kept] + right[:kept], notes

    def _candidates(self, lab: Lab) -> tuple[list[Item], dict[str, Any]]:
        evaluate = lab.config.evaluate
        problems = self._problems(lab, evaluate.candidates_problems)
        sampled = sample_solutions(lab, problems, evaluate.candidates, self.seed, "candidates")
        items, drawn = [], []
        for problem, samples in zip(problems, sampled, strict=True):
            items += _usable(lab, problem, samples)
            drawn.append({"problem_id": problem.id, "solutions": [solution_id(problem, s) for s in samples]})
        return items, {"problems": len(problems), "drawn": drawn}

    def _planted(self, lab: Lab) -> tuple[list[Item], dict[str, Any]]:
        rng = rng_of(self.seed, "benchmark", "planted")
        items = []
        for i, problem in enumerate(self._problems(lab, lab.config.evaluate.problems)):
            solution = lab.world.planted(problem, rng) if i % 2 else lab.world.reference(problem)
            if solution is not None:
                items.append(Item(problem, solution, lab.world.is_correct(problem, solution.steps)))
        return items, {}

    def _processbench(self, lab: Lab) -> tuple[list[Item], dict[str, Any]]:
        from jprm.formats import read_benchmark

        rows = read_benchmark(_processbench_file(lab), "processbench")
        for reason in rows.rejected:
            lab.progress.note(f"rejected: {reason}")
        return [Item(*row.records()) for row in rows.items], {"rejected": len(rows.rejected)}


def _processbench_file(lab: Lab) -> Path:
    root = lab.config.data.root
    if root is None:
        raise UserError("data.root is not set; name the folder that holds processbench/")
    plain = root / "processbench" / "gsm8k.jsonl"
    return plain if plain.is_file() else plain.with_suffix(".jsonl.gz")


def solution_id(problem: Problem, sample: Rollout) -> str:
    """The id of a sampled solution; equal samples of a problem have one."""
    return make_solution(problem, sample.steps, "policy", None).id


def _usable(lab: Lab, problem: Problem, samples: Sequence[Rollout]) -> list[Item]:
    """The different samples that have the form of a solution: they ended, every step readable, with an answer."""
    items = {}
    for sample in samples:
        first_error, kind = lab.world.truth(problem, sample.steps)
        answers = sample.finished and lab.world.answer(sample.steps) is not None
        if answers and kind not in ("format", "noanswer"):
            solution = make_solution(problem, sample.steps, "policy", first_error, kind)
            items[solution.id] = Item(problem, solution, sample.correct)
    return list(items.values())


def write_items(stage: Stage, items: Sequence[Item]) -> None:
    """Stores a set that was made in one go, in place of what a sitting that died here left."""
    path = stage.file("items.jsonl")
    path.unlink(missing_ok=True)
    append_jsonl(path, map(to_json, items))


def load_items(stage: Stage) -> list[Item]:
    """The set of a finished benchmark, in its order."""
    return list(stream_records(stage.file("items.jsonl"), functools.partial(from_json, Item)))
