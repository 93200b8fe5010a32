"""How the text of a solution is cut into steps.

Invariant: nothing is lost. The steps of a text, joined, are the text; only a text that does not end with a newline gets
one, as all steps of records end with it, and a blank text has no steps.
"""

import re
from typing import Literal

Layout = Literal["paragraphs", "lines"]

SEPARATORS: dict[Layout, str] = {
    "paragraphs": r"\n(?:[^\S\n]*\n)+",  # a line's end, and the blank lines that follow it
    "lines": r"\n(?:[^\S\n]*\n)*",
}
STEP_ENDS: dict[Layout, str] = {"paragraphs": "\n\n", "lines": "\n"}  # the text that ends a step


def split(text: str, separator: re.Pattern[str]) -> tuple[str, ...]:
    """Returns the steps of a text, each with the separator that ends it.

    A separator may be empty, as in a lookahead at "Step 2:". Blank pieces belong to the step before them, and in front
    of the first step to that.
    """
    pieces: list[str] = []
    start = 0
    for end in (*(match.end() for match in separator.finditer(text)), len(text)):
        piece = text[start:end]
        if piece.strip():
            pieces.append(piece)
        elif pieces:
            pieces[-1] += piece
        else:
            continue  # blank so far: the first step begins with it
        start = end
    if pieces and not pieces[-1].endswith("\n"):
        pieces[-1] += "\n"
    return tuple(pieces)
