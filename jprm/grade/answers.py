"""Finding the final answer that a text states."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?<=\s)([-+]?\w[\w./,]*)|([-+]?\d[\d./,]*))")
_LABEL = r"(?:[Ff]inal[ ]+)?[Aa]nswer|(?:FINAL[ ]+)?ANSWER"
_MARKS = r"[*_]*"
_END = r"(?=\.?\s*(?:\n|\Z)|\.\s)"  # of the sentence or the line
_STATED = re.compile(
    rf"####[ ]*(?![*_ ]*(?:{_LABEL})[*_: ]*$)(?P<marked>[^\n]+)"
    rf"|(?:{_LABEL}){_MARKS}(?:[ ]is:?|:){_MARKS}(?:[ ]+|\s*\n\s*)(?P<said>\S[^\n]*?){_END}"
    # a heading of its own, and the first line below it
    rf"|^[#*_ ]*(?:{_LABEL})[#*_: ]*\n\s*(?P<below>\S[^\n]*?){_END}",
    re.MULTILINE,
)
_HEADING = re.compile(rf"[*_ ]*(?:{_LABEL})[*_: ]*")
_BOLD = re.compile(r"(?<!\w)\*\*|\*\*(?!\w)")  # not the power of 2**3
# A sentence about the answer, which states none.
_PROSE = re.compile(
    r"(?:(?:not|indeed|also|thus|therefore|hence|now|then|clearly|probably|definitely)\s+)*"
    r"(?:in)?(?:correct|right|wrong|valid|true|false|verified|consistent|confirmed|reasonable|"
    r"plausible|unique|given|as above|the same)\b",
    re.IGNORECASE,
)
_NUMERIC = re.compile(
    r"[\s*$(\[{|]*(?:[-+.]?\d|[-+]?\\|[A-Za-z](?:\s*=|[\s.*)]*\Z)|[-+]?[A-Za-z]?[\d(])"
)


def final_answer(text: str) -> str | None:
    r"""The last answer stated as `\boxed{..}`, `#### ..`, `Answer: ..`; else None.

    A box counts only when its braces balance, nested ones included; one that was cut off is passed
    over. A box inside of an `Answer: ..` is the answer, without the words around it. An answer may
    stand in the line below its label. Behind a box, words count only where they begin as an answer
    does ("we check that the answer is correct" states none).
    """
    boxes: dict[int, str] = {}
    for match in _BOX.finditer(text):
        bare = match[1] or match[2]
        end = None if bare else closing(text, match.end() - 1)
        if bare:
            boxes[match.start()] = bare.rstrip(".,/")
        elif end is not None:
            boxes[match.start()] = text[match.end() : end]
    first = min(boxes, default=len(text))
    stated = {
        at: said for at, said in _statements(text) if at < first or _NUMERIC.match(said)
    } | boxes
    if not stated:
        return None
    return _BOLD.sub("", stated[max(stated)]).strip().rstrip(".").strip() or None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(where, what) of the answers that are stated in words."""
    for match in _STATED.finditer(text):
        said = match["marked"] or match["said"] or match["below"]
        if not _HEADING.fullmatch(said) and not _PROSE.match(_BOLD.sub("", said).strip()):
            yield match.start(), said


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
