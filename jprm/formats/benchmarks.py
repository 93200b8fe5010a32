"""The layouts of published benchmarks of step judgement.

ProcessBench (QwenLM/ProcessBench): `label` is the 0-based first wrong step, -1 for none.
PRMBench (ssmisya/PRMBench) and Socratic-PRMBench (Xiang-Li-oss): `error_steps` are all flawed steps
of `modified_process`, from 1. MR-MATH (GAIR-NLP/ReasonEval) has two parts: `invalid` names the first
wrong step from 1, `redundant` rates each step 1 or 0; its steps are lists of lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats.judged import (
    Fault,
    JudgedFile,
    JudgedSolution,
    Parse,
    optional_text,
    parse_rows,
    steps_of,
    text_of,
    until_first_error,
    whole,
)
from jprm.formats.rows import FileRow, read_rows

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


def read_benchmark(path: Path | str, benchmark: str | None = None) -> JudgedFile:
    """The judged solutions of a benchmark's file; bad rows are rejected with place and reason.

    `benchmark` is one of `BENCHMARKS`, by default told from the fields that only its rows have.
    Raises UserError where the file cannot be read, or its layout is none or several of those.
    """
    if benchmark is not None and benchmark not in BENCHMARKS:
        raise UserError(f"unknown benchmark {benchmark!r}; known: {', '.join(BENCHMARKS)}")
    rows = list(read_rows(path))
    return parse_rows(rows, BENCHMARKS[benchmark or _told(path, rows)])


def _told(path: Path | str, rows: Sequence[FileRow]) -> str:
    """The benchmark whose rows a file holds. Raises UserError where that is not clear."""
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
    """The benchmarks whose distinctive fields a row has."""
    found = [name for name, keys in KEYS.items() if row.keys() >= set(keys)]
    # Socratic-PRMBench has the fields of PRMBench and one more
    return [name for name in found if name != "prmbench" or "socratic-prmbench" not in found]


def parse_processbench(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    """The solution of a ProcessBench row."""
    name, problem, steps = text_of(row, "id"), text_of(row, "problem"), steps_of(row, "steps")
    label = row.get("label")
    if not whole(label) or not -1 <= label < len(steps):
        raise Fault(f"'label' must be -1 or the index of one of the {len(steps)} steps, it is {label!r}")
    return [
        JudgedSolution(
            benchmark="processbench",
            id=name,
            problem=problem,
            steps=steps,
            labels=until_first_error(label, len(steps)),
            subset=re.sub(r"-\d+$", "", name),
            generator=optional_text(row, "generator"),
        )
    ]


def _parse_prmbench(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    flaw, name = text_of(row, "classification"), text_of(row, "idx")
    if flaw not in CATEGORY:
        raise Fault(f"unknown classification {flaw!r}; known: {', '.join(CATEGORY)}")
    return [_flawed("prmbench", row, name, flaw, CATEGORY[flaw], place, notes)]


def _parse_socratic(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    flaw, name = text_of(row, "classification"), text_of(row, "idx")
    pattern = PATTERN.get(flaw.split("_")[0])
    if pattern is None:
        raise Fault(f"unknown classification {flaw!r}; it begins with one of {', '.join(PATTERN)}")
    return [_flawed("socratic-prmbench", row, name, flaw, pattern, place, notes)]


def _flawed(
    benchmark: str, row: dict[str, Any], name: str, flaw: str, category: str, place: str, notes: list[str]
) -> JudgedSolution:
    # a few published solutions hold a blank step; without it the labels would move
    steps, wrong = steps_of(row, "modified_process", blank=True), row.get("error_steps")
    if not isinstance(wrong, list) or not all(whole(step) and step >= 1 for step in wrong):
        raise Fault(f"'error_steps' must be a list of step numbers from 1, it is {wrong!r}")
    # a hundred published rows name a step past the end; the official scorer never meets those
    if beyond := [step for step in wrong if step > len(steps)]:
        notes.append(f"{place}: error step {beyond[0]} of {len(steps)} steps, left out")
    return JudgedSolution(
        benchmark=benchmark,
        id=name,
        problem=text_of(row, "modified_question"),
        steps=steps,
        labels=tuple(i not in wrong for i in range(1, len(steps) + 1)),
        subset=flaw,
        category=category,
    )


def _parse_mr_math(row: dict[str, Any], place: str, notes: list[str]) -> list[JudgedSolution]:
    if not whole(row.get("id")):
        raise Fault("'id' must be a number")
    pieces = row.get("model_output_step_format")
    if not isinstance(pieces, list) or not pieces:
        raise Fault("'model_output_step_format' must be a list that is not empty")
    for index, lines in enumerate(pieces):
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise Fault(f"step {index} must be a list of texts")
        if not "".join(lines).strip():
            raise Fault(f"step {index} must not be empty")
    redundant = "rating" in row
    return [
        JudgedSolution(
            benchmark="mr-math",
            id=str(row["id"]),
            problem=text_of(row, "question"),
            steps=tuple("\n".join(lines) for lines in pieces),
            labels=_ratings(row, len(pieces)) if redundant else _first_wrong(row, len(pieces)),
            subset="redundant" if redundant else "invalid",
            generator=optional_text(row, "generator"),
            pieces=tuple(len(lines) for lines in pieces),
        )
    ]


def _ratings(row: dict[str, Any], steps: int) -> tuple[bool, ...]:
    rating = row["rating"]
    if not isinstance(rating, list) or len(rating) != steps:
        raise Fault(f"'rating' must be a list of {steps} numbers, one per step")
    if not all(whole(value) and value in (0, 1) for value in rating):
        raise Fault(f"'rating' holds {rating!r}; expected 0 or 1")
    return tuple(value == 1 for value in rating)


def _first_wrong(row: dict[str, Any], steps: int) -> tuple[bool | None, ...]:
    right = row.get("model_output_solution_correctness")
    first = row.get("model_output_solution_first_error_step")
    if right == "correct" and first == "N/A":
        return until_first_error(-1, steps)
    if right == "wrong" and whole(first) and 1 <= first <= steps:
        return until_first_error(first - 1, steps)
    raise Fault(
        f"a solution is 'correct' with first error 'N/A', or 'wrong' with one of 1 to {steps}; "
        f"this is {right!r} with {first!r}"
    )


BENCHMARKS: dict[str, Parse] = {
    "processbench": parse_processbench,
    "prmbench": _parse_prmbench,
    "socratic-prmbench": _parse_socratic,
    "mr-math": _parse_mr_math,
}
