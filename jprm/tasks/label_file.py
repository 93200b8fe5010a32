"""Labelled solutions as a file: the rows that `python -m jprm label` writes, and the task that takes them from there.

A row is one solution. `problem`, `steps` and `mc` (T + 1 values for T steps, as in `jprm.label.progress`) must be
there; all else may be absent, as in a file that was made by hand. `labels` and `first_error` tell what every rule makes
of the values. They are for readers: whoever learns from the file applies the rule and the threshold of its own
configuration.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.digests import content_digest
from jprm.errors import UserError
from jprm.formats import FileRow, read_rows
from jprm.jobs import Stage, write_rows
from jprm.label import first_error_of, label_rule
from jprm.records import Probability, Problem, Solution, fields_of, to_json
from jprm.tasks.labels import VALUES, Example, LabelledSolutions, examples_of, step_labels, tell_rejected
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.resources import TaskContext
from jprm.tasks.settings import LabelSection
from jprm.worlds.base import make_problem, make_solution

FIELDS = {
    "problem": str,
    "steps": list[str],
    "mc": list[Probability],
    **dict.fromkeys(("answer", "source", "error_kind", "tier", "split", "problem_id", "solution_id"), str | None),
    **dict.fromkeys(("truth", "seed", "n", "k"), int | None),
}


def label_rows(values: Iterable[Mapping[str, Any]], settings: LabelSection, seed: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each valued solution of the rows of `values.jsonl`."""
    for row in values:
        for example in examples_of(row)[1]:
            assert example.mc is not None, "planted solutions have no values"
            labels = {rule: step_labels(rule, example.mc, settings) for rule in label_rule}
            problem, solution = example.problem, example.solution
            yield {
                "problem_id": problem.id,
                "solution_id": solution.id,
                "seed": seed,
                "problem": problem.text,
                "answer": problem.answer,
                "steps": solution.steps,
                "source": solution.source,
                "n": row.get("n"),
                "k": row.get("rollouts"),
                "mc": example.mc,
                "labels": labels,
                "first_error": {rule: first_error_of(of_steps) for rule, of_steps in labels.items()},
                "truth": solution.first_error,
                "error_kind": solution.error_kind,
                "tier": problem.tier,
                "split": problem.split,
            }


@dataclass(frozen=True, eq=False)
class LabelFile(LabelledSolutions):
    """The labelled solutions of one seed in a file: the rows of that seed, and those that name none."""

    world: OpenWorld
    settings: LabelSection
    path: Path
    seed: int

    def inputs(self) -> dict[str, Any]:
        return {"file": content_digest(self.path), "world": self.world.identity, "seed": self.seed}

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Writes one row per problem. Rows that cannot be used are told and counted.

        Raises UserError where the file has no row for this seed.
        """
        values: dict[str, dict[str, Any]] = {}
        places: dict[str, str] = {}  # by solution
        rejected: list[str] = []
        seeds: set[int | None] = set()
        for row in read_rows(self.path):
            try:
                fields = _fields(row)
                seed = fields.get("seed")
                seeds.add(seed)
                if seed not in (None, self.seed):
                    continue
                example = self._example(fields)
                if known := places.get(example.solution.id):
                    raise UserError(f"it is the solution of {known} again")
                found = values.setdefault(example.problem.id, self._problem_row(example.problem, fields))
                if found["problem"] != to_json(example.problem):
                    raise UserError(f"another row tells the problem {example.problem.id!r:.40} in another way")
            except UserError as reason:
                rejected.append(f"{row.place}: {reason}")
                continue
            places[example.solution.id] = row.place
            found["solutions"].append({"solution": to_json(example.solution), "mc": example.mc})
        tell_rejected(context.progress, rejected)
        if not values:
            raise UserError(f"{self.path}: no usable row for the seed {self.seed} ({_what_there_is(seeds, rejected)})")
        write_rows(stage.file(VALUES), values.values())
        summary = {"problems": len(values), "solutions": len(places)}
        return summary | ({"rejected": len(rejected)} if rejected else {})

    def _problem_row(self, problem: Problem, fields: Mapping[str, Any]) -> dict[str, Any]:
        about = {"problem_id": problem.id, "problem": to_json(problem), "reason": "", "solutions": []}
        return about | {"n": fields.get("n"), "rollouts": fields.get("k")}

    def _example(self, fields: Mapping[str, Any]) -> Example:
        """The solution of a row. Where it names no ids, texts are given the newline that ends them in records."""
        text, steps = fields["problem"], fields["steps"]
        told = {name: fields.get(name) or "" for name in ("answer", "tier", "split", "error_kind")}
        source, truth = fields.get("source") or "file", fields.get("truth")
        about = told["answer"], told["tier"], told["split"]
        if problem_id := fields.get("problem_id"):
            problem = Problem(problem_id, text, *about)
        else:
            problem = make_problem(self.world.kind, _ended(text), *about)
        if solution_id := fields.get("solution_id"):
            solution = Solution(solution_id, problem.id, tuple(steps), source, truth, told["error_kind"])
        else:
            solution = make_solution(problem, [*map(_ended, steps)], source, truth, told["error_kind"])
        return Example(problem, solution, tuple(fields["mc"]))


def _fields(row: FileRow) -> dict[str, Any]:
    """The fields of a row. Raises UserError for one that is missing, of another type, or does not fit the others."""
    if row.fault:
        raise UserError(row.fault)
    fields = fields_of(row.value, FIELDS)
    steps, mc = fields["steps"], fields["mc"]
    if not fields["problem"].strip():
        raise UserError("'problem' is empty")
    if not steps or not all(step.strip() for step in steps):
        raise UserError("'steps' must be a list of texts that are not empty")
    if len(mc) != len(steps) + 1:
        raise UserError(f"'mc' has {len(mc)} values for {len(steps)} steps; one more is needed")
    truth = fields.get("truth")
    if truth is not None and not -1 <= truth < len(steps):
        raise UserError(f"'truth' is {truth}; it must be the index of a step, or -1")
    return fields


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _what_there_is(seeds: set[int | None], rejected: list[str]) -> str:
    named = sorted(seed for seed in seeds if seed is not None)
    if named:
        return f"its rows are of the seeds {named}; set grid.seeds, or leave `seed` out of the rows to use them for all"
    return f"{len(rejected)} rows were rejected: {rejected[0]}" if rejected else "it is empty"
