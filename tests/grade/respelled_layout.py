"""Respellings that change how a formula is set: wrappers, blanks, braces, commands."""

import re
from collections.abc import Iterator

from tests.grade.rules import FRACTION, MATRIX, TEXT, TOKEN, same, swap


@same("wrapped")
def _(text: str) -> Iterator[str]:
    yield from (f"${text}$", f"$${text}$$", rf"\({text}\)", rf"\[{text}\]", rf"\boxed{{{text}}}")
    yield from (f"${text}$.", f"{text}.", f"  {text} ", f"{{{text}}}", rf"\displaystyle {text}")
    yield from (f"**{text}**", rf"$\boxed{{{text}}}$.", rf"{text}\,", rf"\ {text}", f"{text}\n")
    yield from (rf"\displaystyle{{{text}}}", f"$ {text} $", rf"\({text}\).", rf"\boxed{{{text}}}.")


@same("blanks")
def _(text: str) -> Iterator[str]:
    tokens = TOKEN.findall(text)
    tight = ""
    for token in tokens:
        if not token.isspace():
            glued = re.search(r"(?:\\[a-zA-Z]+|[a-zA-Z])$", tight) and token[0].isalpha()
            digits = re.search(r"\d$", tight) and token[0].isdigit()
            tight += " " * bool(glued or digits) + token
    yield tight
    loose = ["\n" if token.isspace() else token for token in tokens]
    yield "".join(loose)
    if not re.search(r"[a-zA-Z]:|\d:|\\ |_", text):
        yield " ".join(token for token in tokens if not token.isspace())
    yield from swap(text, (r"\s+", "  "), (r",\s+", r",\\, "), (r",\s+", r",\\;"), (r",\s+", ",~"))
    yield from swap(text, (r",\s+", r",\\ "), (r"\s+", r" \\! "), (r",\s+", r",\\quad "))


@same("commas")
def _(text: str) -> Iterator[str]:
    if not re.search(r"\d,(?:\\!|)\d{3}(?!\d)", text) and "{,}" not in text:
        yield from swap(text, (r"(?<!\\),\s*", ", "), (r"(?<!\\),\s*(?!\d{3})", ","), (r"(?<!\\),\s*", " , "))


@same("left and right")
def _(text: str) -> Iterator[str]:
    if r"\left" in text:
        yield from swap(text, (r"\\(left|right)(?![a-z])\s*", ""), (r"\\(left|right)(?=[(\[)\]])", r"\\\1 "))
        yield from swap(text, (r"\\left(?![a-z])", r"\\bigl"), (r"\\right(?![a-z])", r"\\bigr"))
    elif len(re.findall(r"[(\[]", text)) == len(re.findall(r"[)\]]", text)) and "sqrt[" not in text:
        if not TEXT.search(text):
            yield from swap(re.sub(r"([)\]])", r"\\right\1", text), (r"([(\[])", r"\\left\1"))
            yield from swap(re.sub(r"([)\]])", r" \\Big\1", text), (r"([(\[])", r"\\Big\1 "))


@same("sizes of fractions")
def _(text: str) -> Iterator[str]:
    yield from (re.sub(r"\\[dt]?frac(?![a-z])", rf"\\{one}", text) for one in ("frac", "dfrac", "tfrac"))
    single = r"\\([dt]?)frac\{(\d)\}\{(\d)\}"
    yield from swap(text, (single, r"\\\1frac\2\3"), (single, r"\\\1frac \2 \3"), (single, r"\\\1frac\2{\3}"))
    yield from swap(text, (r"\\([dt]?)frac\{([^{}]*)\}\{([^{}]*)\}", r"\\\1frac { \2 } { \3 }"))


@same("slashes")
def _(text: str) -> Iterator[str]:
    if match := FRACTION.fullmatch(text):
        sign, top, bottom = match.groups()
        yield from (f"{sign}{top}/{bottom}", f"{sign} {top} / {bottom}", f"{sign}({top}/{bottom})")
        if sign:
            yield from (rf"\frac{{-{top}}}{{{bottom}}}", rf"\frac{{{top}}}{{-{bottom}}}", f"(-{top})/{bottom}")
    yield from swap(text, (r"(?<![\d}])\\[dt]?frac\{(\d+)\}\{(\d+)\}(?![\w\\({^])(?! *[\\\w({])", r"\1/\2"))


