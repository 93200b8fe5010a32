"""Sets of solutions that verifiers judge: natural errors of the policy, planted errors, ProcessBench, candidates."""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jprm.digests import content_digest
from jprm.errors import UserError
from jprm.evaluate import SOME_ERROR
from jprm.jobs import Stage, Task, write_rows
from jprm.label import WrittenSolution
from jprm.records import Problem, Solution, as_judged, from_json, stream_records, to_json
from jprm.seeds import rng_of, seed_of
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.policy import Policy
from jprm.tasks.resources import Speed, TaskContext
from jprm.worlds.base import Split, make_solution

BY_ANSWER = "answers"  # the set whose solutions are known by their final answers alone
PROBLEMS_PER_ITEM = 3  # are sampled per solution that is kept, so that enough wrong and right ones are among them


@dataclass(frozen=True, slots=True)
class Item:
    """A solution to judge; `correct_answer` is the grade of its final answer, where that is known."""

    problem: Problem
    solution: Solution
    correct_answer: bool | None = None


class SolutionSet(Task):
    """A set of solutions to judge; `load_items(stage)` reads it."""

    name: str
    seed: int
    steps_each: ClassVar[float] = 2.5  # expected, of a solution; only the plan and the ETA use it

    @property
    def label(self) -> str:
        """A short name."""
        return f"{self.name} {self.seed}"

    @property
    def scores_solutions(self) -> bool:
        """Whether every step's reward is wanted, not only the first error."""
        return False

    @property
    def size(self) -> int:
        """The expected number of solutions."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Benchmark(SolutionSet):
    """Solutions of the policy, or references and planted errors.

    policy: one well-formed solution of the policy per problem, as many wrong as right, with natural errors.
    answers: the same, wrong or right by the final answer alone, for worlds without a truth of steps.
    planted: references and references with a planted error, half and half.
    candidates: all `candidates` solutions that the policy sampled for each problem, for best-of-N.
    """

    kind: ClassVar[str] = "benchmark"
    name: str
    world: OpenWorld
    split: Split
    problems: int
    policy: Policy | None
    seed: int
    candidates: int = 0

    @property
    def scores_solutions(self) -> bool:
        """Whether every step's reward is wanted: of candidates."""
        return self.name == "candidates"

    def parents(self) -> tuple[Task, ...]:
        """The policy, where it writes the solutions."""
        return (self.policy.model,) if self.policy else ()

    def inputs(self) -> dict[str, Any]:
        inputs: dict[str, Any] = {"name": self.name, "seed": self.seed, "world": self.world.identity}
        inputs |= {"split": self.split, "problems": self.problems}
        if self.name == "candidates":
            inputs |= {"candidates": self.candidates}
        if policy := self.policy:
            inputs |= {"temperature": policy.temperature, "max_tokens": policy.max_tokens}
            inputs |= {"context_tokens": policy.context_tokens} | policy.inputs()
        return inputs

    @property
    def size(self) -> int:
        return self.problems * self.candidates // 2 if self.name == "candidates" else self.problems

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        makers = {"policy": self._natural, BY_ANSWER: self._natural, "planted": self._planted}
        items, notes = (makers | {"candidates": self._candidates})[self.name](context)
        write_items(stage, items)
        kinds = collections.Counter(item.solution.error_kind or "right" for item in items)
        return {"items": len(items), "kinds": dict(kinds)} | notes

    def flops(self) -> float:
        """The expected FLOPs of the policy's samples, most of which a set of right and wrong ones leaves out."""
        if self.policy is None:
            return 0.0
        sampled = self.size * (2 if self.scores_solutions else PROBLEMS_PER_ITEM)
        return self.policy.flops(sampled * self.policy.max_tokens / 2)

    def seconds(self, speed: Speed) -> float:
        return 2 + self.flops() / speed.decode

    def drawn_problems(self, n: int) -> list[Problem]:
        """The first `n` problems that the set is made from."""
        return self.world.world.problems(self.split, n, seed_of(self.seed, "benchmark", self.name))

    def _natural(self, context: TaskContext) -> tuple[list[Item], dict[str, Any]]:
        assert self.policy is not None
        wanted = self.problems // 2
        problems = self.drawn_problems(PROBLEMS_PER_ITEM * 2 * wanted)
        sampled = self.policy.sample(context.stages, problems, 1, self.seed, "benchmark")
        wrong, right, malformed = [], [], 0
        for problem, samples in zip(problems, sampled, strict=True):
            items = self._usable(problem, samples)
            malformed += not items
            for item in items:
                is_right = item.correct_answer if self.name == BY_ANSWER else item.solution.first_error == -1
                (right if is_right else wrong).append(item)
        kept = min(len(wrong), len(right), wanted)
        if kept == 0:
            raise UserError(
                f"benchmark {self.name}: of {len(problems)} policy solutions {len(right)} are right and {len(wrong)} "
                "wrong; both kinds are needed: choose other problems or another policy (a preset may be trained longer "
                "or shorter: base.steps)"
            )
        counts = {"wrong": len(wrong), "right": len(right), "malformed": malformed}
        counts |= {"by_answer": True} if self.name == BY_ANSWER else {}
        return wrong[:kept] + right[:kept], {"sampled": len(problems)} | counts

    def _candidates(self, context: TaskContext) -> tuple[list[Item], dict[str, Any]]:
        assert self.policy is not None
        problems = self.drawn_problems(self.problems)
        sampled = self.policy.sample(context.stages, problems, self.candidates, self.seed, "candidates")
        items, drawn = [], []
        for problem, samples in zip(problems, sampled, strict=True):
            items += self._usable(problem, samples)
            # equal samples of a problem have one id
            ids = [make_solution(problem, sample.steps, "policy", None).id for sample in samples]
            drawn.append({"problem_id": problem.id, "solutions": ids})
        return items, {"problems": len(problems), "drawn": drawn}

    def _planted(self, context: TaskContext) -> tuple[list[Item], dict[str, Any]]:
        rng, world, items = rng_of(self.seed, "benchmark", "planted"), self.world.world, []
        for i, problem in enumerate(self.drawn_problems(self.problems)):
            solution = world.planted(problem, rng) if i % 2 else world.reference(problem)
            if solution is not None:
                items.append(Item(problem, solution, world.is_correct(problem, solution.steps)))
        return items, {}

    def _usable(self, problem: Problem, samples: Sequence[WrittenSolution]) -> list[Item]:
        """The different samples that have the form of a solution: they ended, every step readable, with an answer."""
        world, items = self.world.world, {}
        for sample in samples:
            first_error, kind = world.truth(problem, sample.steps)
            answers = sample.finished and world.answer(sample.steps) is not None
            if answers and kind not in ("format", "noanswer"):
                solution = make_solution(problem, sample.steps, "policy", first_error, kind)
                shown = dataclasses.replace(solution, steps=as_judged(solution.steps))
                items[solution.id] = Item(problem, shown, sample.correct)
        return list(items.values())


