r"""The outer shape of a normalised answer: lists, sets, tuples, intervals, matrices, relations.

math-verify reads `(1,2)` as an open interval and then calls it equal to `\{1,2\}` and to `1,2`. So brackets, order and
names are compared here, and only what stands inside goes to the mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain

from jprm.grade.answers import closing


class Unreadable(ValueError):
    """The text is not surely read right; the message is the reason of the verdict."""


@dataclass(frozen=True)
class Scalar:
    """One expression."""

    text: str


@dataclass(frozen=True)
class Many:
    r"""Several values. kind: "list" (bare, in any order), "set" (`\{..\}`), "union" (of sets)."""

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Bracketed:
    """Values in order, with the brackets around them: a tuple, a vector, an interval."""

    opening: str
    end: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of expressions."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class Named:
    """`x = value`, `f(x) = value`, `(x, y) = value`."""

    name: str
    value: Node


@dataclass(frozen=True)
class Relation:
    r"""`left sign right`, where `sign` is one of `=`, `<`, `\leq`, `\neq`."""

    left: str
    sign: str
    right: str


Node = Scalar | Many | Bracketed | Matrix | Named | Relation

_SIGNS = ("=", "<", ">", r"\leq", r"\geq", r"\neq")
_FLIPPED = {"<": ">", ">": "<", r"\leq": r"\geq", r"\geq": r"\leq"}
_SEPARATORS = (",", ";", r"\and", r"\or", r"\cup")
_WORD = re.compile(r"(?<![a-zA-Z\\]) ?(and|or)(?![a-zA-Z]) ?")
_NAME = re.compile(
    r"(?:[A-Za-z]|\\[a-z]+ ?)(?:_\{[A-Za-z0-9]+\})?(?:\([A-Za-z](?:,[A-Za-z])*\))?"
    r"|\([A-Za-z](?:,[A-Za-z])+\)"
)
_THOUSANDS = re.compile(r"(?<![\d.,/])[1-9]\d{0,2}(?:,(?:\d{3}| 0\d\d))+(?!\d)")
_MATRIX = re.compile(r"\\begin\{matrix\}((?:(?!\\begin).)*)\\end\{matrix\}", re.DOTALL)
_BRACKETS = ((r"\{", 1), (r"\}", -1), (r"\begin{", 1), (r"\end{", -1))
_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z]) ?")
_CONSTANTS = frozenset((r"\pi", r"\infty", "e", "i"))


def thousands(text: str) -> str:
    """Returns the text with the commas outside of its brackets read as thousands where they can be.

    "40,200" is one number or two. The comparison tries both (see `symbolic`).
    """
    steps = dict(_depths(text))
    depth = list(accumulate(steps.get(at, 0) for at in range(len(text))))
    return _THOUSANDS.sub(lambda m: m[0] if depth[m.start()] else re.sub(", ?", "", m[0]), text)


def read(text: str) -> Node:
    """Reads the shape of a normalised text. Raises Unreadable."""
    text = text.strip()
    if not text:
        raise Unreadable("an empty part")
    if r"\ldots" in text:
        raise Unreadable("dots")
    if text in (r"\emptyset", r"\{\}"):
        return Many("set", ())
    if text == r"\mathbb{R}":
        return Bracketed("(", ")", (Scalar(r"-\infty"), Scalar(r"\infty")))
    text = _WORD.sub(r"\\\1 ", text)
    parts, signs = split(text, _SEPARATORS)
    if signs:
        return _several(parts, signs)
    sides, signs = split(text, (r"\in", *_SIGNS))
    if signs:
        return _relation([side.strip() for side in sides], signs)
    if text.startswith(r"\{") and (found := _bracketed(text)):
        return found
    if len(_PLUS_MINUS.findall(text)) == 1:
        both = (_PLUS_MINUS.sub(sign, text).removeprefix("+") for sign in "+-")
        return Many("list", tuple(read(one) for one in both))
    if match := _MATRIX.fullmatch(text):
        rows = (row for row in match[1].split(r"\\") if row.strip())
        return Matrix(tuple(tuple(read(cell) for cell in row.split("&")) for row in rows))
    return _bracketed(text) or Scalar(text)


def _several(parts: list[str], signs: list[str]) -> Node:
    parts = [part for part in parts if part.strip()]
    if set(signs) == {r"\cup"}:
        return Many("union", tuple(read(part) for part in parts))
    if r"\cup" in signs:
        raise Unreadable("a union inside of a list")
    head, equals, rest = parts[0].partition("=")
    if equals and _NAME.fullmatch(head.strip()) and not any("=" in part for part in parts[1:]):
        if not re.search(r"[<>]|\\(?:leq|geq|neq|in)\b", "".join(parts)):
            return Named(head.strip(), _several([rest, *parts[1:]], signs))
    items = _values(parts)
    if len(items) == 1:
        return items[0]
    inequality = any(
        isinstance(item, Relation) or isinstance(getattr(item, "value", None), Bracketed | Many) for item in items
    )
    if inequality and set(signs) == {r"\or"}:
        names = {item.name for item in items if isinstance(item, Named)}
        if len(names) == 1 and all(isinstance(item, Named) for item in items):
            pieces = tuple(item.value for item in items if isinstance(item, Named))
            return Named(names.pop(), Many("union", pieces))
    return Many("system" if inequality else "list", items)


def _values(parts: list[str]) -> tuple[Node, ...]:
    r"""Returns the values of a list or a set; `\pm 2` in it is two of them."""
    nodes = [read(part) for part in parts]
    return tuple(
        chain.from_iterable(node.items if isinstance(node, Many) and node.kind == "list" else (node,) for node in nodes)
    )


def _relation(sides: list[str], signs: list[str]) -> Node:
    left, sign, right = sides[0], signs[0], sides[-1]
    if not all(sides):
        raise Unreadable("a relation without a side")
    if r"\in" in signs:
        if len(signs) > 1:
            raise Unreadable("a chain of relations")
        return Named(left, read(right))
    if set(signs) == {"="}:
        if _NAME.fullmatch(left) and left.strip() not in _CONSTANTS:
            return Named(left.strip(), read(right))
        if len(signs) > 1:
            raise Unreadable("a chain of equations")
        return Relation(left, "=", right)
    if len(signs) == 1:
        if sign == r"\neq":
            return Relation(left, sign, right)
        if _variable(right) and not _variable(left):
            left, sign, right = right, _FLIPPED[sign], left
        if _variable(left):
            return Named(left.strip(), _ray(sign, right))
        if sign in (">", r"\geq"):
            left, sign, right = right, _FLIPPED[sign], left
        return Relation(left, sign, right)
    if len(signs) == 2 and _variable(sides[1]):
        low, name, high = sides
        if set(signs) <= {">", r"\geq"}:
            low, high, signs = high, low, [_FLIPPED[one] for one in reversed(signs)]
        if set(signs) <= {"<", r"\leq"}:
            ends = "(" if signs[0] == "<" else "[", ")" if signs[1] == "<" else "]"
            return Named(name.strip(), Bracketed(*ends, (read(low), read(high))))
    raise Unreadable("a chain of relations")


def _ray(sign: str, bound: str) -> Bracketed:
    value = read(bound)
    if sign in ("<", r"\leq"):
        return Bracketed("(", ")" if sign == "<" else "]", (Scalar(r"-\infty"), value))
    return Bracketed("(" if sign == ">" else "[", ")", (value, Scalar(r"\infty")))


def _variable(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and text.strip() not in _CONSTANTS


def _bracketed(text: str) -> Node | None:
    opening = r"\{" if text.startswith(r"\{") else text[0]
    end = r"\}" if text.endswith(r"\}") else text[-1]
    if opening not in ("(", "[", r"\{") or end not in (")", "]", r"\}") or not _is_enclosed(text):
        return None
    inner = text[len(opening) : -len(end)]
    parts, signs = split(inner, (",", ";"))
    if (opening == r"\{") != (end == r"\}"):
        raise Unreadable("brackets that do not match")
    if opening == r"\{":
        if re.search(r"\||\\mid|:", inner):
            raise Unreadable("a set by a condition")
        return Many("set", _values(parts))
    if not signs:
        return read(inner) if (opening, end) == ("(", ")") or _MATRIX.fullmatch(inner) else None
    return Bracketed(opening, end, tuple(read(part) for part in parts))


def _is_enclosed(text: str) -> bool:
    """Returns whether the first bracket closes with the last; any kind closes any, as in [0,1)."""
    depth = 0
    for position, step in _depths(text):
        depth += step
        if depth == 0:
            return position >= len(text) - 2 and position + 1 >= len(text) - (text[-2:] == r"\}")
    return False


def _depths(text: str) -> Iterator[tuple[int, int]]:
    """Yields (position, +1 or -1) of the brackets outside of braces."""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            step = next((step for sign, step in _BRACKETS if text.startswith(sign, at)), 0)
            if step:
                yield at, step
            at += 2
            continue
        if text[at] in "([":
            yield at, 1
        elif text[at] in ")]":
            yield at, -1
        elif text[at] == "{" and (end := closing(text, at)) is not None:
            at = end
        at += 1


def split(text: str, separators: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Cuts a text at the separators outside of every bracket, and also returns those met."""
    parts, met, start, at, depth = [], [], 0, 0, 0
    steps = dict(_depths(text))
    while at < len(text):
        depth += steps.get(at, 0)
        if text[at] == "{" and (end := closing(text, at)) is not None:
            at = end + 1
            continue
        found = next((one for one in separators if depth == 0 and text.startswith(one, at)), "")
        if found.startswith("\\") and text[at + len(found) : at + len(found) + 1].isalpha():
            found = ""  # the beginning of another command
        if found:
            parts.append(text[start:at])
            met.append(found)
            at += len(found)
            start = at
            continue
        at += 2 if text[at] == "\\" else 1
    parts.append(text[start:])
    return parts, met
