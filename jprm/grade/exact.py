"""What can be decided from how two answers are spelled: equal text, rational numbers, words, times, bases, units.

`same_answer` is the strict comparison of the worlds. `by_spelling` is the first half of the grader: it answers what it
is certain of and leaves the rest to the symbolic comparison.
"""

import math
import re
from fractions import Fraction
from typing import Literal, NamedTuple

from jprm.grade.answers import depth
from jprm.grade.normal import MAX_DEPTH, normalise

Grade = Literal["equal", "different", "unparsed", "timeout", "error"]
Percent = Literal["strict", "either"]


class Graded(NamedTuple):
    """A grade and, where it is not plain, a few words on why."""

    grade: Grade
    reason: str = ""


EQUAL, DIFFERENT = Graded("equal"), Graded("different")
TOO_LARGE = Graded("unparsed", "too large")
MAX_LENGTH = 10_000  # characters of an answer
MAX_DIGITS = 4000  # Python itself refuses to read integers of more than 4300
ROUNDED_DIGITS = 6  # a decimal of so many significant digits may stand for a number it rounds

_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
# Thousands are commas without a space, before groups of three; "0,100" and "40, 200" are lists.
_NUMBER = re.compile(rf"(?P<top>[-+]?{_DECIMAL})(?:/(?P<bottom>{_DIGITS}))?(?P<percent>%?)")


def same_answer(a: str, b: str) -> bool:
    """Returns whether two answers agree as text, or as exact numbers ("1,000" and "$1000.00", "1/2" and "0.5")."""
    if a.strip() == b.strip():
        return True
    left, right = as_number(a), as_number(b)
    return left is not None and left == right


def as_number(text: str) -> Fraction | None:
    """Reads a plain number exactly: signs, decimals, a/b, thousands commas, a currency sign, percent; else None.

    Also None beyond 4000 characters.
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


def number(text: str) -> Number | Graded | None:
    """Reads a normalised text as a rational number; returns None if it is none, `TOO_LARGE` beyond the caps."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    part = match.groupdict()
    if max(len(run) for run in re.findall(r"\d+", text.replace(",", ""))) > MAX_DIGITS:
        return TOO_LARGE
    places = None
    try:
        if top := part["top"] or part["over"]:
            bottom, whole = part["bottom"] or part["under"], part["mixed"] or part["whole"]
            value = _decimal(top) / _decimal(bottom)
            if whole:
                if not (top + bottom).isdigit():
                    return None
                value += int(whole)
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
    """Returns whether a decimal of at least six significant digits is `value`, rounded or cut off there.

    Never for a value that a decimal can write in full: 100000.0 is not 100000.04.
    """
    if written.places is None or (written.value < 0) != (value < 0):
        return False
    if pow(10, value.denominator.bit_length(), value.denominator) == 0:  # it divides a power of ten
        return False
    unit = Fraction(1, 10**written.places)
    excess = abs(written.value) - abs(value)
    return abs(written.value) >= unit * 10 ** (ROUNDED_DIGITS - 1) and -unit < excess <= unit / 2


def _compare_numbers(gold: Number, answer: Number, percent: Percent) -> Graded:
    """Compares two rational numbers exactly; percent "either" lets 50% be 50 as well as 0.5."""
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
    r"""Returns the words of an answer that is text, and whether `\text{..}` says that it is; else None."""
    marked = _TEXT.fullmatch(text)
    bare = (marked[1] if marked else text).strip().strip(".").casefold()
    if _WORDS.fullmatch(bare) and not (not marked and bare in MATH_WORDS):
        return bare, bool(marked)
    return None


def decide(gold: str, answer: str, percent: Percent = "strict") -> Graded | None:
    """Returns the verdict on two normalised answers where their spelling settles it, else None."""
    if not gold or not answer:
        return Graded("unparsed", "empty")
    if gold == answer:
        return EQUAL
    left, right = number(gold), number(answer)
    if TOO_LARGE in (left, right):
        return TOO_LARGE
    if isinstance(left, Number) and isinstance(right, Number):
        verdict = _compare_numbers(left, right, percent)
        return None if verdict == DIFFERENT and "," in gold and "," in answer else verdict
    for reader in (_clock, _ratio, _based, _choice, _text):
        if (verdict := reader(gold, answer)) is not None:
            return verdict
    return None


