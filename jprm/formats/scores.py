"""Files of step scores of many candidates per problem, for best-of-N without a model.

A row is `{"problem_id", "candidate_index", "step_scores", "is_correct"}` (StrictPRMBench), with the candidate's final
`answer` where a majority vote is wanted too. Ids and answers may be numbers.

A row whose scores or answer cannot be read is a candidate all the same, without them: who leaves it out of its problem
changes what the best choice could be.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats.rows import read_rows
from jprm.records import fields_of

CANDIDATE = {"problem_id": str | int, "candidate_index": int, "is_correct": bool}


@dataclass(frozen=True, slots=True)
class StepScores:
    """The scores of one candidate's steps, None where unreadable, and the grade of its final answer."""

    problem_id: str
    candidate: int
    scores: tuple[float | None, ...]
    correct: bool
    answer: str | None = None


def read_step_scores(path: Path | str) -> tuple[dict[str, list[StepScores]], tuple[str, ...]]:
    """Reads the candidates of each problem by number, and "place: reason" of rows that were not read in full.

    Raises UserError where the file cannot be read.
    """
    problems: dict[str, dict[int, StepScores]] = {}
    faults = []
    for row in read_rows(path):
        try:
            if row.fault:
                raise UserError(row.fault)
            stored, fault = _stored(fields_of(row.value, CANDIDATE))
            candidates = problems.setdefault(stored.problem_id, {})
            if stored.candidate in candidates:
                raise UserError(f"candidate {stored.candidate} of this problem came before")
            candidates[stored.candidate] = stored
        except UserError as error:
            fault = f"left out: {error}"
        if fault:
            faults.append(f"{row.place}: {fault}")
    ordered = {name: [by[i] for i in sorted(by)] for name, by in problems.items()}
    return ordered, tuple(faults)


def _stored(row: dict[str, Any]) -> tuple[StepScores, str]:
    """Returns the candidate of a row, and what of it cannot be read."""
    given, answer, fault = row.get("step_scores"), row.get("answer"), ""
    if not isinstance(given, list) or not given:
        wanted = "must not be empty" if given == [] else "must be of type list"
        given, fault = [], f"not judged: 'step_scores' {wanted}"
    scores = tuple(float(score) if _is_number(score) else None for score in given)
    if None in scores:
        score = given[scores.index(None)]
        fault = f"not judged: the step score {score!r} is no number"
    if _is_number(answer):
        answer = str(answer)
    elif not isinstance(answer, str | None):
        answer, fault = None, "does not vote: 'answer' must be a text or a number"
    name, candidate = str(row["problem_id"]), row["candidate_index"]
    return StepScores(name, candidate, scores, row["is_correct"], answer), fault


def _is_number(value: Any) -> bool:
    """Returns whether it is a finite number; JSON reads 1e999 as infinity, NaN as nan and true as a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
