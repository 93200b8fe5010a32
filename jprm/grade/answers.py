"""Finding the final answer that a text states."""

import re
from collections.abc import Iterator

_BOX = re.compile(
    r"\\(?:boxed|fbox)\s*(?:\{|(?<=\s)([-+]?\w[\w./,]*)|([-+]?\d[\d./,]*)"
    r"|([-+]?\d*\\(?:[dt]?frac|sqrt)\s?(?:\{[^{}]*\}|[\d./])*))"
)
_LABEL = r"(?:[Ff]inal[ ]+)?[Aa]nswer|(?:FINAL[ ]+)?ANSWER"
_OURS = r"[*_]*(?:(?:[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore),?[ ])?(?:[Tt]he|[Oo]ur|[Mm]y)[ ]"
_BULLET = r"(?:(?<=\n)[-*][ ]+)?"
_MARKS = r"[*_]*"
_END = r"(?=\.?\s*(?:\n|\Z)|\.\s)"  # of the sentence or the line
_STATED = re.compile(
    rf"####[ ]*(?![*_ ]*(?:{_LABEL})[*_: ]*$)(?P<marked>[^\n]+)"
    # a label, perhaps of a sentence that has one of its own ("Final answer: the answer is 5")
    rf"|(?:(?:{_OURS})?(?:{_LABEL}){_MARKS}(?:[ ]is:?|[:\uff1a]){_MARKS}"
    r"(?:[ ]+(?!\n)|[ \t\r]*\n\s*|(?<=\uff1a))){1,2}"
    rf"{_BULLET}(?P<said>\S[^\n]*?)(?<=\S){_END}"
    r"|<answer>(?P<tagged>[^<]+)</answer>"
    # a heading of its own, and the first line below it
    rf"|^[#*_ ]*(?:{_LABEL})[#*_: ]*\n(?:[=-]{{3,}}[ \r]*\n)?\s*{_BULLET}(?P<below>\S[^\n]*?)(?<=\S){_END}",
    re.MULTILINE,
)
_HEADING = re.compile(rf"[*_ ]*(?:{_LABEL})[*_: ]*")
_BOLD = re.compile(r"(?<!\w)\*\*|\*\*(?!\w)|`")  # not the power of 2**3
# A sentence about the answer, which states none.
_PROSE = re.compile(
    r"(?:(?:not|indeed|also|thus|therefore|hence|now|then|clearly|probably|definitely)\s+)*"
    r"(?:in)?(?:correct|right|wrong|valid|true|false|verified|consistent|confirmed|reasonable|"
    r"plausible|unique|given|as above|the same)\b",
    re.IGNORECASE,
)
_NUMERIC = re.compile(r"[\s*$(\[{|]*(?:[-+.]?\d|[-+]?\\|[A-Za-z](?:\s*=|[\s.*)]*\Z)|[-+]?[A-Za-z]?[\d(])")


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"[][{}()]")

Span = tuple[int, int]


def final_answer(text: str) -> str | None:
    r"""Returns the last answer stated as `\boxed{..}`, `#### ..`, `Answer: ..`; else None.

    A box counts only when its braces balance, nested ones included; one that was cut off is passed
    over. A box inside of an `Answer: ..` is the answer, without the words around it. An answer may
    stand in the line below its label. Behind a box, words count only where they begin as an answer
    does ("we check that the answer is correct" states none).
    """
    stated = list(_boxes(text))
    first = min(stated, default=(len(text),))[0]
    stated += [(at, span) for at, span in _statements(text) if at < first or _NUMERIC.match(text[slice(*span)])]
    return _last(text, stated)


def last_box(text: str) -> str | None:
    r"""Returns what the last `\boxed{..}` of a text holds; None where there is none, or it is empty.

    Worked solutions of MATH state their answer there, and may go on to check it in words.
    """
    return _last(text, list(_boxes(text)))


def _last(text: str, stated: list[tuple[int, Span]]) -> str | None:
    if not stated:
        return None
    start, end = max(stated)[1]
    return _BOLD.sub("", text[start:end]).strip().rstrip(".,/").strip() or None


def _boxes(text: str) -> Iterator[tuple[int, Span]]:
    """Yields (where, the characters inside) of the boxes that close."""
    ends = closings(text)
    for match in _BOX.finditer(text):
        bare = match.lastindex
        end = match.end(bare) if bare else ends.get(match.end() - 1)
        if end is not None:
            yield match.start(), (match.start(bare) if bare else match.end(), end)


def _statements(text: str) -> Iterator[tuple[int, Span]]:
    """Yields (where, the characters) of the answers that are stated in words."""
    for match in _STATED.finditer(text):
        span = match.span(match.lastgroup or 0)
        said = _BOLD.sub("", text[slice(*span)]).strip()
        if not _HEADING.fullmatch(said) and not _PROSE.match(said):
            yield match.start(), span


def closings(text: str) -> dict[int, int]:
    r"""Returns where each brace that opens closes (`\{` and `\}` are letters), in one pass."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            ends[opened.pop()] = match.start()
    return ends


def depth(text: str) -> int:
    """Returns how many brackets of any kind are open at once, at most."""
    deepest = level = 0
    for match in _BRACKET.finditer(text):
        level = level + 1 if match[0] in "{[(" else max(0, level - 1)
        deepest = max(deepest, level)
    return deepest


def closing(text: str, at: int) -> int | None:
    r"""Returns where the brace that opens at `at` closes (`\{` and `\}` are letters), or None."""
    level = 0
    for match in _BRACE.finditer(text, at):
        level += {"{": 1, "}": -1}.get(match[0], 0)
        if level == 0 and match[0] == "}":
            return match.start()
    return None
