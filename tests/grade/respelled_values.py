"""Respellings of what an answer is: numbers, units, words, lists, intervals."""

import re
from collections.abc import Iterator
from fractions import Fraction
from math import lcm

from tests.grade.rules import BASED, CHOICE, FRACTION, INTERVAL, MIXED, NUMBER, UNIT, WORD, elements, same, swap


@same("numbers")
def _(text: str) -> Iterator[str]:
    if (match := NUMBER.fullmatch(text)) and not (len(text) > 1 and text[0] == "0" and "." not in text):
        sign, whole, rest = match.groups("")
        value = text if rest else f"{text}.0"
        yield from (value, value + "0", rf"\text{{{text}}}", rf"\mathbf{{{text}}}", f"({text})", f"x={text}")
        yield from (f"x = {text}", f"n={text}", f"k = {text}.", rf"\mathrm{{{text}}}", rf"+{text}"[bool(sign) :])
        if whole == "0" and rest:
            yield sign + rest
        if sign:
            yield from (f"- {whole}{rest}", f"−{whole}{rest}", rf"-\,{whole}{rest}")
        if len(whole) > 3:
            for comma in (",", r",\!", "{,}", r"\,"):
                yield sign + f"{int(whole):,}".replace(",", comma) + rest
    elif text.startswith("."):
        yield "0" + text


@same("thousands")
def _(text: str) -> Iterator[str]:
    groups = r"(?<=\d)(?:,\\!|\{,\})(?=\d{3})"
    yield from swap(text, (groups, ""), (groups, "{,}"), (groups, r"\\,"))
    if not re.search(r"[()\[\]]", text):
        yield from swap(text, (groups, ","), (r"(?<=\d),(?=\d{3}(?!\d))", r",\\!"))


@same("percent")
def _(text: str) -> Iterator[str]:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*\\%", text):
        yield from (
            match[1] + end for end in ("%", " %", r"\ \%", r"\,\%", " percent", r"\text{ percent}", r"\text{\%}")
        )
        yield rf"\frac{{{match[1]}}}{{100}}"


@same("degrees")
def _(text: str) -> Iterator[str]:
    sign = r"\^\s*(?:\\circ(?![a-z])|\{\s*\\circ\s*\})"
    yield from swap(
        text, (sign, r"^{\\circ}"), (sign, "°"), (sign, r"\\degree"), (sign, r" ^ \\circ"), (sign, r"{}^\\circ")
    )
    if re.fullmatch(r"[\d.]+" + sign, text):
        yield from swap(text, (sign, r"\\text{ degrees}"), (sign, " degrees"), (sign, r"\\,^\\circ"), (sign, ""))


@same("units")
def _(text: str) -> Iterator[str]:
    if (match := UNIT.fullmatch(text)) and match[2].split()[0] not in ("or", "and", "base", "in"):
        value, unit, power = match.groups("")
        yield value
        for form in (
            r"\text{ %s}",
            r"\text{%s}",
            r"\ \text{%s}",
            r"\,\mathrm{%s}",
            r"~\mbox{%s}",
            r"\;\textrm{ %s }",
            r" \textbf{ %s}",
            r"\text{ %s.}",
            r"\operatorname{%s}",
            r"\,\rm{%s}",
        ):
            yield value + form % unit + power
        if re.fullmatch(r"[\d.]+", value):
            yield f"{value} {unit}{power}"


@same("money")
def _(text: str) -> Iterator[str]:
    if match := re.fullmatch(r"\\\$\s*([\d.,!\\]+)", text):
        yield from (
            match[1],
            f"${match[1]}",
            rf"\${{{match[1]}}}",
            rf"\$\,{match[1]}",
            rf"{match[1]}\text{{ dollars}}",
            rf"\text{{\$}}{match[1]}",
            rf"$\${match[1]}$",
        )
        if re.fullmatch(r"[\d.]+", match[1]):
            yield from (f"{match[1]} dollars", rf"\mathdollar {match[1]}")


@same("words")
def _(text: str) -> Iterator[str]:
    if match := WORD.fullmatch(text) or re.fullmatch(r"([A-Z]?[a-z]{3,})", text):
        yield from (
            form % match[1]
            for form in (
                "%s",
                r"\text{ %s }",
                r"\textbf{%s}",
                r"\mathrm{%s}",
                r"\text{%s.}",
                "%s.",
                r"\textit{%s}",
                r"\mbox{%s}",
                r"\text{%s}",
                r"\operatorname{%s}",
                r"\textsf{%s}",
                r"{\text{%s}}",
                r"\text{{%s}}",
                r"\texttt{%s}",
            )
        )
        yield from (match[1].lower(), match[1].upper(), rf"\text{{{match[1].lower()}}}")


@same("choices")
def _(text: str) -> Iterator[str]:
    match = CHOICE.fullmatch(text) or re.fullmatch(r"(?:\\text\{)?([A-H])\}?", text)
    if match:
        yield from (
            form % match[1]
            for form in (
                "%s",
                "(%s)",
                r"\text{%s}",
                r"\textbf{(%s)}",
                r"\mathrm{%s}",
                r"(\text{%s})",
                r"\text{(%s) }",
                "%s.",
                r"\textbf{%s}",
                r"\mathbf{(%s)}",
                r"\text{(%s)}.",
                r"\text{\textbf{(%s)}}",
                r"\bf{%s}",
                r"\mathbf{%s}",
            )
        )


