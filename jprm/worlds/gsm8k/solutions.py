"""Worked solutions of GSM8K: read from the published files as chains of calculations, and the truth of steps.

The files mark each calculation for a calculator: "sold 48/2 = <<48/2=24>>24 clips". The marks are taken out of the text
that is shown and kept as the chain: what was computed, and which numbers of the text say so.

Invariants: every row of a file becomes a `WorkedProblem`, is listed as unsound with the reason (its calculator marks do
not add up, so it has no truth to give), or raises a UserError that names the file and the line. A step that says the
same as the reference's step is right. A step with the same words and other numbers or operators is wrong. Of any other
text the truth is unknown here, and is said to be.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats import Text, read_rows
from jprm.records import fields_of
from jprm.worlds.base import UNKNOWN
from jprm.worlds.gsm8k.arithmetic import (
    NUMBER,
    TOLERANCE,
    count_numbers,
    evaluate,
    number,
    numbers,
    operators,
    plain,
    skeleton,
)

MAX_LINE = 2000  # characters; the longest of the published files has fewer than 600
ERROR_KINDS = ("slip", "operand", "op", "noanswer", UNKNOWN)
_MARK = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_SHOWN = re.compile(r"([-+*/x×÷()$,.\d\s]*\d[\s)]*)=\s*\$?\s*$")  # "... 80,000+50,000=$" before its mark
_STATED = re.compile(rf"([-+*/x×÷()$,.\d\s]*\d[\s)]*)=\s*\$?\s*({NUMBER.pattern})")


class UnsoundMark(ValueError):
    """A calculator mark that cannot be read or does not add up: no truth can be derived from its solution."""


@dataclass(frozen=True)
class Mark:
    """One calculation. Numbers of the line's text are named by their index in it."""

    expression: str  # as the calculator had it: "48/2"
    value: Fraction  # what it said
    result: int  # the index of the number that states the value
    operands: tuple[int, ...] = ()  # the indices of the expression's numbers, where the text shows it plainly
    span: tuple[int, int] = (0, 0)  # the characters of the text where it does


@dataclass(frozen=True)
class WorkedLine:
    """One step: the text that is shown, ending with a newline, and its calculations."""

    text: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class WorkedProblem:
    """One problem with its worked solution."""

    text: str  # the question on one line, ending with a newline
    lines: tuple[WorkedLine, ...]
    answer: str


def find_file(root: Path, name: str) -> Path:
    """Finds `name`.jsonl or .jsonl.gz under `root` or `root`/gsm8k. Raises UserError naming where it looked."""
    tried = [root / folder / f"{name}.jsonl{ending}" for folder in ("gsm8k", ".") for ending in ("", ".gz")]
    for path in tried:
        if path.is_file():
            return path
    raise UserError(f"{root}: no GSM8K file there; looked for {', '.join(str(p) for p in tried)}")


def read_file(path: Path) -> tuple[list[WorkedProblem], list[str]]:
    """Reads (problems, "file:line: reason" of each unsound one). Raises UserError for the first bad one."""
    rows, unsound = [], []
    for found in read_rows(path):
        if found.fault:
            raise UserError(f"{found.place}: {found.fault}")
        try:
            rows.append(_problem(found.place, found.value))
        except UnsoundMark as error:
            unsound.append(f"{found.place}: {error}")
    if not rows:
        raise UserError(f"{path}: no usable row")
    return rows, unsound


def _problem(where: str, record: Any) -> WorkedProblem:
    try:
        fields_of(record, {"question": Text, "answer": Text})
        lines, answer = read_solution(record["answer"])
    except UnsoundMark:
        raise
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    text = " ".join(record["question"].strip().splitlines()) + "\n"
    return WorkedProblem(text, lines, answer)


def read_solution(worked: str) -> tuple[tuple[WorkedLine, ...], str]:
    """Reads (lines, final answer) of a worked solution.

    The answer, in the files a line "#### 72" of its own, is said at the end of the last step, as "Answer: 72.".
    Raises ValueError with the reason where it is not a solution, UnsoundMark where its calculations cannot be trusted.
    """
    *body, last = worked.strip().split("\n")
    if not last.startswith("#### "):
        raise ValueError("the solution does not end with a line '#### answer'")
    answer = last.removeprefix("#### ").strip()
    body = [line.strip() for line in body if line.strip()]
    if not body or not answer:
        raise ValueError("the solution has no step or no answer")
    body[-1] += f"{'' if body[-1][-1] in '.!?' else '.'} Answer: {answer}."
    return tuple(map(_read_line, body)), answer


