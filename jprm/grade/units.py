"""The unit, currency or noun that stands beside a number."""

from __future__ import annotations

import re

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
    """A normalised answer as its value and its unit, the unit empty where there is none."""
    if match := _CURRENCY.fullmatch(text):
        return match["sign"] + match["value"], match["name"] or "dollar"
    if (match := _DEGREES.fullmatch(text)) and not _FUNCTION.search(text):
        return match["value"], "°" + match["unit"]
    match = _MARKED.fullmatch(text)
    if match is None and (match := _PLAIN.fullmatch(text)):
        first = re.split(r"[ -]", match["unit"])[0]
        if first not in _SHORT and len(first) < 3:  # 5ab is no number of abs but a product
            match = None
    if match and (unit := _name(match["unit"], match["power"])):
        return match["value"], unit
    return text, ""


def _name(unit: str, power: str | None) -> str:
    """The unit in one spelling: lower case, singular, short; empty if it is no unit."""
    plain = unit.strip().strip(".").casefold()
    if not plain or _NO_UNIT.intersection(re.split(r"\W+", plain)):
        return ""
    if plain.endswith("s") and len(plain) > 2 and not plain.endswith("ss"):
        plain = plain[:-1]
    return _ALIASES.get(plain, plain) + (power or "").replace("{", "").replace("}", "")
