"""What can be decided exactly from the spelling: equal text, rational numbers, words, times, bases.

`same_answer` is the strict comparison of the worlds. `decide` is the first half of the grader: it
answers what it is certain of and leaves the rest to the symbolic comparison.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Literal, NamedTuple

Grade = Literal["equal", "different", "unparsed", "timeout", "error"]
Percent = Literal["strict", "either"]


class Verdict(NamedTuple):
    """A grade and, where it is not plain, a few words on why."""

    grade: Grade
    reason: str = ""


EQUAL, DIFFERENT = Verdict("equal"), Verdict("different")
TOO_LARGE = Verdict("unparsed", "too large")
MAX_DIGITS = 4000  # Python itself refuses to read integers of more than 4300
ROUNDED_DIGITS = 6  # a decimal of so many significant digits may stand for a number it rounds

_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
# Thousands are commas without a space, before groups of three; "0,100" and "40, 200" are lists.
_NUMBER = re.compile(rf"(?P<top>[-+]?{_DECIMAL})(?:/(?P<bottom>{_DIGITS}))?(?P<percent>%?)")


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
    currency sign, percent. None, too, beyond 4000 characters.
    """
    plain = re.sub(r"(?<![\d,]) +| +(?!\d)", "", text.strip()).strip("$").rstrip(".")
    match = _NUMBER.fullmatch(plain) if len(plain) <= MAX_DIGITS else None
    if match is None:
        return None
    bottom = int((match["bottom"] or "1").replace(",", ""))
    if not bottom:
        return None
    value = _decimal(match["top"]) / bottom
    return value / 100 if match["percent"] else value


class Number(NamedTuple):
    """A rational number as it was written; `places`: digits after the point of a lone decimal."""

    value: Fraction
    places: int | None = None
    percent: bool = False


_PATTERN = re.compile(
    rf"(?P<sign>[-+]?)(?:"
    rf"(?P<mixed>\d+ ?)?\\frac\{{(?P<top>-?{_DECIMAL})\}}\{{(?P<bottom>-?{_DECIMAL})\}}"
    rf"|(?:(?P<whole>\d+)[ ])?(?P<over>{_DECIMAL})/(?P<under>{_DECIMAL})"
    rf"|(?P<lead>\d*)\.(?P<fixed>\d*)\\overline\{{(?P<period>\d+)\}}"
    rf"|(?P<decimal>{_DECIMAL})(?:(?:[eE]|(?:\\times|\\cdot|x) ?10\^)\{{?(?P<power>[-+]?\d+)\}}?)?"
    rf")(?P<percent>%?)"
)