@same("braces")
def _(text: str) -> Iterator[str]:
    if not TEXT.search(text):
        yield from swap(text, (r"([\^_])(\d)(?!\d)", r"\1{\2}"), (r"([\^_])\{(\w)\}", r"\1\2"))
        yield from swap(text, (r"([\^_])\{([^{}]*)\}", r"\1{{\2}}"), (r"([\^_])\{([^{}]*)\}", r"\1{ \2 }"))
        if r"\frac" not in text and "sqrt" not in text and "," not in text:
            yield from swap(text, (r"(?<![\w.^{:])([a-z])\^", r"{\1}^"), (r"^(-?)(\d+)$", r"\1{\2}"))


@same("products")
def _(text: str) -> Iterator[str]:
    yield from swap(
        text,
        (r"\\cdot(?![a-z])", r"\\times"),
        (r"\\times(?![a-z])", r"\\cdot"),
        (r"\\(?:cdot|times)(?![a-z])\s*", "*"),
        (r"\\cdot(?![a-z])", "·"),
        (r"\\times(?![a-z])", "×"),
    )
    if not TEXT.search(text):
        for sign in (r"\\cdot ", r"\\times ", "*", " "):
            yield from swap(text, (r"(?<![\d^_{.}])(\d+)\s*(?=\\(?:sqrt|pi)(?![a-z]))", rf"\1{sign}"))


@same("roots")
def _(text: str) -> Iterator[str]:
    root = r"\\sqrt\s*\{(\w+)\}"
    yield from swap(text, (r"\\sqrt\s*\{(\w)\}", r"\\sqrt \1"), (r"\\sqrt\s*\{(\d)\}", r"\\sqrt\1"))
    yield from swap(text, (root, r"√{\1}"), (root, r"√(\1)"), (root, r"\\sqrt{{\1}}"))
    yield from swap(text, (root, r"\\sqrt[2]{\1}"), (root, r"\\sqrt{ \1 }"))
    yield from swap(text, (r"\\sqrt\s*(\d)(?!\d)", r"\\sqrt{\1}"))
    if not re.search(r"\w\s*\\sqrt|_", text):
        yield from swap(text, (r"\\sqrt\s*\{(\d+)\}", r"{\1}^{1/2}"), (r"\\sqrt\s*\{(\d+)\}", r"sqrt(\1)"))


@same("infinity")
def _(text: str) -> Iterator[str]:
    yield from swap(
        text,
        (r"(?<!-)(?<!- )\\infty", r"+\\infty"),
        (r"\\infty", "∞"),
        (r"\\infty", r" \\infty "),
        (r"\\infty", "infinity"),
    )


@same("relations")
def _(text: str) -> Iterator[str]:
    for signs in (
        (r"\\le(?:q)?(?![a-z])", r"\\le ", r"\\leq ", "≤", "<=", r"\\leqslant "),
        (r"\\ge(?:q)?(?![a-z])", r"\\ge ", r"\\geq ", "≥", ">=", r"\\geqslant "),
    ):
        for new in signs[1:]:
            yield from swap(text, (signs[0], new))
    yield from swap(text, (r"\s*=\s*", "="), (r"\s*=\s*", " = "), (r"\s*=\s*", "&="))
    if match := re.fullmatch(r"[a-z]\s*=\s*(.*)", text):
        if not re.search("[a-z=]", re.sub(r"\\[a-z]+", "", match[1])):
            yield match[1]


@same("matrices")
def _(text: str) -> Iterator[str]:
    if match := MATRIX.fullmatch(text):
        body = match[1]
        columns = "c" * (body.split(r"\\")[0].count("&") + 1)
        build = r"\begin{{pmatrix}}{}\end{{pmatrix}}".format
        rows = [row.strip() for row in body.split(r"\\")]
        for one in (r"\\", r"\\ ", "\\\\\n", r" \\ ", r"\\[4pt]", r"\\[0.3em] ", r" \cr ", r"\\\,", "\\\\\t"):
            yield build(one.join(rows))
        if not re.search(r"\\[a-z]+ ", body):
            yield build(re.sub(r"\s+", "", body))
        yield build(body.replace("&", " & "))
        yield build(body + r"\\")
        yield build(re.sub(r"(?<![\w}])(\d+)/(\d+)(?!\w)", r"\\frac{\1}{\2}", body))
        yield rf"\begin{{bmatrix}}{body}\end{{bmatrix}}"
        yield rf"\left(\begin{{matrix}}{body}\end{{matrix}}\right)"
        yield rf"\left[ \begin{{array}}{{{columns}}}{body}\end{{array}} \right]"
        yield rf"\left(\begin{{array}}{{{columns}}} {body} \end{{array}}\right)"
        yield rf"\left(\begin{{smallmatrix}}{body}\end{{smallmatrix}}\right)"
        yield f"A = {text}"