def _read_line(raw: str) -> WorkedLine:
    """Reads the shown text of a line and its marks. Raises UnsoundMark for one that does not add up."""
    if len(raw) > MAX_LINE:  # searching for calculations takes time that grows with its square
        raise UnsoundMark(f"a line of {len(raw)} characters; the longest that is read has {MAX_LINE}")
    shown, marks, end = "", [], 0
    for match in _MARK.finditer(raw):
        shown += raw[end : match.start()]
        end = match.end()
        marks.append(_read_mark(match, shown, raw[end:]))
    text = shown + raw[end:] + "\n"
    if "<<" in text or ">>" in text:
        raise UnsoundMark(f"a damaged calculator mark in {raw[:200]!r}")
    marked = [mark for mark in marks if mark is not None]
    marked += _unmarked(text, {mark.result for mark in marked})
    return WorkedLine(text, tuple(sorted(marked, key=lambda mark: mark.result)))


def _read_mark(match: re.Match[str], before: str, after: str) -> Mark | None:
    """Reads the mark between the texts `before` and `after`; None where the text does not state its value next."""
    expression, value = plain(match[1]), evaluate(plain(match[2]))
    computed = evaluate(expression)
    if value is None or computed is None or abs(computed - value) >= TOLERANCE:
        raise UnsoundMark(f"the calculator mark {match[0][:200]} does not add up")
    stated = re.match(rf"\s*\$?\s*({NUMBER.pattern})", after)
    if stated is None or number(stated[1]) != value or (before and before[-1].isdigit()):
        return None
    result = count_numbers(before)
    written = _SHOWN.search(before)
    # the numbers differ for "32 000", too, which is two numbers of the text
    if written is None or numbers(written[1]) != numbers(expression) or _atoms(plain(written[1])) != _atoms(expression):
        return Mark(expression, value, result)
    count = count_numbers(expression)
    return Mark(expression, value, result, tuple(range(result - count, result)), written.span(1))


def _unmarked(text: str, known: set[int]) -> list[Mark]:
    """Calculations that a line shows in full without a mark ("so 20/4 = $5"), where they add up."""
    found = []
    for match in _STATED.finditer(text):
        expression, value = plain(match[1]).strip("."), number(match[2])
        computed, count = evaluate(expression), count_numbers(match[1])
        result = count_numbers(text[: match.start(2)])
        if result in known or count < 2 or computed is None or abs(computed - value) >= TOLERANCE:
            continue
        if numbers(expression) == numbers(match[1]):
            found.append(Mark(expression, value, result, tuple(range(result - count, result)), match.span(1)))
    return found


def _atoms(expression: str) -> list[str | Fraction]:
    """Numbers by value and signs: equal lists are the same calculation."""
    found = re.findall(rf"{NUMBER.pattern}|\S", expression)
    return [number(atom) if NUMBER.fullmatch(atom) else atom for atom in found]


def first_error(reference: Sequence[WorkedLine], steps: Sequence[str]) -> tuple[int | None, str]:
    """Returns (0-based first wrong step or -1, kind), or (None, "unknown") where a step is not from the reference.

    Kinds: `op` another operator; `operand` another number in the expression; `slip` the right
    expression with another result; `noanswer` the steps end before the reference does.
    """
    for index, step in enumerate(steps):
        if index >= len(reference) or not derives(reference[index], step):
            return None, UNKNOWN
        kind = _difference(reference[index], step)
        if kind:
            return index, kind
    if len(steps) < len(reference):
        return max(len(steps) - 1, 0), "noanswer"
    return -1, ""


def derives(line: WorkedLine, step: str) -> bool:
    """Returns whether a step has the words of the reference's line, whatever its numbers and operators."""
    return step == line.text or skeleton(step) == skeleton(line.text)


def _difference(line: WorkedLine, step: str) -> str:
    """Returns how a step that derives from the line differs from it: a kind of error, or ""."""
    if operators(step) != operators(line.text):
        return "op"
    changed = {i for i, (a, b) in enumerate(zip(numbers(line.text), numbers(step), strict=True)) if a != b}
    if not changed:
        return ""
    operands = {operand for mark in line.marks for operand in mark.operands}
    results = {mark.result for mark in line.marks}
    return "operand" if changed & operands - results or not changed & results else "slip"


def stated_calculations(text: str) -> list[tuple[str, Fraction]]:
    """Finds (expression, stated value) of each "48/2 = 24" in any text: what can be checked without a reference."""
    found = []
    for match in _STATED.finditer(text):
        expression = plain(match[1]).strip(".")
        if evaluate(expression) is not None and count_numbers(expression) > 1:
            found.append((expression, number(match[2])))
    return found
