r"""Reads problems from files of others: which fields hold problem, answer and solution, and which rows are of use.

A row that lacks something is left out and listed as "file:line: reason"; the others go on. A problem is known by its
key, a hash of its text without white space, so the same problem is found again however it is laid out.

The answer is what the answer's field holds, or the last `\boxed{..}` of the solution. Where the answer's field holds a
whole solution that states its answer, as GSM8K's does (`#### 72`), it is both.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats import FileRow, read_rows
from jprm.grade import final_answer, last_box, unreadable

PROBLEM_FIELDS = ("problem", "question", "prompt")
ANSWER_FIELDS = ("answer", "final_answer")
SOLUTION_FIELDS = ("solution",)
FIELDS_TOLD = 20  # in the message about a file without a usable row


@dataclass(frozen=True)
class FieldNames:
    """The fields of a row by role; None stands for the first of the usual names that holds something."""

    problem: str | None = None
    answer: str | None = None
    solution: str | None = None


@dataclass(frozen=True)
class ProblemRow:
    """A problem as its file has it. `text` ends with a newline; `solution` is "" where there is none."""

    key: str
    text: str
    answer: str
    solution: str
    place: str


@dataclass
class ProblemRows:
    """What files hold: usable rows by key, "file:line: reason" of the others, and the keys of all problems."""

    usable: dict[str, ProblemRow] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)


def key_of(text: str) -> str:
    """Returns the 64 hex digits by which a problem is known: those of its text, composed (NFC), without white space."""
    return hashlib.sha256("".join(unicodedata.normalize("NFC", text).split()).encode()).hexdigest()


def read_files(paths: Sequence[Path], names: FieldNames) -> ProblemRows:
    """Reads files in their order; of equal problems the first usable row counts.

    Raises UserError, with the fields that are there, for a file without a usable row, and for one that cannot be read.
    """
    found = ProblemRows()
    for path in paths:
        readable, last, there = 0, "it is empty", dict[str, None]()
        for row in read_rows(path):
            there |= dict.fromkeys(row.value if isinstance(row.value, dict) else ())
            try:
                text = _problem(row, names)
                key = key_of(text)
                found.keys.add(key)
                answer, solution = _answer(row.value, names)
                readable += 1
                if known := found.usable.get(key):
                    raise UserError(f"it is the problem of {known.place} again")
            except UserError as reason:
                last = str(reason)
                found.rejected.append(f"{row.place}: {last}")
            else:
                found.usable[key] = ProblemRow(key, text, answer, solution, row.place)
        if not readable:
            fields = ", ".join(list(there)[:FIELDS_TOLD]) or "none"
            raise UserError(
                f"{path}: no usable row ({last}); its fields are {fields}: name those to read with problem_field, "
                "answer_field and solution_field"
            )
    return found


def _problem(row: FileRow, names: FieldNames) -> str:
    """Returns the text of a row's problem. Raises UserError where there is none."""
    if row.fault:
        raise UserError(row.fault)
    if not isinstance(row.value, dict):
        raise UserError(f"must be an object, it is {row.value!r:.40}")
    name, value = _held(row.value, names.problem, PROBLEM_FIELDS)
    if not isinstance(value, str | None):
        raise UserError(f"{name!r} must be a text, it is {value!r:.40}")
    if not value:
        raise UserError(f"no problem: {_told(names.problem, PROBLEM_FIELDS)}")
    return value.strip() + "\n"


def _answer(row: dict[str, Any], names: FieldNames) -> tuple[str, str]:
    """Returns (answer, solution) of a row. Raises UserError where no answer can be had that others compare with."""
    name, solution = _held(row, names.solution, SOLUTION_FIELDS)
    if isinstance(solution, list):
        solution = solution[0]  # of several ways to solve it, as in OlympiadBench
    if not isinstance(solution, str | None):
        raise UserError(f"{name!r} must be a text, it is {solution!r:.40}")
    name, value = _held(row, names.answer, ANSWER_FIELDS)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise UserError(f"{name!r} must be a text or a number, it is {value!r:.40}")
    answer = None if value is None else str(value).strip()
    if answer is not None and (stated := final_answer(answer)) is not None:
        solution = solution or (answer if "\n" in answer else None)
        answer = stated
    elif answer is None and names.answer is None and solution is not None:
        answer = last_box(solution) or final_answer(solution)
    if answer is None:
        raise UserError(f"no answer: {_told(names.answer, ANSWER_FIELDS)}, and no solution states one")
    if reason := unreadable(answer):
        raise UserError(f"its answer {answer!r:.40} can be compared with no other: {reason}")
    return answer, (solution or "").strip()


def _held(row: dict[str, Any], name: str | None, usual: Sequence[str]) -> tuple[str, Any]:
    """Returns the field of a role and its value; None for one that is absent, null or blank. A list of one is that one.

    The field is `name`, or the first of the usual ones with a value.
    """
    for each in usual if name is None else (name,):
        value = row.get(each)
        if isinstance(value, list) and len(value) < 2:
            value = value[0] if value else None
        if value is not None and not (isinstance(value, str) and not value.strip()):
            return each, value
    return name or usual[0], None


def _told(name: str | None, usual: Sequence[str]) -> str:
    return f"{' or '.join(repr(each) for each in (usual if name is None else (name,)))} holds none"
