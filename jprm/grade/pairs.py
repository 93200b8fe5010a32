"""Grades a file that holds answers beside the right ones, line by line: `python -m jprm grade --pairs FILE`."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, get_args

from jprm import strict_json
from jprm.errors import INCOMPLETE, UserError
from jprm.execute import Pool
from jprm.grade.exact import Grade, Percent
from jprm.grade.grader import Graded, Grader
from jprm.grade.preload import PRELOAD
from jprm.terminal import say

AHEAD = 512  # lines that are read before the first of them must be graded


def grade_pairs(
    path: Path,
    out: Path | None = None,
    percent: Percent = "strict",
    timeout_s: float = 5.0,
    workers: int = 2,
) -> int:
    """Writes every line back, in order, with `verdict`: a `Grade`; the exit code, 3 for bad lines.

    A line is an object with `gold` (a text or a number) and `answer` (the same, or null: no answer,
    which is "unparsed"); its other keys are kept. Names that end in .gz are packed files. Without
    `out` the lines go to standard output; counts and bad lines, which are left out, to standard
    error. Raises UserError for a file that cannot be read or written, and for an `out` that exists.
    """
    if out is not None and out.exists():
        raise UserError(f"{out} exists; delete it or name another file")
    if percent not in get_args(Percent):
        raise UserError(f"--percent {percent}: it can be {' or '.join(get_args(Percent))}")
    partial = None if out is None else out.with_name(out.name + ".partial")
    bad, waiting = 0, deque[tuple[dict[str, Any], Future[Graded]]]()
    counts: Counter[Grade] = Counter()
    with ExitStack() as stack:
        lines = stack.enter_context(_opened(path))
        target = sys.stdout if partial is None else stack.enter_context(_created(partial, out))
        pool = stack.enter_context(Pool(workers, timeout_s, preload=PRELOAD))
        grader = Grader(pool, percent, sessions=workers)

        def write(most: int) -> None:
            while len(waiting) > most:
                row, future = waiting.popleft()
                row["verdict"] = future.result().grade
                counts[row["verdict"]] += 1
                _put(target, row, out)

        for number, line in _numbered(path, lines):
            try:
                row, gold, answer = _pair(line)
            except ValueError as fault:
                bad += 1
                say(f"left out: {path}:{number}: {fault}", sys.stderr)
                continue
            waiting.append((row, grader.submit(gold, answer)))
            write(AHEAD)
        write(0)
    if out is not None and partial is not None:
        partial.replace(out)
    shown = ", ".join(f"{counts[grade]} {grade}" for grade in get_args(Grade) if counts[grade])
    left_out = f"; {bad} lines left out" if bad else ""
    print(f"graded {counts.total()} pairs: {shown or 'none'}{left_out}", file=sys.stderr)
    return INCOMPLETE if bad else 0


def _pair(line: bytes) -> tuple[dict[str, Any], str, str | None]:
    row = strict_json.parse(line)
    if not isinstance(row, dict):
        raise ValueError("not an object")
    for key in ("gold", "answer"):
        if key not in row:
            raise ValueError(f"has no {key!r}")
        number = isinstance(row[key], int | float) and not isinstance(row[key], bool)
        if not (isinstance(row[key], str) or number or (key == "answer" and row[key] is None)):
            raise ValueError(f"{key!r} must be a text" + " or null" * (key == "answer"))
    answer = row["answer"]
    return row, str(row["gold"]), None if answer is None else str(answer)


def _opened(path: Path) -> Any:
    try:
        return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _numbered(path: Path, lines: Any) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are not blank with their numbers from 1. Raises UserError for a damaged container."""
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            bare = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if bare.strip():
                yield number, bare
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged after line {number} ({error}); fetch it again") from None


def _created(partial: Path, out: Path | None) -> TextIO:
    try:
        packed = out is not None and out.suffix == ".gz"
        return gzip.open(partial, "wt") if packed else partial.open("w")  # type: ignore[return-value]
    except OSError as error:
        raise UserError(f"{out}: cannot write ({error.strerror})") from None


def _put(target: TextIO, row: dict[str, Any], out: Path | None) -> None:
    try:
        target.write(json.dumps(row) + "\n")
    except OSError as error:
        if out is None:
            raise  # the command line knows what is behind standard output
        raise UserError(f"{out}: cannot write ({error.strerror})") from None