@same("order")
def _(text: str) -> Iterator[str]:
    pieces = re.split(r"\s*\\cup\s*", text)
    if len(pieces) > 1 and all(INTERVAL.fullmatch(re.sub(r"\\(?:left|right)", "", piece)) for piece in pieces):
        for sign in (r" \cup ", r"\cup", "∪", " ∪ ", r"\bigcup ", r"\,\cup\,"):
            yield sign.join(piece for piece in reversed(pieces))
    marked = re.fullmatch(r"\\(?:left)?\\?\{(.*?)(?:\\right)?\\\}", text)
    parts = elements(marked[1] if marked else text)
    if len(parts) > 1 and all(parts) and not re.search(r"text|and|or|=|:|\\%|circ|[A-Z]", text):
        for order in (parts, parts[::-1], parts[1:] + parts[:1]):
            joined = ", ".join(order)
            if marked:
                yield from (
                    rf"\{{{joined}\}}",
                    rf"\left\{{{joined}\right\}}",
                    rf"\lbrace {joined} \rbrace",
                    rf"\{{ {joined} \}}",
                    rf"x\in\{{{joined}\}}",
                )
            else:
                yield from (joined, rf"\{{{joined}\}}", f"{', '.join(order[:-1])} and {order[-1]}", rf"x = {joined}")
                yield rf"{', '.join(order[:-1])} \text{{ and }} {order[-1]}"
                yield rf"{', '.join(order[:-1])}, \text{{ or }} {order[-1]}"
                yield from ("; ".join(order), r"$" + "$, $".join(order) + "$", r"$" + "$ and $".join(order) + "$")
                if not re.search(r"\d,\d{3}(?!\d)", one := ",".join(order)):
                    yield one


@same("plus or minus")
def _(text: str) -> Iterator[str]:
    if text.count(r"\pm") == 1 and "," not in text:
        both = [re.sub(r"\\pm(?![a-z])\s*", sign, text) for sign in "+-"]
        yield from (
            ", ".join(both).lstrip("+"),
            ", ".join(both[::-1]),
            text.replace(r"\pm", "±"),
            rf"\{{{both[0].lstrip('+')}, {both[1]}\}}",
        )
    elif match := re.fullmatch(r"(.*\w)\s*\+\s*(\d*\\sqrt\{?\d+\}?),\s*(.*\w)\s*-\s*(\d*\\sqrt\{?\d+\}?)", text):
        if match[1] == match[3] and match[2] == match[4]:
            yield from (rf"{match[1]} \pm {match[2]}", rf"{match[1]}\pm{match[2]}", f"{match[1]}±{match[2]}")


@same("mixed numbers")
def _(text: str) -> Iterator[str]:
    if match := MIXED.match(text):
        whole, top, bottom = map(int, match.groups())
        rest = text[match.end() :]
        improper = whole * bottom + top
        yield from (
            f"{improper}/{bottom}{rest}",
            rf"\frac{{{improper}}}{{{bottom}}}{rest}",
            rf"{whole} \frac{{{top}}}{{{bottom}}}{rest}",
        )
        yield from (
            f"{whole} {top}/{bottom}{rest}",
            rf"{whole}\,\dfrac{{{top}}}{{{bottom}}}{rest}",
            rf"{whole}\ \tfrac{{{top}}}{{{bottom}}}{rest}",
        )
    elif match := FRACTION.fullmatch(text):
        sign, top, bottom = match[1], int(match[2]), int(match[3])
        if top > bottom > 1 and top % bottom:
            whole, left = divmod(top, bottom)
            yield from (
                rf"{sign}{whole}\frac{{{left}}}{{{bottom}}}",
                rf"{sign}{whole} \tfrac{{{left}}}{{{bottom}}}",
                f"{sign}{whole} {left}/{bottom}",
            )
        value = Fraction(top, bottom)
        if lcm(bottom, 10**8) == 10**8:
            decimal = f"{float(value)!r}"
            yield from (sign + decimal, sign + decimal.removeprefix("0"))
        yield from (rf"{sign}\frac{{{2 * top}}}{{{2 * bottom}}}", f"{sign}{3 * top}/{3 * bottom}")


@same("bases")
def _(text: str) -> Iterator[str]:
    if match := BASED.fullmatch(text):
        digits, base = match.groups()
        yield from (
            f"{digits}_{base[0]}" if len(base) == 1 else text,
            f"{digits}_{{{base}}}",
            f"({digits})_{{{base}}}",
            rf"{digits}_{{\text{{{base}}}}}",
            f"{digits} _{{{base}}}",
            rf"{digits}_{{ {base} }}",
            rf"\left({digits}\right)_{{{base}}}",
            f"{digits}_{{({base})}}",
        )


@same("times of day")
def _(text: str) -> Iterator[str]:
    if match := re.fullmatch(r"(?:\\text\{)?(\d+):(\d+)\s*(?:\\text\{\s*)?([ap])\.?m\.?\}", text):
        hour, minute, half = match.groups()
        yield from (
            rf"{hour}:{minute} \text{{ {half}.m.}}",
            rf"{hour}\!:\!{minute}\text{{ {half}.m.}}",
            f"{hour}:{minute} {half}.m.",
            f"{hour}:{minute}{half}m",
            rf"\text{{{hour}:{minute} {half}m}}",
            f"{hour}:{minute} {half.upper()}M",
        )


@same("intervals")
def _(text: str) -> Iterator[str]:
    bare = re.sub(r"\\(?:left|right)", "", text)
    match = INTERVAL.fullmatch(bare)
    if match and ((match[1] + match[4] != "()" and match[1] + match[4] != "[]") or "infty" in text):
        opening, low, high, end = match.groups()
        yield from (rf"x \in {text}", rf"x\in{text}", f"{opening} {low} , {high} {end}")
        left = "" if "infty" in low else f"{low}" + ("<" if opening == "(" else r"\leq ")
        right = "" if "infty" in high else ("<" if end == ")" else r"\leq ") + high
        if left + right:
            yield f"{left}x{right}"
