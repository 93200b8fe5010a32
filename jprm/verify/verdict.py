r"""Reading a verdict: the first box of its section holds one of two words, or there is no verdict.

`\boxed{Yes}`, `\boxed{ **Yes.** }` and `\boxed{\text{Yes}}` say Yes; a box that repeats the question
(`\boxed{Yes/No}`), one that holds something else and one that was cut off say nothing, and what they held is counted by
its kind. The published program takes the first "Yes}" or "No}" of all that was written; `first_word` reads as it does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jprm.grade.answers import closings

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_OPEN = re.compile(r"\s*(?=\{)")
_BARE = re.compile(r"\\(?:boxed|fbox)\b|\\(?:boxed|fbox)\s*\Z")
# What may stand around the word: blanks, stops, marks of Markdown and of LaTeX, quotes.
_EDGES = ".,;:!*_`$'~\"\u2018\u2019\u201c\u201d"
_SPACING = ("\\ ", "\\,", "\\;", "\\:", "\\!")
_FONT = re.compile(r"\\(?:(?:text|math)[a-z]*|emph|underline|bf|rm|bm|boldsymbol|operatorname|[mhf]box|boxed)\s*(?=\{)")
_STYLE = re.compile(
    r"\\(?:bf|it|rm|sf|tt|em|[a-z]+(?:series|shape)|(?:display|text)style|[lL]arge|LARGE|huge|Huge|q?quad)"
    r"(?![a-zA-Z])\s*(?!\s*\{)"
)
_NUMBER = re.compile(r"[-+]?\s*[\d.,/]*\d[\d.,/]*")


@dataclass(frozen=True)
class Reading:
    """The verdict that was read in a section, or the reason why there is none.

    correct: None where the section says nothing; then `unread` is the kind of what stands there.
    at: where the word begins in the text that was read.
    """

    correct: bool | None
    unread: str = ""
    at: int = 0


def first_box(text: str, yes: str, no: str, any_case: bool, opened: bool) -> Reading:
    """Reads the verdict in the first box of a section; `opened` says that the text begins behind its `\\boxed`."""
    found = (_OPEN.match(text) if opened else None) or _BOX.search(text)
    if found is None:
        cut_off = opened and not text.strip() or _BARE.search(text)
        return Reading(None, "cut off" if cut_off else "no box")
    ends = closings(text)
    if found.end() not in ends:
        return Reading(None, "cut off")
    first, last = _inside(text, found.end() + 1, ends[found.end()], ends)
    word = text[first:last]
    for candidate, correct in ((yes, True), (no, False)):
        if word == candidate or (any_case and word.casefold() == candidate.casefold()):
            return Reading(correct, at=first)
    return Reading(None, _kind(word, yes, no))


def first_word(text: str, yes: str, no: str) -> Reading:
    """Reads the first "Yes}" or "No}" of a text, in any case, as the published program does."""
    found = re.search(rf"({re.escape(yes)}|{re.escape(no)})\}}", text, re.IGNORECASE)
    if found is None:
        return Reading(None, "no box")
    return Reading(found[1].casefold() == yes.casefold(), at=found.start())


def boxed(text: str) -> Iterator[tuple[int, str]]:
    """Yields (where it begins, what it holds without marks) for every box whose braces balance."""
    ends, first = closings(text), 0
    for found in _BOX.finditer(text):
        if found.end() in ends and found.start() >= first:  # else it is a mark of the last one
            first, last = _inside(text, found.end() + 1, ends[found.end()], ends)
            yield found.start(), text[first:last]


def bare(text: str) -> str:
    """Strips blanks, punctuation, quotes and marks of Markdown or LaTeX from both ends of a text."""
    first, last = _inside(text, 0, len(text), closings(text))
    return text[first:last]


def _inside(text: str, first: int, last: int, ends: Mapping[int, int]) -> tuple[int, int]:
    """Returns where the content of a box begins and ends once the marks around it are taken off."""
    while True:
        before = first, last
        while first < last and (text[first].isspace() or text[first] in _EDGES):
            first += 1
        while first < last and (text[last - 1].isspace() or text[last - 1] in _EDGES + "\\"):
            last -= 1
        if text.startswith(_SPACING, first, last):
            first += 2
        if style := _STYLE.match(text, first, last):
            first = style.end()
        font = _FONT.match(text, first, last)
        opening = font.end() if font else first
        if first < last and ends.get(opening) == last - 1:
            first, last = opening + 1, last - 1
        if (first, last) == before:
            return first, last


def _kind(content: str, yes: str, no: str) -> str:
    """Returns the kind of a box that holds neither word alone."""
    words = {
        word.casefold() for word in (yes, no) if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", content, re.IGNORECASE)
    }
    if len(words) == 2:
        return "box holds both words"
    if content.casefold() in words:
        return "box holds the word in another case"
    if words:
        return "box holds more than the word"
    if not content:
        return "box is empty"
    return "box holds a number" if _NUMBER.fullmatch(content) else "box holds another text"
