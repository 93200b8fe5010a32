"""Final answers: finding one in a text, and deciding whether two are the same.

Kept apart from the worlds because every one of them, and every benchmark reader, grades the same
way. Two answers are the same when they are equal as strings or as exact rational numbers; symbolic
equality is not tried.
"""

from __future__ import annotations

import re
from fractions import Fraction

_ANSWER = re.compile(
    r"\\boxed\{([^{}]*)\}|####[ ]*([^\n]+)"
    r"|[Aa]nswer(?: is:?|:)[ ]+(\S[^\n]*?)(?=\.?\s*(?:\n|\Z)|\.\s)"  # up to the sentence's end
)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?")


def final_answer(text: str) -> str | None:
    r"""The last answer stated as `\boxed{..}`, `#### ..`, `Answer: ..`; else None."""
    stated = [
        next(group for group in match.groups() if group is not None)
        for match in _ANSWER.finditer(text)
    ]
    if not stated:
        return None
    return stated[-1].strip().rstrip(".").strip() or None


def same_answer(a: str, b: str) -> bool:
    """Whether two answers agree as text, or as exact numbers ("1,000" and "$1000.00", "1/2" and
    "0.5").
    """
    if a.strip() == b.strip():
        return True
    left, right = as_number(a), as_number(b)
    return left is not None and left == right


def as_number(text: str) -> Fraction | None:
    """The exact value of a plain number, or None: signs, decimals, a/b, thousands commas, a
    currency sign, percent.
    """
    plain = text.strip().strip("$").replace(",", "").replace(" ", "").rstrip(".")
    percent = plain.endswith("%")
    plain = plain.rstrip("%")
    if not _NUMBER.fullmatch(plain) or plain.endswith("/0"):
        return None
    numerator, _, denominator = plain.partition("/")
    if denominator and not int(denominator):
        return None
    value = Fraction(numerator) / Fraction(denominator or 1)
    return value / 100 if percent else value
