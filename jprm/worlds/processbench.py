"""Reader of ProcessBench files: solutions of many models, with the first wrong step marked by
experts.

A row is `{"id", "generator", "problem", "steps", "final_answer_correct", "label"}`; `label` is the
0-based index of the first wrong step, -1 for none. A file is a JSON list or JSON lines, plain or
gzipped.

Invariant: every row is an item or a rejection with its place and reason; the caller decides what
rejections mean.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.records import Problem, Solution, stable_id

WORLD = "processbench"


@dataclass(frozen=True)
class ProcessBench:
    """The usable rows of a file in their order, and "file:line: reason" for each of the others."""

    items: tuple[tuple[Problem, Solution], ...]
    rejected: tuple[str, ...]


def read_processbench(path: Path) -> ProcessBench:
    """Reads a file; bad rows are rejected.

    Raises UserError where the file is missing, unreadable or a damaged JSON list.

    In a JSON list the place of a row is its number in the list, "file[3]", from 0.
    """
    path = Path(path)
    items: list[tuple[Problem, Solution]] = []
    rejected: list[str] = []
    seen: set[str] = set()
    for where, row, fault in _rows(path, _text(path)):
        fault = fault or _fault(row, seen)
        if fault:
            rejected.append(f"{where}: {fault}")
        else:
            seen.add(row["id"])
            items.append(_item(row))
    return ProcessBench(tuple(items), tuple(rejected))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such ProcessBench file") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _rows(path: Path, text: str) -> Iterator[tuple[str, Any, str]]:
    """(place, row, "") of each row that is JSON, (place, None, reason) of each that is not."""
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
        yield from ((f"{path}[{index}]", row, "") for index, row in enumerate(rows))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line), ""
        except json.JSONDecodeError as error:
            yield f"{path}:{number}", None, f"not JSON ({error.msg})"


def _fault(row: Any, seen: set[str]) -> str:
    """Why a row cannot be used, after rows with the ids of `seen`; "" where it can."""
    if not isinstance(row, dict):
        return "not an object"
    for key in ("id", "problem"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            return f"{key!r} must be a text that is not empty"
    steps, label = row.get("steps"), row.get("label")
    if not isinstance(steps, list) or not steps:
        return "'steps' must be a list that is not empty"
    blank = [i for i, step in enumerate(steps) if not isinstance(step, str) or not step.strip()]
    if blank:
        return f"step {blank[0]} must be a text that is not empty"
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < len(steps):
        return f"'label' must be -1 or the index of one of the {len(steps)} steps, it is {label!r}"
    return f"the id {row['id']!r} stands in the file twice" if row["id"] in seen else ""


def _item(row: dict[str, Any]) -> tuple[Problem, Solution]:
    """The records of a sound row. The files state no final answer, so the problem's is ""."""
    text = row["problem"].strip() + "\n"
    subset = re.sub(r"-\d+$", "", row["id"])
    problem = Problem(id=stable_id(WORLD, text), text=text, answer="", tier=subset, split="test")
    solution = Solution(
        id=stable_id(WORLD, row["id"], text),
        problem_id=problem.id,
        steps=tuple(step.strip() + "\n" for step in row["steps"]),
        source=str(row.get("generator", "")) or WORLD,
        first_error=row["label"],
        error_kind="" if row["label"] < 0 else "unknown",
    )
    return problem, solution
