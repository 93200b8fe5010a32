r"""The comparison that needs mathematics: runs inside a program of the execution pool.

math-verify parses each expression and compares the ones that have variables. Three of its habits are not taken over: it
takes the part of a text that it understands for the whole, its numbers are equal when their absolute difference is
small, and its reading of some plain LaTeX is wrong (see `expressions`). So a parse that does not cover the text is
refused, numbers are compared by relative error, and an equality of functions must also hold at sample points.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any  # pyright follows no expression of sympy's

import sympy
from math_verify import verify

from jprm.grade.exact import DIFFERENT, EQUAL, Graded, Number, Percent, decide, number, rounds
from jprm.grade.expressions import TooLarge, leaf_number, parse_pair
from jprm.grade.shapes import Bracketed, Many, Matrix, Named, Node, Relation, Scalar, Unreadable, read, thousands

AGREED_DIGITS = 30  # numbers that agree to so many digits are looked at more closely
PROOF_DIGITS = 400  # and are equal if they still agree here: a proof may take minutes
POINTS = ((17, 13), (29, 31), (41, 19), (7, 23))  # fractions where equal functions must agree
INTEGERS = frozenset("nmkj")
_BARE_LOG = re.compile(r"\\log(?!_)\s*(?![a-zA-Z]{3})")


def compare(gold: str, answer: str, percent: Percent = "strict") -> Graded:
    """Compares two normalised answers that `exact.decide` leaves open.

    A comma as in "40,200" may be of thousands or of a list. Where one answer leaves it open, the
    other tells; where both do, they are equal as numbers, or it cannot be said whether as lists.
    """
    numbers = thousands(gold), thousands(answer)
    as_number = _compared(*numbers, percent)
    if numbers == (gold, answer) or as_number == EQUAL:
        return as_number
    as_list = _compared(gold, answer, percent)
    if gold == numbers[0] or answer == numbers[1]:
        other = gold if gold == numbers[0] else answer
        return as_list if as_list == EQUAL or "," in other else as_number
    return as_number if as_list == DIFFERENT else Graded("unparsed", "thousands or a list")


def _compared(gold: str, answer: str, percent: Percent) -> Graded:
    if (verdict := decide(gold, answer, percent)) is not None:
        return verdict
    try:
        return _nodes(read(gold), read(answer), percent)
    except TooLarge:
        return Graded("unparsed", "too large")
    except Unreadable as refusal:
        return Graded("unparsed", str(refusal))
    except RecursionError:
        return Graded("unparsed", "too deep")
    except ArithmeticError:
        return Graded("unparsed", "undefined")


def _nodes(gold: Node, answer: Node, percent: Percent) -> Graded:
    match gold, answer:
        case Scalar(a), Scalar(b):
            return _leaves(a, b, percent)
        case Named() | Relation(), Named() | Relation():
            return _relations(gold, answer, percent)
        case Named(value=value), _:
            return _nodes(value, answer, percent)
        case _, Named(value=value):
            return _nodes(gold, value, percent)
        case Bracketed(), Bracketed():
            return _rows(gold, answer, percent)
        case Matrix(a), Matrix(b):
            if [len(row) for row in a] != [len(row) for row in b]:
                return DIFFERENT
            cells = zip(chain.from_iterable(a), chain.from_iterable(b), strict=True)
            return _all([_nodes(one, other, percent) for one, other in cells])
        case Many(), Many():
            return _unordered(gold, answer, percent)
        case (Many(), Bracketed()) | (Bracketed(), Many()):
            return _list_and_row(gold, answer, percent)
        case (Scalar(text), Many(kind, items)) | (Many(kind, items), Scalar(text)):
            if len(items) == 1 and kind == "set":
                inside = _nodes(Scalar(text), items[0], percent)
                return Graded("unparsed", "a set and its element") if inside == EQUAL else inside
            if kind in ("list", "set"):
                leaf_number(text)
                return DIFFERENT
        case (Scalar(text), Bracketed()) | (Bracketed(), Scalar(text)):
            leaf_number(text)
            return DIFFERENT
    raise Unreadable("answers of two kinds")


def _all(verdicts: list[Graded]) -> Graded:
    """Returns the verdict on a whole from those on its parts: one that differs settles it, else one that is unclear."""
    if DIFFERENT in verdicts:
        return DIFFERENT
    return next((verdict for verdict in verdicts if verdict != EQUAL), EQUAL)


def _item(gold: Node, answer: Node, percent: Percent) -> Graded:
    """Compares one part of two answers; a part that cannot be read leaves the others to tell."""
    try:
        return _nodes(gold, answer, percent)
    except Unreadable as refusal:
        return Graded("unparsed", str(refusal))


def _rows(gold: Bracketed, answer: Bracketed, percent: Percent) -> Graded:
    if len(gold.items) != len(answer.items):
        return DIFFERENT
    parts = [_item(a, b, percent) for a, b in zip(gold.items, answer.items, strict=True)]
    inside = _all(parts)
    if (gold.opening, gold.end) == (answer.opening, answer.end) or inside == DIFFERENT:
        return inside
    if len(gold.items) == 2:  # the ends of intervals
        return DIFFERENT if inside == EQUAL else inside
    return Graded("unparsed", "brackets differ")


def _unordered(gold: Many, answer: Many, percent: Percent) -> Graded:
    if "system" in (gold.kind, answer.kind):
        paired = _matched(gold.items, answer.items, percent)
        return EQUAL if paired == EQUAL else Graded("unparsed", "several relations")
    if "union" in (gold.kind, answer.kind):
        if gold.kind != answer.kind:
            raise Unreadable("answers of two kinds")
        paired = _matched(gold.items, answer.items, percent)
        same_count = len(gold.items) == len(answer.items)
        return paired if paired == EQUAL or same_count else Graded("unparsed", "unions")
    if not {type(item) for item in gold.items} & {type(item) for item in answer.items}:
        gold, answer = _unnamed(gold), _unnamed(answer)
    named = [sum(isinstance(item, Named) for item in many.items) for many in (gold, answer)]
    if bool(named[0]) != bool(named[1]):
        return Graded("unparsed", "names on one side only")
    paired = _matched(gold.items, answer.items, percent)
    if paired == EQUAL and len(gold.items) != len(answer.items):
        repeats = "set" not in (gold.kind, answer.kind)
        return Graded("unparsed", "repeated values") if repeats else EQUAL
    return paired


def _unnamed(many: Many) -> Many:
    """Reads `x=1, x=2` as the values of x; leaves it as it is where several names, or not all, are told."""
    values = {item.name: () for item in many.items if isinstance(item, Named)}
    if len(values) != 1 or not all(isinstance(item, Named) for item in many.items):
        return many
    return Many(many.kind, tuple(item.value for item in many.items if isinstance(item, Named)))


def _matched(gold: tuple[Node, ...], answer: tuple[Node, ...], percent: Percent) -> Graded:
    """Returns whether each value of either side has an equal on the other."""
    if max(len(gold), len(answer)) > 40:
        return Graded("unparsed", "too large")
    if not gold or not answer:
        return DIFFERENT if gold or answer else EQUAL
    table = [[_item(a, b, percent) for b in answer] for a in gold]
    best = []
    for line in [*table, *zip(*table, strict=True)]:
        unclear = next((one for one in line if one != DIFFERENT), DIFFERENT)
        best.append(EQUAL if EQUAL in line else unclear)
    return _all(best)


def _list_and_row(gold: Node, answer: Node, percent: Percent) -> Graded:
    many, row = (gold, answer) if isinstance(gold, Many) else (answer, gold)
    assert isinstance(many, Many) and isinstance(row, Bracketed)
    if many.kind == "set" and (row.opening, row.end) == ("(", ")"):
        return DIFFERENT
    if many.kind != "list":
        raise Unreadable("answers of two kinds")
    found = _matched(many.items, row.items, percent)
    return found if found == DIFFERENT else Graded("unparsed", "with and without brackets")


def _relations(gold: Named | Relation, answer: Named | Relation, percent: Percent) -> Graded:
    if isinstance(gold, Named) and isinstance(answer, Named):
        if gold.name == answer.name:
            return _nodes(gold.value, answer.value, percent)
        scalars = isinstance(gold.value, Scalar) and isinstance(answer.value, Scalar)
        if not scalars or "(" in gold.name + answer.name:
            return Graded("unparsed", "names differ")
    left, right = _plain(gold), _plain(answer)
    if left is None or right is None:
        raise Unreadable("answers of two kinds")
    kinds = {left.sign, right.sign}
    if len(kinds) > 1:
        return DIFFERENT if not kinds & {r"\neq"} else Graded("unparsed", "relations")
    # (left - right) of the one must be a constant multiple of the other's: positive where the direction counts.
    a, b = (f"({one.left})-({one.right})" for one in (left, right))
    first, second = parse_pair(a, b)
    if not first.free_symbols or not second.free_symbols:
        raise Unreadable("a relation without a variable")
    ratio: Any = sympy.simplify(first / second)
    if ratio.is_number and ratio.is_finite and not ratio.is_zero:
        if ratio.is_positive or left.sign in ("=", r"\neq"):
            return EQUAL
        return DIFFERENT
    if first.free_symbols != second.free_symbols or (_linear(first) and _linear(second)):
        return DIFFERENT
    return Graded("unparsed", "relations")  # x^2 = 0 and x = 0 say the same


def _linear(expression: Any) -> bool:
    symbols = sorted(expression.free_symbols, key=str)
    polynomial = expression.as_poly(*symbols) if symbols else None
    return polynomial is not None and polynomial.total_degree() == 1


def _plain(node: Named | Relation) -> Relation | None:
    if isinstance(node, Relation):
        return node
    return Relation(node.name, "=", node.value.text) if isinstance(node.value, Scalar) else None


def _leaves(gold: str, answer: str, percent: Percent) -> Graded:
    verdict = decide(gold, answer, percent)
    if verdict is not None:
        return verdict
    if gold.endswith("%") != answer.endswith("%") and percent == "either":
        bare = _values(gold.removesuffix("%"), answer.removesuffix("%"))
        if bare == EQUAL:
            return EQUAL
    return _values(gold, answer)


def _values(gold: str, answer: str) -> Graded:
    """Compares two expressions; a logarithm without a base counts only where the base is moot."""
    if r"\log" not in gold + answer:
        return _expressions(gold, answer)
    natural, decimal = (
        _expressions(*(_BARE_LOG.sub(base, text) for text in (gold, answer))) for base in (r"\\ln ", r"\\log_{10}")
    )
    return natural if natural == decimal else Graded("unparsed", "log of which base")


def _expressions(gold: str, answer: str) -> Graded:
    left, right = parse_pair(gold, answer)
    symbols = left.free_symbols | right.free_symbols
    if not symbols:
        return _numbers(left, right, gold, answer)
    try:
        agreed = _agree(left, right, sorted(symbols, key=str))
    except (TypeError, ValueError, NotImplementedError):  # sympy has no numeric value for it
        return Graded("unparsed", "no numeric value")
    if agreed is not True:
        return Graded("unparsed", agreed) if isinstance(agreed, str) else DIFFERENT
    said = verify(left, right, timeout_seconds=None)
    return EQUAL if said else Graded("unparsed", "equal at samples, no proof")


def _agree(left: Any, right: Any, symbols: list[Any]) -> bool | str:
    """Returns whether two functions agree where both are defined; a string says why that is not known."""
    told = 0
    for signed in (False, True):
        for index, _ in enumerate(POINTS):
            point = dict(_point(symbols, index, signed))
            a, b = (_numeric(side.subs(point), AGREED_DIGITS) for side in (left, right))
            if a is None or b is None or a.is_real != b.is_real:
                continue  # outside of the domain of the one or the other
            if not _close(a, b, AGREED_DIGITS - 5):
                roots = any(not power.exp.is_integer for one in (left, right) for power in one.atoms(sympy.Pow))
                branches = roots or (left + right).has(sympy.log)
                return "equal where variables are positive" if signed and told and branches else False
            told += 1
    return True if told >= 2 else "defined at no sample point"


def _point(symbols: list[Any], index: int, signed: bool) -> Iterator[tuple[Any, Any]]:
    """Yields a value for each variable: a whole one where its name says so, else a fraction."""
    for position, symbol in enumerate(symbols):
        top, bottom = POINTS[(index + 3 * position) % len(POINTS)]
        if symbol.name in INTEGERS:
            yield symbol, sympy.Integer(index + 2 + 2 * position)
        else:
            negative = signed and (index + position) % 2 == 0
            yield symbol, sympy.Rational(-top if negative else top, bottom)


def _numeric(expression: Any, digits: int) -> Any:
    value = sympy.N(expression.doit(), digits)
    return value if value.is_number and value.is_finite and not value.has(sympy.nan) else None


def _close(a: Any, b: Any, digits: int) -> bool:
    size = max(abs(a), abs(b))
    return bool(size == 0 or abs(a - b) <= size * sympy.Float(10) ** -digits)


def _numbers(left: Any, right: Any, gold: str, answer: str) -> Graded:
    """Compares two numbers: exactly where they are rational, else by relative error."""
    left, right = left.doit(), right.doit()
    if any(one.has(sympy.nan, sympy.zoo) for one in (left, right)):
        return Graded("unparsed", "undefined")
    if any(one.is_infinite for one in (left, right)):
        return EQUAL if left == right else DIFFERENT
    if left.is_Rational and right.is_Rational:
        if left == right:
            return EQUAL
        return EQUAL if _rounded(gold, right) or _rounded(answer, left) else DIFFERENT
    a, b = _numeric(left, AGREED_DIGITS), _numeric(right, AGREED_DIGITS)
    if a is None or b is None:
        return Graded("unparsed", "undefined")
    if not _close(a, b, AGREED_DIGITS - 5):
        if min(abs(a), abs(b)) < sympy.Float(10) ** -AGREED_DIGITS:
            # One may be a zero that sympy has not seen to be one, whose digits are all noise.
            zero = (left - right).equals(0)
            if zero is None:
                return Graded("unparsed", "perhaps zero")
            return EQUAL if zero else DIFFERENT
        return EQUAL if _rounded(gold, b) or _rounded(answer, a) else DIFFERENT
    a, b = _numeric(left, PROOF_DIGITS), _numeric(right, PROOF_DIGITS)
    if a is None or b is None:
        return Graded("unparsed", "undefined")
    return EQUAL if _close(a, b, PROOF_DIGITS - 10) else DIFFERENT


def _rounded(text: str, value: Any) -> bool:
    """Returns whether a text is a decimal that stands for `value` to the digits it has."""
    written = number(text)
    if not isinstance(written, Number) or written.places is None or not value.is_real:
        return False
    exact: Any = sympy.Rational(value)
    if not value.is_Rational:  # its digits end only because we stopped: make it no short decimal
        exact += sympy.Rational(1, 3 * 10 ** (AGREED_DIGITS + written.places))
    return rounds(written, Fraction(int(exact.p), int(exact.q)))
