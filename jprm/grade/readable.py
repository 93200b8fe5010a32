r"""Whether an answer can be the right one that others are compared with: said from its shape, without mathematics.

An answer that no comparison can read is equal to its own spelling alone, so every other spelling of it would be graded
wrong. Whoever reads right answers from a file leaves it out. What only the mathematics would refuse (`1 + + 2`) passes.
"""

import re

from jprm.grade.answers import depth
from jprm.grade.exact import MAX_LENGTH, TOO_LARGE, number, words
from jprm.grade.normal import MAX_DEPTH, normalise
from jprm.grade.shapes import Unreadable, read

_WHOLE = re.compile(r"[-+]?\d{1,300}")
_BRACES = re.compile(r"\\.|([{}])", re.DOTALL)


def unreadable(answer: str) -> str:
    """Says in a few words why no other spelling can be compared with an answer; "" where one can.

    Words and phrases are answers, too: they are compared as text.
    """
    if _WHOLE.fullmatch(answer):
        return ""
    if len(answer) > MAX_LENGTH:
        return TOO_LARGE.reason
    if depth(answer) > MAX_DEPTH:
        return "too deep"
    plain = normalise(answer)
    if not any(character.isalnum() for character in plain) and plain != r"\{\}":
        return "it has no letter and no digit"
    if not _braces_close(plain):
        return "its braces do not close"
    if words(plain):
        return ""
    if number(plain) == TOO_LARGE:
        return TOO_LARGE.reason
    try:
        read(plain)
    except Unreadable as refusal:
        return str(refusal)
    return ""


def _braces_close(text: str) -> bool:
    level = 0
    for match in _BRACES.finditer(text):
        level += {"{": 1, "}": -1}.get(match[1], 0)
        if level < 0:
            return False
    return level == 0
