"""Reading the GSM8K files as they are published.

Invariant: every row becomes a `Row`, is listed as unsound with the reason (its calculator marks do
not add up, so it has no truth to give), or raises a UserError that names the file and the line.
Nothing is skipped silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats import read_rows
from jprm.worlds.gsm8k.chain import Line, UnsoundMark, read_solution


@dataclass(frozen=True)
class Row:
    """One problem with its worked solution."""

    text: str  # the question on one line, ending with a newline
    lines: tuple[Line, ...]
    answer: str


def find(root: Path, name: str) -> Path:
    """The file `name`.jsonl or .jsonl.gz under `root` or `root`/gsm8k. Raises UserError naming
    where it looked.
    """
    tried = [root / folder / f"{name}.jsonl{ending}" for folder in ("gsm8k", ".") for ending in ("", ".gz")]
    for path in tried:
        if path.is_file():
            return path
    raise UserError(f"{root}: no GSM8K file there; looked for {', '.join(str(p) for p in tried)}")


def read(path: Path) -> tuple[list[Row], list[str]]:
    """(rows, "file:line: reason" of each unsound one). Raises UserError "file:line: reason" for the
    first bad one.
    """
    rows, unsound = [], []
    for found in read_rows(path):
        if found.fault:
            raise UserError(f"{found.place}: {found.fault}")
        try:
            rows.append(_row(found.place, found.value))
        except UnsoundMark as error:
            unsound.append(f"{found.place}: {error}")
    if not rows:
        raise UserError(f"{path}: no usable row")
    return rows, unsound


def _row(where: str, record: Any) -> Row:
    if not isinstance(record, dict):
        raise UserError(f"{where}: not an object with 'question' and 'answer'")
    for key in ("question", "answer"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise UserError(f"{where}: {key!r} must be a text that is not empty")
    try:
        lines, answer = read_solution(record["answer"])
    except UnsoundMark:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return Row(problem_text(record["question"]), lines, answer)


def problem_text(question: str) -> str:
    """A question on one line, ending with a newline, spaces as they are."""
    return " ".join(question.strip().splitlines()) + "\n"