def number(text: str) -> Number | Verdict | None:
    """A normalised text as a rational number; None if it is none, `TOO_LARGE` beyond the caps."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    part = match.groupdict()
    if max(len(run) for run in re.findall(r"\d+", text.replace(",", ""))) > MAX_DIGITS:
        return TOO_LARGE
    places = None
    try:
        if part["top"]:
            value = _decimal(part["top"]) / _decimal(part["bottom"])
            if part["mixed"]:
                if not (part["top"] + part["bottom"]).isdigit():
                    return None
                value += int(part["mixed"])
        elif part["over"]:
            value = _decimal(part["over"]) / _decimal(part["under"])
            if part["whole"]:
                if not (part["over"] + part["under"]).isdigit():
                    return None
                value += int(part["whole"])
        elif part["period"]:
            fixed, period = part["fixed"], part["period"]
            value = Fraction(int((part["lead"] or "0") + fixed), 10 ** len(fixed))
            value += Fraction(int(period), 10 ** len(fixed) * (10 ** len(period) - 1))
        else:
            power = int(part["power"] or 0)
            if abs(power) > MAX_DIGITS:
                return TOO_LARGE
            value = _decimal(part["decimal"]) * Fraction(10) ** power
            if "." in part["decimal"]:
                places = max(len(part["decimal"].partition(".")[2]) - power, 0)
    except ZeroDivisionError:
        return None
    value = -value if part["sign"] == "-" else value
    percent = bool(part["percent"])
    if percent and places is not None:
        places += 2
    return Number(value / 100 if percent else value, places, percent)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def rounds(written: Number, value: Fraction) -> bool:
    """Whether a decimal of at least six significant digits is `value`, rounded or cut off there.

    Never for a value that a decimal can write in full: 100000.0 is not 100000.04.
    """
    if written.places is None or _terminates(value):
        return False
    unit = Fraction(1, 10**written.places)
    if abs(written.value) < unit * 10 ** (ROUNDED_DIGITS - 1):
        return False
    if (written.value < 0) != (value < 0):
        return False
    excess = abs(written.value) - abs(value)
    return -unit < excess <= unit / 2


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def compare_numbers(gold: Number, answer: Number, percent: Percent) -> Verdict:
    """Compare two rationals exactly; percent "either" lets 50% be 50 as well as 0.5."""
    values = {answer.value}
    if percent == "either" and gold.percent != answer.percent:
        values.add(answer.value * (100 if answer.percent else Fraction(1, 100)))
    if gold.value in values or rounds(gold, answer.value) or rounds(answer, gold.value):
        return EQUAL
    return DIFFERENT


_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?: ?(?:\\text\{)? ?([ap])\.?m\.?(?:\})?)?", re.IGNORECASE)
_RATIO = re.compile(r"\d+(?::\d+)+")
_BASED = re.compile(r"\(?([0-9A-Za-z]+)\)?_\{(?:\\text\{)?(\d+|two|three|eight)(?:\})?\}")
_BASES = {"two": 2, "three": 3, "eight": 8}
_CHOICE = re.compile(r"(?:\\text)?[{(]*([A-Z])[)}.]*")
_TEXT = re.compile(r"\\text\{([^{}\\]*)\}")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '\-][^\W\d_]+)*")
MATH_WORDS = frozenset("sin cos tan cot sec csc ln log exp sqrt pi inf infinity alpha beta theta".split())


def words(text: str) -> tuple[str, bool] | None:
    r"""The words of an answer that is text, and whether `\text{..}` says that it is; else None."""
    marked = _TEXT.fullmatch(text)
    bare = (marked[1] if marked else text).strip().strip(".").casefold()
    if _WORDS.fullmatch(bare) and not (not marked and bare in MATH_WORDS):
        return bare, bool(marked)
    return None


def decide(gold: str, answer: str, percent: Percent = "strict") -> Verdict | None:
    """The verdict on two normalised answers where their spelling settles it, else None."""
    if not gold or not answer:
        return Verdict("unparsed", "empty")
    if gold == answer:
        return EQUAL
    left, right = number(gold), number(answer)
    if TOO_LARGE in (left, right):
        return TOO_LARGE
    if isinstance(left, Number) and isinstance(right, Number):
        verdict = compare_numbers(left, right, percent)
        return None if verdict == DIFFERENT and "," in gold and "," in answer else verdict
    for reader in (_clock, _ratio, _based, _choice, _text):
        if (verdict := reader(gold, answer)) is not None:
            return verdict
    return None


def _clock(gold: str, answer: str) -> Verdict | None:
    left, right = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(answer)
    if not left or not right:
        return None
    if any(int(time[1]) > 24 or int(time[2]) > 59 for time in (left, right)):
        return None
    if (int(left[1]), left[2]) != (int(right[1]), right[2]):
        return DIFFERENT if _halves(left) == _halves(right) else Verdict("unparsed", "clock")
    if _halves(left) and _halves(right):
        return EQUAL if _halves(left) == _halves(right) else DIFFERENT
    return EQUAL if _halves(left) == _halves(right) else Verdict("unparsed", "clock")


def _halves(time: re.Match[str]) -> str:
    return (time[3] or "").lower()


def _ratio(gold: str, answer: str) -> Verdict | None:
    if not _RATIO.fullmatch(gold) and not _RATIO.fullmatch(answer):
        return None
    if not _RATIO.fullmatch(gold) or not _RATIO.fullmatch(answer):
        return Verdict("unparsed", "a ratio beside something else")
    if max(len(gold), len(answer)) > MAX_DIGITS:
        return TOO_LARGE
    left, right = ([int(term) for term in text.split(":")] for text in (gold, answer))
    if len(left) != len(right) or not any(left) or not any(right):
        return DIFFERENT
    reduced = [[term // math.gcd(*terms) for term in terms] for terms in (left, right)]
    return EQUAL if reduced[0] == reduced[1] else DIFFERENT


def _based(gold: str, answer: str) -> Verdict | None:
    left, right = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if not left and not right:
        return None
    if not left or not right:
        based, plain = (left, answer) if left else (right, gold)
        if based is None or not based[1][0].isdigit() or not plain.isdigit():
            return None
        return Verdict("unparsed", "a base beside a plain number")
    values = [_in_base(match[1], match[2]) for match in (left, right)]
    if None in values:
        return None
    return EQUAL if values[0] == values[1] else DIFFERENT


def _in_base(digits: str, base: str) -> int | None:
    radix = _BASES.get(base) or int(base[:3])
    if not 2 <= radix <= 36 or len(digits) > MAX_DIGITS or not digits.isascii():
        return None
    if digits.isalpha():  # A_1 is a name
        return None
    try:
        return int(digits, radix)
    except ValueError:
        return None


def _choice(gold: str, answer: str) -> Verdict | None:
    left, right = _CHOICE.fullmatch(gold), _CHOICE.fullmatch(answer)
    if not left or not right:
        return None
    return EQUAL if left[1] == right[1] else DIFFERENT


def _text(gold: str, answer: str) -> Verdict | None:
    left, right = words(gold), words(answer)
    if left is None or right is None:
        return None
    (a, a_marked), (b, b_marked) = left, right
    if not (a_marked or b_marked) and max(len(a), len(b)) <= 2:
        return None  # ab and ba are products
    if a == b:
        return EQUAL
    if sorted(a) == sorted(b) or " " in a or " " in b or "-" in a or "-" in b:
        return Verdict("unparsed", "free text")
    return DIFFERENT
