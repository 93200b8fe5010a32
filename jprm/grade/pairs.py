"""Grades a file that holds answers beside the right ones, line by line: `python -m jprm grade --pairs FILE`."""

import gzip
import json
import sys
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO, get_args

from jprm.errors import INCOMPLETE, UserError
from jprm.execute import Pool
from jprm.formats import FileRow, read_rows
from jprm.grade.exact import Grade, Graded, Percent
from jprm.grade.grader import PRELOAD, Grader
from jprm.paths import present
from jprm.records import fields_of
from jprm.terminal import say

AHEAD = 512  # lines that are read before the first of them must be graded


def grade_pairs(
    path: Path, out: Path | None = None, percent: Percent = "strict", timeout_s: float = 5.0, workers: int = 2
) -> int:
    """Writes every line back, in order, with `verdict`: a `Grade`; the exit code, 3 for bad lines.

    A line is an object with `gold` (a text or a number) and `answer` (the same, or null: no answer, which is
    "unparsed"); its other keys are kept. The file is as `jprm.formats.read_rows` reads it; an `out` that ends in .gz is
    packed. Without `out` the lines go to standard output; counts and bad lines, which are left out, to standard error.
    Raises UserError for a file that cannot be read or written, and for an `out` that exists.
    """
    present(path, "--pairs")
    if out is not None and out.exists():
        raise UserError(f"{out} exists; delete it or name another file")
    if percent not in get_args(Percent):
        raise UserError(f"--percent {percent}: it can be {' or '.join(get_args(Percent))}")
    partial = None if out is None else out.with_name(out.name + ".partial")
    bad, waiting = 0, deque[tuple[dict[str, Any], Future[Graded]]]()
    with ExitStack() as stack:
        target = sys.stdout if partial is None else stack.enter_context(_created(partial, out))
        pool = stack.enter_context(Pool(workers, timeout_s, preload=PRELOAD))
        grader = Grader(pool, percent, sessions=workers)

        def write(most: int) -> None:
            while len(waiting) > most:
                row, future = waiting.popleft()
                _put(target, row | {"verdict": future.result().grade}, out)

        for row in read_rows(path):
            try:
                gold, answer = _pair(row)
            except UserError as fault:
                bad += 1
                say(f"left out: {row.place}: {fault}", sys.stderr)
                continue
            waiting.append((row.value, grader.submit(gold, answer)))
            write(AHEAD)
        write(0)
    if out is not None and partial is not None:
        partial.replace(out)
    shown = ", ".join(f"{grader.counts[grade]} {grade}" for grade in get_args(Grade) if grader.counts[grade])
    left_out = f"; {bad} lines left out" if bad else ""
    print(f"graded {grader.counts.total()} pairs: {shown or 'none'}{left_out}", file=sys.stderr)
    return INCOMPLETE if bad else 0


def _pair(row: FileRow) -> tuple[str, str | None]:
    """Returns the two answers of a row. Raises UserError for a row that has none."""
    if row.fault:
        raise UserError(row.fault)
    given = fields_of(row.value, {"gold": str | int | float, "answer": str | int | float | None})
    if "answer" not in given:
        raise UserError("the field 'answer' is missing")
    return str(given["gold"]), None if given["answer"] is None else str(given["answer"])


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
