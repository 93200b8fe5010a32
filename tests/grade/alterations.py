"""Changes that make another answer of one: a digit, a sign, an entry, the order, a bracket, a row."""

import re
from collections.abc import Iterator

from tests.grade.rules import INTERVAL, LETTERS, MATRIX, TEXT, elements, other


@other("a digit")
def _(text: str) -> Iterator[str]:
    if "_" in text:
        return  # 9 is no digit in base 9, and 1 is the same in every base
    for match in re.finditer(r"\d", re.sub(TEXT, lambda m: "x" * len(m[0]), text)):
        digit = (int(text[match.start()]) + 1) % 10
        yield text[: match.start()] + str(digit) + text[match.end() :]


@other("a sign")
def _(text: str) -> Iterator[str]:
    for match in re.finditer(r"(?<!\\)[-+](?!\s*0\b)", text):
        new = "-" if match[0] == "+" else "+"
        yield text[: match.start()] + new + text[match.end() :]
    if "," not in text and re.fullmatch(r"[\d.]*[1-9][\d.]*|\\[dt]?frac\{\d+\}\{\d+\}", text):
        yield f"-{text}"


@other("an entry")
def _(text: str) -> Iterator[str]:
    bare = re.sub(r"\\(?:left|right)", "", text).strip()
    match = re.fullmatch(r"(\(|\[|\\\{)(.*?)(\)|\]|\\\})", bare)
    opening, inside, end = match.groups() if match else ("", bare, "")
    parts = elements(inside)
    if len(parts) > 1 and not re.search(r"=|text|infty|cup", text) and len(set(parts)) == len(parts):
        for at in range(len(parts)):
            left = ", ".join(parts[:at] + parts[at + 1 :])
            yield f"{opening}{left}{end}"
        yield f"{opening}{', '.join([*parts, '987'])}{end}"
        if all(re.fullmatch(r"\d+", part) for part in parts):
            yield from ("".join(parts), f"{opening}{''.join(parts)}{end}", parts[-1])


@other("the order")
def _(text: str) -> Iterator[str]:
    bare = re.sub(r"\\(?:left|right)", "", text).strip()
    if match := re.fullmatch(r"([(\[])(.*?)([)\]])", bare):
        parts = elements(match[2])
        for at in range(len(parts) - 1):
            if re.sub(r"\W", "", parts[at]) != re.sub(r"\W", "", parts[at + 1]) and "cup" not in text:
                new = [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]
                yield f"{match[1]}{', '.join(new)}{match[3]}"


@other("a bracket")
def _(text: str) -> Iterator[str]:
    for old, new in (("(", "["), ("[", "("), (")", "]"), ("]", ")")):
        bare = re.sub(r"\\(?:left|right)", "", text)
        if INTERVAL.search(bare) and re.fullmatch(r"[-\d.,()\[\]\s]*", re.sub(r"\\\w+|[{}]", "", bare)):
            for match in re.finditer(re.escape(old), bare):
                if bare[max(0, match.start() - 7) : match.start()].find("infty") < 0 and not re.match(
                    r".\s*-\s*\\infty", bare[match.start() :]
                ):
                    yield bare[: match.start()] + new + bare[match.end() :]
    if match := re.fullmatch(r"\((.*,.*)\)", text):
        yield rf"\{{{match[1]}\}}"


@other("a row")
def _(text: str) -> Iterator[str]:
    if match := MATRIX.fullmatch(text):
        rows = [row.strip() for row in match[1].split(r"\\")]
        build = r"\begin{{pmatrix}} {} \end{{pmatrix}}".format
        yield build(r" \\ ".join(rows[:-1]))
        yield build(r" \\ ".join([*rows, rows[0]]))
        if len(rows) > 1:
            yield build(" & ".join(rows))
            yield build("".join(rows))
        for at in range(len(rows) - 1):
            if rows[at] != rows[at + 1]:
                yield build(r"\\".join([*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]))


@other("a letter")
def _(text: str) -> Iterator[str]:
    for match in re.finditer(r"(?<![a-zA-Z\\])[a-z](?![a-zA-Z])", TEXT.sub(lambda m: "0" * len(m[0]), text)):
        if (
            not re.match(r"[a-z]\s*(?:=|\\in)", text)
            and match[0] not in "ei"
            and "(" not in text[match.end() : match.end() + 1]
        ):
            letter = next(one for one in LETTERS if one not in text)
            yield text[: match.start()] + letter + text[match.end() :]
