"""Finding the final answer that a text states."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_STATED = re.compile(
    r"####[ ]*([^\n]+)"
    r"|[Aa]nswer(?: is:?|:)[ ]+(\S[^\n]*?)(?<=\S)(?=\.?\s*(?:\n|\Z)|\.\s)"  # to its sentence's end
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"[][{}()]")


def final_answer(text: str) -> str | None:
    r"""The last answer stated as `\boxed{..}`, `#### ..`, `Answer: ..`; else None.

    A box counts only when its braces balance, nested ones included; one that was cut off is passed
    over. A box inside of an `Answer: ..` is the answer, without the words around it. The time grows
    with the length of the text, whatever is nested in it.
    """
    stated = [(match.start(), match.span(match.lastindex or 0)) for match in _STATED.finditer(text)]
    ends = closings(text)
    for match in _BOX.finditer(text):
        if (end := ends.get(match.end() - 1)) is not None:
            stated.append((match.start(), (match.end(), end)))
    if not stated:
        return None
    _, (first, last) = max(stated)
    return text[first:last].strip().rstrip(".").strip() or None


def closings(text: str) -> dict[int, int]:
    r"""Where each brace that opens closes (`\{` and `\}` are letters), in one pass."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            ends[opened.pop()] = match.start()
    return ends


def depth(text: str) -> int:
    """How many brackets of any kind are open at once, at most."""
    deepest = level = 0
    for match in _BRACKET.finditer(text):
        level = level + 1 if match[0] in "{[(" else max(0, level - 1)
        deepest = max(deepest, level)
    return deepest


def closing(text: str, at: int) -> int | None:
    r"""Where the brace that opens at `at` closes (`\{` and `\}` are letters), or None."""
    depth = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None
