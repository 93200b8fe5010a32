r"""What mechanical rewritings of answers are made of: their table, and how a text is cut.

`SAME` maps a rule's name to texts that say what the answer says; `OTHER` to texts that say something
else. A rule gives nothing where it does not apply, works on the letters of the text and knows nothing
of the grader.
"""

import re
from collections.abc import Callable, Iterator

Rule = Callable[[str], Iterator[str]]
SAME: dict[str, Rule] = {}
OTHER: dict[str, Rule] = {}

TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm|begin|end)\s*\{[^{}]*\}")
TOKEN = re.compile(
    TEXT.pattern + r"|\d[\d.]*(?:(?:,(?:\\!)?|\{,\})\d{3}(?!\d))+(?:\.\d+)?|\d+\.?\d*|\.\d+"
    r"|\\\\|\\[a-zA-Z]+|\\.|[a-zA-Z]+|\s+|."
)
NUMBER = re.compile(r"(-?)(\d+)(\.\d+)?")
FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
MIXED = re.compile(r"(\d+)\s*\\[dt]?frac\{(\d+)\}\{(\d+)\}")
UNIT = re.compile(r"(.*[\d}])\s*(?:\\ )?\\(?:text|mbox)\{\s*([a-z]{2,}(?: [a-z]+)*)\.?\s*\}(\^2)?")
WORD = re.compile(r"\\text\{([A-Z]?[a-z]{2,})\}")
CHOICE = re.compile(r"\\text\{\(([A-Z])\)\}")
INTERVAL = re.compile(r"([(\[])([^()\[\]]*),([^()\[\]]*)([)\]])")
BASED = re.compile(r"(\w+)_\{?(\d+)\}?")
MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
LETTERS = "xyzabnmk"


def same(name: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        SAME[name] = rule
        return rule

    return enter


def other(name: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        OTHER[name] = rule
        return rule

    return enter


def plain(text: str) -> bool:
    """Whether a text is one formula: no sentence, no dollar signs inside of it."""
    bare = TEXT.sub(" ", text)
    bare = re.sub(r"\\(?!phantom)[a-zA-Z]+", "", bare)
    return bool(text) and not re.search(r"(?<!\\)\$|[a-z]{3,} [a-z]|[.!:]\s+\S|\\\[|f\(x|phantom", bare)


def elements(text: str) -> list[str]:
    """The parts of a text between the commas outside of every bracket and brace."""
    parts, depth = [""], 0
    for token in TOKEN.findall(text):
        depth += (token in ("(", "[", "{", r"\{")) - (token in (")", "]", "}", r"\}"))
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def swap(text: str, *pairs: tuple[str, str]) -> Iterator[str]:
    """The text after each replacement that changes it; a pattern and its template."""
    for pattern, new in pairs:
        if (changed := re.sub(pattern, new, text)) != text:
            yield changed
