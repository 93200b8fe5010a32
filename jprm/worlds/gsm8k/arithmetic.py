"""Numbers and expressions inside free text: finding, evaluating exactly, and replacing them in the style they had.

Invariant: all values are `Fraction`s, so 0.1 + 0.2 is 0.3 and nothing is ever compared by a tolerance, save against a
reference that rounded its own result (`TOLERANCE`).
"""

import ast
import operator
import re
from fractions import Fraction
from functools import lru_cache

TOLERANCE = Fraction(1, 100)  # the files state 10/3 as 3.33
NUMBER = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
OPERATOR = re.compile(r"(?<=[\s\d$)%])[-+*/x×÷](?=[\s\d$(.])")
_PLAIN = str.maketrans({"x": "*", "×": "*", "÷": "/", "$": "", ",": "", " ": ""})
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@lru_cache(maxsize=1 << 16)
def number(text: str) -> Fraction:
    """Returns the value of a match of `NUMBER`: "1,000", "0.20", ".5"."""
    return Fraction(text.replace(",", ""))


def numbers(text: str) -> list[Fraction]:
    """Returns the values of all numbers of a text, in order."""
    return [number(match[0]) for match in NUMBER.finditer(text)]


def count_numbers(text: str) -> int:
    """Returns how many numbers a text has, which is the index of the next one."""
    return len(NUMBER.findall(text))


def plain(expression: str) -> str:
    """Writes an expression as Python does: no spaces, currency signs or thousands commas; * and / for x and ÷."""
    return expression.translate(_PLAIN)


def evaluate(expression: str) -> Fraction | None:
    """Computes a plain expression of numbers, + - * / and brackets exactly; None for anything else, or x/0."""
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return Fraction(repr(value))  # the digits as written: 0.1 is one tenth
        case ast.BinOp(left, op, right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand)
        case ast.UnaryOp(ast.UAdd(), operand):
            return _value(operand)
    raise ValueError("not arithmetic")


def format_value(value: Fraction, like: str = "") -> str | None:
    """Writes a value in decimal, with the commas and decimals of `like`; None where two decimals cannot say it.

    >>> format_value(Fraction(2500), "1,000"), format_value(Fraction(7, 2), "1.00")
    ('2,500', '3.50')
    """
    if value < 0 or (value * 100).denominator != 1:
        return None
    decimals = len(like.partition(".")[2])
    cents = int(value * 100)
    text = f"{cents // 100}" if cents % 100 == 0 else f"{cents // 100}.{cents % 100:02}".rstrip("0")
    whole, _, fraction = text.partition(".")
    if "," in like:
        whole = f"{int(whole):,}"
    fraction = fraction.ljust(min(decimals, 2), "0")
    return f"{whole}.{fraction}" if fraction else whole


def skeleton(text: str) -> str:
    """Masks every number and every operator between numbers: the rest is what a planted error leaves as it was."""
    return OPERATOR.sub("@", NUMBER.sub("0", text))


def operators(text: str) -> list[str]:
    """Returns the operators between numbers, as + - * /."""
    return [plain(match[0]) for match in OPERATOR.finditer(NUMBER.sub("0", text))]


def rewrite(text: str, values: dict[int, Fraction]) -> str | None:
    """Replaces the i-th numbers of a text in the style they had; returns None where a value cannot be written."""
    pieces, end = [], 0
    for index, match in enumerate(NUMBER.finditer(text)):
        if index in values:
            shown = format_value(values[index], match[0])
            if shown is None:
                return None
            pieces += [text[end : match.start()], shown]
            end = match.end()
    return "".join(pieces) + text[end:]
