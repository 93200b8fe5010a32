"""The first half of the grader, which compares two answers as they are written and needs no program."""

from __future__ import annotations

import re

from jprm.grade.answers import depth
from jprm.grade.exact import Percent, Verdict, decide
from jprm.grade.normal import MAX_DEPTH, normalise
from jprm.grade.units import split_unit

MAX_LENGTH = 10_000  # characters of an answer

_RADIANS = re.compile(r"\\(?:pi|arc|(?:sin|cos|tan)\^\{-1\})")
_LETTER_UNIT = re.compile(r"[\d./]+ ?[a-zA-Z]")  # 3 h: a unit, or a variable


def by_spelling(gold: str, answer: str, percent: Percent = "strict") -> tuple[Verdict | None, str, str]:
    """The verdict if the spelling settles it, and the normalised values that are left to compare."""
    large = max(len(gold), len(answer)) > MAX_LENGTH
    if large or max(depth(gold), depth(answer)) > MAX_DEPTH:
        same = bool(gold.strip()) and gold.strip() == answer.strip()
        reason = "too large" if large else "too deep"
        return Verdict("equal") if same else Verdict("unparsed", reason), gold, answer
    left, right = normalise(gold), normalise(answer)
    verdict = decide(left, right, percent)
    if verdict is not None:
        return verdict, left, right
    (left, unit), (right, other) = split_unit(left), split_unit(right)
    bare = right if unit else left
    if (unit and other and unit != other) or (unit != other and _LETTER_UNIT.fullmatch(bare)):
        return Verdict("unparsed", "units differ"), left, right
    if unit == "°" and not other and _RADIANS.search(right):
        left = rf"\frac{{{left}\pi}}{{180}}"
    elif other == "°" and not unit and _RADIANS.search(left):
        right = rf"\frac{{{right}\pi}}{{180}}"
    if unit or other:
        verdict = decide(left, right, percent)
    return verdict, left, right
