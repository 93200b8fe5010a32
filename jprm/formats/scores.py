"""Files of step scores of many candidates per problem, for best-of-N without a model.

A row is `{"problem_id", "candidate_index", "step_scores", "is_correct"}` (StrictPRMBench), with the
candidate's final `answer` where a majority vote is wanted too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.formats.rows import read_rows


@dataclass(frozen=True, slots=True)
class StepScores:
    """The scores of one candidate's steps, and the grade of its final answer."""

    problem_id: str
    candidate: int
    scores: tuple[float, ...]
    correct: bool
    answer: str | None = None


def read_step_scores(path: Path | str) -> tuple[dict[str, list[StepScores]], tuple[str, ...]]:
    """The candidates of each problem by number, and "place: reason" of the rejected rows.

    Raises UserError where the file cannot be read.
    """
    problems: dict[str, dict[int, StepScores]] = {}
    rejected = []
    for row in read_rows(path):
        fault = row.fault or _fault(row.value)
        if not fault:
            value = row.value
            candidates = problems.setdefault(value["problem_id"], {})
            if value["candidate_index"] in candidates:
                fault = f"candidate {value['candidate_index']} of this problem came before"
            else:
                candidates[value["candidate_index"]] = StepScores(
                    problem_id=value["problem_id"],
                    candidate=value["candidate_index"],
                    scores=tuple(map(float, value["step_scores"])),
                    correct=value["is_correct"],
                    answer=value.get("answer"),
                )
        if fault:
            rejected.append(f"{row.place}: {fault}")
    ordered = {name: [by[i] for i in sorted(by)] for name, by in problems.items()}
    return ordered, tuple(rejected)


def _fault(row: Any) -> str:
    """Why a row cannot be used, "" where it can."""
    if not isinstance(row, dict):
        return "not an object"
    kinds = {"problem_id": str, "candidate_index": int, "step_scores": list, "is_correct": bool}
    for key, kind in kinds.items():
        if type(row.get(key)) is not kind:
            return f"{key!r} must be of type {kind.__name__}"
    if not row["step_scores"]:
        return "'step_scores' must not be empty"
    for score in row["step_scores"]:
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if not number or not abs(score) < 1e300:  # JSON reads 1e999 as infinity
            return f"the step score {score!r} is no number"
    if not isinstance(row.get("answer"), str | None):
        return "'answer' must be a text"
    return ""
