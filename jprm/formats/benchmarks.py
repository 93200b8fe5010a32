"""The layouts of published benchmarks of step judgement.

ProcessBench (QwenLM/ProcessBench): `label` is the 0-based first wrong step, -1 for none. PRMBench (ssmisya/PRMBench)
and Socratic-PRMBench (Xiang-Li-oss): `error_steps` are all flawed steps of `modified_process`, from 1. MR-MATH
(GAIR-NLP/ReasonEval) has two parts: `invalid` names the first wrong step from 1, `redundant` rates each step 1 or 0;
its steps are lists of lines.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from jprm.errors import UserError
from jprm.formats.judged import JudgedFile, JudgedSolution, Parse, Steps, Text, parse_rows, until_first_error
from jprm.formats.rows import FileRow, read_rows
from jprm.records import fields_of
from jprm.registry import Registry

CATEGORY = {  # of PRMBench's classes; the spelling is the files'
    **dict.fromkeys(("redundency", "circular"), "simplicity"),
    **dict.fromkeys(("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"), "soundness"),
    **dict.fromkeys(("missing_condition", "deception", "multi_solutions"), "sensitivity"),
}
PATTERN = {  # of Socratic-PRMBench, by the first word of the class
    "repeat": "transformation",
    "decomposition": "decomposition",
    "regather": "regather",
    "premise": "deduction",
    "conclusion": "deduction",
    "detection": "verification",
    "correction": "verification",
    "integration": "integration",
}
PROCESSBENCH = {"id": Text, "problem": Text, "steps": Steps, "label": int, "generator": str | None}
PRMBENCH = {
    "idx": Text,
    "classification": Text,
    "modified_question": Text,
    # a few published solutions hold a blank step; without it the labels would move
    "modified_process": Annotated[tuple[str, ...], Field(min_length=1)],
    "error_steps": list[Annotated[int, Field(ge=1)]],
}
MR_MATH = {
    "id": int,
    "question": Text,
    "model_output_step_format": Annotated[list[list[str]], Field(min_length=1)],
    "generator": str | None,
}
RATING = list[Annotated[int, Field(ge=0, le=1)]]


@dataclass(frozen=True)
class BenchmarkLayout:
    """The layout of a benchmark's files.

    parse: the solutions of one row; the first line of its docstring is what lists say. keys: the fields by which its
    rows are told from those of others; without any a file is read so only where the layout is named.
    first_error_only: whether steps behind the first wrong one are of no interest, as in ProcessBench.
    """

    parse: Parse
    keys: tuple[str, ...] = ()
    first_error_only: bool = False


def _as_layout(made: Parse, name: str, *, keys: Sequence[str] = (), first_error_only: bool = False) -> BenchmarkLayout:
    """Returns the layout of a decorated parser; what it reads is named after the layout."""

    def parse(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
        return [dataclasses.replace(found, benchmark=name) for found in made(row, place, notes)]

    return BenchmarkLayout(functools.wraps(made)(parse), tuple(keys), first_error_only)


benchmark: Registry[BenchmarkLayout] = Registry("benchmark", adapt=_as_layout)
"""Layouts of judged solutions by name. One turns a row into solutions; `keys` are those by which it is recognised."""


def read_benchmark(path: Path | str, layout: str | None = None) -> JudgedFile:
    """Reads the judged solutions of a benchmark's file; bad rows are rejected with place and reason.

    layout: a name of `benchmark`, by default told from the fields that only its rows have.
    Raises UserError where the file cannot be read, or its layout is none or several of those.
    """
    if layout is not None:
        benchmark[layout]
    rows = list(read_rows(path))
    return parse_rows(rows, benchmark[layout or _told(path, rows)].parse)


def _told(path: Path | str, rows: Sequence[FileRow]) -> str:
    """Returns the benchmark whose rows a file holds. Raises UserError where that is not clear."""
    first: dict[str, str] = {}  # layout to the place of its first row
    for row in rows:
        if isinstance(row.value, dict):
            for name in _layouts(row.value):
                first.setdefault(name, row.place)
    if len(first) == 1:
        return next(iter(first))
    if first:
        found = ", ".join(f"{name} ({place})" for name, place in first.items())
        raise UserError(f"{path}: rows of several benchmarks, {found}; say which with --format")
    known = ((name, layout.keys) for name, layout in benchmark.entries().items() if layout.keys)
    needed = "; ".join(f"{name} has {', '.join(keys)}" for name, keys in known)
    raise UserError(f"{path}: no row has the fields of a benchmark; {needed}")


def _layouts(row: dict[str, Any]) -> list[str]:
    """Returns the benchmarks whose distinctive fields a row has."""
    known = benchmark.entries().items()
    found = [name for name, layout in known if layout.keys and row.keys() >= set(layout.keys)]
    # Socratic-PRMBench has the fields of PRMBench and one more
    return [name for name in found if name != "prmbench" or "socratic-prmbench" not in found]


@benchmark("processbench", keys=("id", "problem", "steps", "label"), first_error_only=True)
def parse_processbench(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """Returns the solution of a ProcessBench row."""
    given = fields_of(row, PROCESSBENCH)
    steps, label = given["steps"], given["label"]
    if not -1 <= label < len(steps):
        raise UserError(f"'label' must be -1 or the index of one of the {len(steps)} steps, it is {label}")
    return [
        JudgedSolution(
            benchmark="processbench",
            id=given["id"],
            problem=given["problem"],
            steps=steps,
            labels=until_first_error(label, len(steps)),
            subset=re.sub(r"-\d+$", "", given["id"]),
            generator=given.get("generator") or "",
        )
    ]


@benchmark("prmbench", keys=("modified_process", "error_steps"))
def _parse_prmbench(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """Returns the solution of a PRMBench row: every flawed step is known."""
    given = fields_of(row, PRMBENCH)
    category = CATEGORY.get(given["classification"])
    if category is None:
        raise UserError(f"unknown classification {given['classification']!r}; known: {', '.join(CATEGORY)}")
    return [_flawed("prmbench", given, category, place, notes)]


@benchmark("socratic-prmbench", keys=("modified_process", "error_steps", "source_file"))
def _parse_socratic(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """Returns the solution of a Socratic-PRMBench row, in one of six patterns of reasoning."""
    given = fields_of(row, PRMBENCH)
    flaw = given["classification"]
    pattern = PATTERN.get(flaw.split("_")[0])
    if pattern is None:
        raise UserError(f"unknown classification {flaw!r}; it begins with one of {', '.join(PATTERN)}")
    return [_flawed("socratic-prmbench", given, pattern, place, notes)]


def _flawed(benchmark: str, given: dict[str, Any], category: str, place: str, notes: list[str]) -> JudgedSolution:
    steps, wrong = given["modified_process"], given["error_steps"]
    # a hundred published rows name a step past the end; the official scorer never meets those
    if beyond := [step for step in wrong if step > len(steps)]:
        notes.append(f"{place}: error step {beyond[0]} of {len(steps)} steps, left out")
    return JudgedSolution(
        benchmark=benchmark,
        id=given["idx"],
        problem=given["modified_question"],
        steps=steps,
        labels=tuple(i not in wrong for i in range(1, len(steps) + 1)),
        subset=given["classification"],
        category=category,
    )


@benchmark("mr-math", keys=("model_output_step_format",))
def _parse_mr_math(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """Returns the solution of an MR-MATH row, labelled by its first wrong step or by its redundant steps."""
    given = fields_of(row, MR_MATH)
    pieces = given["model_output_step_format"]
    if blank := [index for index, lines in enumerate(pieces) if not "".join(lines).strip()]:
        raise UserError(f"step {blank[0]} must not be empty")
    redundant = "rating" in row
    return [
        JudgedSolution(
            benchmark="mr-math",
            id=str(given["id"]),
            problem=given["question"],
            steps=tuple("\n".join(lines) for lines in pieces),
            labels=_ratings(row, len(pieces)) if redundant else _first_wrong(row, len(pieces)),
            subset="redundant" if redundant else "invalid",
            generator=given.get("generator") or "",
            pieces=tuple(map(len, pieces)),
        )
    ]


def _ratings(row: dict[str, Any], steps: int) -> tuple[bool, ...]:
    rating = fields_of(row, {"rating": RATING})["rating"]
    if len(rating) != steps:
        raise UserError(f"'rating' must be a list of {steps} numbers, one per step")
    return tuple(value == 1 for value in rating)


def _first_wrong(row: dict[str, Any], steps: int) -> tuple[bool | None, ...]:
    right = row.get("model_output_solution_correctness")
    first = row.get("model_output_solution_first_error_step")
    if right == "correct" and first == "N/A":
        return until_first_error(-1, steps)
    if right == "wrong" and type(first) is int and 1 <= first <= steps:
        return until_first_error(first - 1, steps)
    raise UserError(
        f"a solution is 'correct' with first error 'N/A', or 'wrong' with one of 1 to {steps}; "
        f"this is {right!r} with {first!r}"
    )
