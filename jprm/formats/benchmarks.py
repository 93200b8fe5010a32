"""The layouts of published benchmarks of step judgement.

ProcessBench (QwenLM/ProcessBench): `label` is the 0-based first wrong step, -1 for none. PRMBench (ssmisya/PRMBench)
and Socratic-PRMBench (Xiang-Li-oss): `error_steps` are all flawed steps of `modified_process`, from 1. MR-MATH
(GAIR-NLP/ReasonEval) has two parts: `invalid` names the first wrong step from 1, `redundant` rates each step 1 or 0;
its steps are lists of lines.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from jprm.errors import UserError
from jprm.formats.judged import JudgedFile, JudgedSolution, Parse, Steps, Text, parse_rows, until_first_error
from jprm.formats.rows import FileRow, read_rows
from jprm.records import fields_of

CATEGORY = {  # of PRMBench's classes; the spelling is the files'
    **dict.fromkeys(("redundency", "circular"), "simplicity"),
    **dict.fromkeys(("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"), "soundness"),
    **dict.fromkeys(("missing_condition", "deception", "multi_solutions"), "sensitivity"),
}
KEYS = {  # that tell a benchmark's rows from those of others
    "processbench": ("id", "problem", "steps", "label"),
    "prmbench": ("modified_process", "error_steps"),
    "socratic-prmbench": ("modified_process", "error_steps", "source_file"),
    "mr-math": ("model_output_step_format",),
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


def read_benchmark(path: Path | str, benchmark: str | None = None) -> JudgedFile:
    """Reads the judged solutions of a benchmark's file; bad rows are rejected with place and reason.

    `benchmark` is one of `BENCHMARKS`, by default told from the fields that only its rows have.
    Raises UserError where the file cannot be read, or its layout is none or several of those.
    """
    if benchmark is not None and benchmark not in BENCHMARKS:
        raise UserError(f"unknown benchmark {benchmark!r}; known: {', '.join(BENCHMARKS)}")
    rows = list(read_rows(path))
    return parse_rows(rows, BENCHMARKS[benchmark or _told(path, rows)])


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
    needed = "; ".join(f"{name} has {', '.join(keys)}" for name, keys in KEYS.items())
    raise UserError(f"{path}: no row has the fields of a benchmark; {needed}")


def _layouts(row: dict[str, Any]) -> list[str]:
    """Returns the benchmarks whose distinctive fields a row has."""
    found = [name for name, keys in KEYS.items() if row.keys() >= set(keys)]
    # Socratic-PRMBench has the fields of PRMBench and one more
    return [name for name in found if name != "prmbench" or "socratic-prmbench" not in found]


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


def _parse_prmbench(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    given = fields_of(row, PRMBENCH)
    category = CATEGORY.get(given["classification"])
    if category is None:
        raise UserError(f"unknown classification {given['classification']!r}; known: {', '.join(CATEGORY)}")
    return [_flawed("prmbench", given, category, place, notes)]


def _parse_socratic(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
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


def _parse_mr_math(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
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


BENCHMARKS: dict[str, Parse] = {
    "processbench": parse_processbench,
    "prmbench": _parse_prmbench,
    "socratic-prmbench": _parse_socratic,
    "mr-math": _parse_mr_math,
}
