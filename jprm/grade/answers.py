"""Finding the final answer that a text states."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_STATED = re.compile(
    r"####[ ]*([^\n]+)"
    r"|[Aa]nswer(?: is:?|:)[ ]+(\S[^\n]*?)(?=\.?\s*(?:\n|\Z)|\.\s)"  # up to the sentence's end
)


def final_answer(text: str) -> str | None:
    r"""The last answer stated as `\boxed{..}`, `#### ..`, `Answer: ..`; else None.

    A box counts only when its braces balance, nested ones included; one that was cut off is passed
    over. A box inside of an `Answer: ..` is the answer, without the words around it.
    """
    stated = {match.start(): match.group(1) or match.group(2) for match in _STATED.finditer(text)}
    for match in _BOX.finditer(text):
        end = closing(text, match.end() - 1)
        if end is not None:
            stated[match.start()] = text[match.end() : end]
    if not stated:
        return None
    return stated[max(stated)].strip().rstrip(".").strip() or None


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