@dataclass(frozen=True, eq=False)
class ProcessBench(SolutionSet):
    """The solutions of ProcessBench's GSM8K subset: `<root>/processbench/gsm8k.jsonl`, also as .gz."""

    kind: ClassVar[str] = "benchmark"
    root: Path
    seed: int
    problems: int
    name: str = "processbench"

    @property
    def size(self) -> int:
        """The expected number of solutions; only the plan and the ETA use it."""
        return self.problems

    @property
    def file(self) -> Path:
        """The file that is read."""
        plain = self.root / "processbench" / "gsm8k.jsonl"
        return plain if plain.is_file() else plain.with_suffix(".jsonl.gz")

    def inputs(self) -> dict[str, Any]:
        return {"name": self.name, "data": content_digest(self.file)}

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Reads the rows; those that cannot be used are told and counted."""
        from jprm.formats import read_benchmark

        rows = read_benchmark(self.file, "processbench")
        for reason in rows.rejected:
            context.progress.note(f"rejected: {reason}")
        items = [Item(*row.records()) for row in rows.items]
        write_items(stage, items)
        kinds = collections.Counter(item.solution.error_kind or "right" for item in items)
        return {"items": len(items), "kinds": dict(kinds), "rejected": len(rows.rejected)}


def is_by_answer(stage: Stage) -> bool:
    """Whether the solutions of a finished set are known to be right or wrong by their final answers alone."""
    return bool(stage.summary.get("by_answer"))


def write_items(stage: Stage, items: Sequence[Item]) -> None:
    """Stores a set that was made in one go."""
    write_rows(stage.file("items.jsonl"), map(to_json, items))


def load_items(stage: Stage) -> list[Item]:
    """The solutions of a finished set, in its order."""
    return list(stream_records(stage.file("items.jsonl"), functools.partial(from_json, Item)))


def load_known(stage: Stage) -> tuple[list[Item], list[int]]:
    """The solutions of a finished set whose first error is known, and the first error of each, -1 for none.

    In a set that goes by answers it is -1 or SOME_ERROR.
    """
    if is_by_answer(stage):
        items = load_items(stage)
        return items, [-1 if item.correct_answer else SOME_ERROR for item in items]
    known = [(item, item.solution.first_error) for item in load_items(stage)]
    return [item for item, first in known if first is not None], [first for _, first in known if first is not None]