def _clock(gold: str, answer: str) -> Graded | None:
    left, right = _CLOCK.fullmatch(gold), _CLOCK.fullmatch(answer)
    if not left or not right or any(int(time[1]) > 24 or int(time[2]) > 59 for time in (left, right)):
        return None
    halves = [(time[3] or "").lower() for time in (left, right)]
    if (int(left[1]), left[2]) == (int(right[1]), right[2]):
        if halves[0] == halves[1]:
            return EQUAL
        return DIFFERENT if all(halves) else Graded("unparsed", "clock")
    return DIFFERENT if halves[0] == halves[1] else Graded("unparsed", "clock")


def _ratio(gold: str, answer: str) -> Graded | None:
    found = [bool(_RATIO.fullmatch(text)) for text in (gold, answer)]
    if not any(found):
        return None
    if not all(found):
        return Graded("unparsed", "a ratio beside something else")
    if max(len(gold), len(answer)) > MAX_DIGITS:
        return TOO_LARGE
    left, right = ([int(term) for term in text.split(":")] for text in (gold, answer))
    if len(left) != len(right) or not any(left) or not any(right):
        return DIFFERENT
    reduced = [[term // math.gcd(*terms) for term in terms] for terms in (left, right)]
    return EQUAL if reduced[0] == reduced[1] else DIFFERENT


def _based(gold: str, answer: str) -> Graded | None:
    left, right = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if not left and not right:
        return None
    if not left or not right:
        based, plain = (left, answer) if left else (right, gold)
        if based is None or not based[1][0].isdigit() or not plain.isdigit():
            return None
        return Graded("unparsed", "a base beside a plain number")
    values = [_in_base(match[1], match[2]) for match in (left, right)]
    if None in values:
        return None
    return EQUAL if values[0] == values[1] else DIFFERENT


def _in_base(digits: str, base: str) -> int | None:
    radix = _BASES.get(base) or int(base[:3])
    if not 2 <= radix <= 36 or len(digits) > MAX_DIGITS or not digits.isascii() or digits.isalpha():  # A_1 is a name
        return None
    try:
        return int(digits, radix)
    except ValueError:
        return None


def _choice(gold: str, answer: str) -> Graded | None:
    left, right = _CHOICE.fullmatch(gold), _CHOICE.fullmatch(answer)
    if not left or not right:
        return None
    return EQUAL if left[1] == right[1] else DIFFERENT


def _text(gold: str, answer: str) -> Graded | None:
    left, right = words(gold), words(answer)
    if left is None or right is None:
        return None
    (a, a_marked), (b, b_marked) = left, right
    if not (a_marked or b_marked) and max(len(a), len(b)) <= 2:
        return None  # ab and ba are products
    if a == b:
        return EQUAL
    if sorted(a) == sorted(b) or " " in a or " " in b or "-" in a or "-" in b:
        return Graded("unparsed", "free text")
    return DIFFERENT


_PLAIN_VALUE = r"(?P<value>-?(?:[\d.,/]*\d|\d+ \d+/\d+))"
_ANY_VALUE = r"(?P<value>.*(?:[\d})]|\\pi))"
_POWER = r"(?P<power>\^\{[23]\})?"
_MARKED = re.compile(_ANY_VALUE + r" ?\\text\{(?P<unit>[^{}\d]+)\}" + _POWER, re.DOTALL)
_PLAIN = re.compile(_PLAIN_VALUE + r" ?(?P<unit>[A-Za-z][A-Za-z./]*(?:[ -][A-Za-z./]+)*)" + _POWER)
_DEGREES = re.compile(_ANY_VALUE + r"\^\{\\circ\}(?:\\text\{)? ?(?P<unit>[CFK]?)\}?", re.DOTALL)
_CURRENCY = re.compile(r"(?P<sign>-?)(?:\\\$|\$|\\text\{(?P<name>euro|pound)\})(?P<value>[\d.,/]+%?)")
_SHORT = frozenset("sq cu cm mm km dm ft in mi yd kg mg lb lbs oz mph kph hr hrs min mins sec ml am pm".split())
_ALIASES = {
    "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm",
    "kilometer": "km", "kilometre": "km", "meter": "m", "metre": "m", "feet": "ft", "foot": "ft",
    "inche": "inch", "kilogram": "kg", "gram": "g", "pound": "lb", "hr": "hour", "h": "hour",
    "min": "minute", "sec": "second", "s": "second", "$": "dollar", "usd": "dollar",
    "square centimeter": "cm^2", "sq cm": "cm^2", "square meter": "m^2", "square inche": "inch^2",
    "cubic centimeter": "cm^3", "degree": "°",
}  # fmt: skip
_NO_UNIT = frozenset(  # words that change what the number says
    "and or in base if for when with not less more least most below above before after mod times "
    "percent hundred thousand million billion trillion dozen tens sin cos tan log ln pi squared "
    "cubed half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths "
    "eighth eighths tenth tenths hundredth hundredths thousandth thousandths factorial choose over "
    "january february march april may june july august september october november december".split()
)
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")


def split_unit(text: str) -> tuple[str, str]:
    """Splits a normalised answer into its value and its unit, which is empty where there is none."""
    if match := _CURRENCY.fullmatch(text):
        return match["sign"] + match["value"], match["name"] or "dollar"
    if (match := _DEGREES.fullmatch(text)) and not _FUNCTION.search(text):
        return match["value"], "°" + match["unit"]
    match = _MARKED.fullmatch(text)
    if match is None and (match := _PLAIN.fullmatch(text)):
        first = re.split(r"[ -]", match["unit"])[0]
        if first not in _SHORT and len(first) < 3:  # 5ab is no number of abs but a product
            match = None
    if match and (unit := _unit_name(match["unit"], match["power"])):
        return match["value"], unit
    return text, ""


def _unit_name(unit: str, power: str | None) -> str:
    """Returns the unit in one spelling: lower case, singular, short; empty if it is no unit."""
    plain = unit.strip().strip(".").casefold()
    if not plain or _NO_UNIT.intersection(re.split(r"\W+", plain)):
        return ""
    if plain.endswith("s") and len(plain) > 2 and not plain.endswith("ss"):
        plain = plain[:-1]
    return _ALIASES.get(plain, plain) + (power or "").replace("{", "").replace("}", "")


_RADIANS = re.compile(r"\\(?:pi|arc|(?:sin|cos|tan)\^\{-1\})")
_LETTER_UNIT = re.compile(r"[\d./]+ ?[a-zA-Z]")  # 3 h: a unit, or a variable


def by_spelling(gold: str, answer: str, percent: Percent = "strict") -> tuple[Graded | None, str, str]:
    """Returns the verdict if the spelling settles it, and the normalised values that are left to compare."""
    large = max(len(gold), len(answer)) > MAX_LENGTH
    if large or max(depth(gold), depth(answer)) > MAX_DEPTH:
        same = bool(gold.strip()) and gold.strip() == answer.strip()
        reason = "too large" if large else "too deep"
        return EQUAL if same else Graded("unparsed", reason), gold, answer
    left, right = normalise(gold), normalise(answer)
    verdict = decide(left, right, percent)
    if verdict is not None:
        return verdict, left, right
    (left, unit), (right, other) = split_unit(left), split_unit(right)
    bare = right if unit else left
    if (unit and other and unit != other) or (unit != other and _LETTER_UNIT.fullmatch(bare)):
        return Graded("unparsed", "units differ"), left, right
    if unit == "°" and not other and _RADIANS.search(right):
        left = rf"\frac{{{left}\pi}}{{180}}"
    elif other == "°" and not unit and _RADIANS.search(left):
        right = rf"\frac{{{right}\pi}}{{180}}"
    if unit or other:
        verdict = decide(left, right, percent)
    return verdict, left, right
