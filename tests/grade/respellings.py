r"""Mechanical respellings of an answer, and mechanical changes that make it another answer.

Both work on the letters of the text with rules of their own and know nothing of the grader. `SAME`
maps a rule's name to texts that say what the answer says; `OTHER` to texts that say something else.
A rule gives nothing where it does not apply.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import lcm

Rule = Callable[[str], Iterator[str]]
SAME: dict[str, Rule] = {}
OTHER: dict[str, Rule] = {}

_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm|begin|end)\s*\{[^{}]*\}")
_TOKEN = re.compile(
    _TEXT.pattern + r"|\d[\d.]*(?:(?:,(?:\\!)?|\{,\})\d{3}(?!\d))+(?:\.\d+)?|\d+\.?\d*|\.\d+"
    r"|\\\\|\\[a-zA-Z]+|\\.|[a-zA-Z]+|\s+|."
)
_NUMBER = re.compile(r"(-?)(\d+)(\.\d+)?")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_MIXED = re.compile(r"(\d+)\s*\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_UNIT = re.compile(r"(.*[\d}])\s*(?:\\ )?\\(?:text|mbox)\{\s*([a-z]{2,}(?: [a-z]+)*)\.?\s*\}(\^2)?")
_WORD = re.compile(r"\\text\{([A-Z]?[a-z]{2,})\}")
_CHOICE = re.compile(r"\\text\{\(([A-Z])\)\}")
_INTERVAL = re.compile(r"([(\[])([^()\[\]]*),([^()\[\]]*)([)\]])")
_BASED = re.compile(r"(\w+)_\{?(\d+)\}?")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_LETTERS = "xyzabnmk"


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
    bare = _TEXT.sub(" ", text)
    bare = re.sub(r"\\(?!phantom)[a-zA-Z]+", "", bare)
    return bool(text) and not re.search(
        r"(?<!\\)\$|[a-z]{3,} [a-z]|[.!:]\s+\S|\\\[|f\(x|phantom", bare
    )


def elements(text: str) -> list[str]:
    """The parts of a text between the commas outside of every bracket and brace."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(text):
        depth += (token in ("(", "[", "{", r"\{")) - (token in (")", "]", "}", r"\}"))
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def _swap(text: str, *pairs: tuple[str, str]) -> Iterator[str]:
    """The text after each replacement that changes it; a pattern and its template."""
    for pattern, new in pairs:
        if (changed := re.sub(pattern, new, text)) != text:
            yield changed


@same("wrapped")
def _(text: str) -> Iterator[str]:
    yield from (f"${text}$", f"$${text}$$", rf"\({text}\)", rf"\[{text}\]", rf"\boxed{{{text}}}")
    yield from (f"${text}$.", f"{text}.", f"  {text} ", f"{{{text}}}", rf"\displaystyle {text}")
    yield from (f"**{text}**", rf"$\boxed{{{text}}}$.", rf"{text}\,", rf"\ {text}", f"{text}\n")
    yield from (rf"\displaystyle{{{text}}}", f"$ {text} $", rf"\({text}\).", rf"\boxed{{{text}}}.")


@same("blanks")
def _(text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(text)
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
    yield from _swap(text, (r"\s+", "  "), (r",\s+", r",\\, "), (r",\s+", r",\\;"), (r",\s+", ",~"))
    yield from _swap(text, (r",\s+", r",\\ "), (r"\s+", r" \\! "), (r",\s+", r",\\quad "))


@same("commas")
def _(text: str) -> Iterator[str]:
    if not re.search(r"\d,(?:\\!|)\d{3}(?!\d)", text) and "{,}" not in text:
        yield from _swap(
            text, (r"(?<!\\),\s*", ", "), (r"(?<!\\),\s*(?!\d{3})", ","), (r"(?<!\\),\s*", " , ")
        )


@same("left and right")
def _(text: str) -> Iterator[str]:
    if r"\left" in text:
        yield from _swap(
            text, (r"\\(left|right)(?![a-z])\s*", ""), (r"\\(left|right)(?=[(\[)\]])", r"\\\1 ")
        )
        yield from _swap(text, (r"\\left(?![a-z])", r"\\bigl"), (r"\\right(?![a-z])", r"\\bigr"))
    elif len(re.findall(r"[(\[]", text)) == len(re.findall(r"[)\]]", text)) and "sqrt[" not in text:
        if not _TEXT.search(text):
            yield from _swap(re.sub(r"([)\]])", r"\\right\1", text), (r"([(\[])", r"\\left\1"))
            yield from _swap(re.sub(r"([)\]])", r" \\Big\1", text), (r"([(\[])", r"\\Big\1 "))


@same("sizes of fractions")
def _(text: str) -> Iterator[str]:
    yield from (
        re.sub(r"\\[dt]?frac(?![a-z])", rf"\\{one}", text) for one in ("frac", "dfrac", "tfrac")
    )
    single = r"\\([dt]?)frac\{(\d)\}\{(\d)\}"
    yield from _swap(
        text, (single, r"\\\1frac\2\3"), (single, r"\\\1frac \2 \3"), (single, r"\\\1frac\2{\3}")
    )
    yield from _swap(text, (r"\\([dt]?)frac\{([^{}]*)\}\{([^{}]*)\}", r"\\\1frac { \2 } { \3 }"))


@same("slashes")
def _(text: str) -> Iterator[str]:
    if match := _FRACTION.fullmatch(text):
        sign, top, bottom = match.groups()
        yield from (f"{sign}{top}/{bottom}", f"{sign} {top} / {bottom}", f"{sign}({top}/{bottom})")
        if sign:
            yield from (
                rf"\frac{{-{top}}}{{{bottom}}}",
                rf"\frac{{{top}}}{{-{bottom}}}",
                f"(-{top})/{bottom}",
            )
    yield from _swap(
        text, (r"(?<![\d}])\\[dt]?frac\{(\d+)\}\{(\d+)\}(?![\w\\({^])(?! *[\\\w({])", r"\1/\2")
    )


@same("braces")
def _(text: str) -> Iterator[str]:
    if not _TEXT.search(text):
        yield from _swap(text, (r"([\^_])(\d)(?!\d)", r"\1{\2}"), (r"([\^_])\{(\w)\}", r"\1\2"))
        yield from _swap(
            text, (r"([\^_])\{([^{}]*)\}", r"\1{{\2}}"), (r"([\^_])\{([^{}]*)\}", r"\1{ \2 }")
        )
        if r"\frac" not in text and "sqrt" not in text and "," not in text:
            yield from _swap(
                text, (r"(?<![\w.^{:])([a-z])\^", r"{\1}^"), (r"^(-?)(\d+)$", r"\1{\2}")
            )


@same("numbers")
def _(text: str) -> Iterator[str]:
    if (match := _NUMBER.fullmatch(text)) and not (
        len(text) > 1 and text[0] == "0" and "." not in text
    ):
        sign, whole, rest = match.groups("")
        value = text if rest else f"{text}.0"
        yield from (
            value,
            value + "0",
            rf"\text{{{text}}}",
            rf"\mathbf{{{text}}}",
            f"({text})",
            f"x={text}",
        )
        yield from (
            f"x = {text}",
            f"n={text}",
            f"k = {text}.",
            rf"\mathrm{{{text}}}",
            rf"+{text}"[bool(sign) :],
        )
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
    yield from _swap(text, (groups, ""), (groups, "{,}"), (groups, r"\\,"))
    if not re.search(r"[()\[\]]", text):
        yield from _swap(text, (groups, ","), (r"(?<=\d),(?=\d{3}(?!\d))", r",\\!"))


@same("percent")
def _(text: str) -> Iterator[str]:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*\\%", text):
        yield from (
            match[1] + end
            for end in ("%", " %", r"\ \%", r"\,\%", " percent", r"\text{ percent}", r"\text{\%}")
        )
        yield rf"\frac{{{match[1]}}}{{100}}"


@same("degrees")
def _(text: str) -> Iterator[str]:
    sign = r"\^\s*(?:\\circ(?![a-z])|\{\s*\\circ\s*\})"
    yield from _swap(
        text,
        (sign, r"^{\\circ}"),
        (sign, "°"),
        (sign, r"\\degree"),
        (sign, r" ^ \\circ"),
        (sign, r"{}^\\circ"),
    )
    if re.fullmatch(r"[\d.]+" + sign, text):
        yield from _swap(
            text, (sign, r"\\text{ degrees}"), (sign, " degrees"), (sign, r"\\,^\\circ"), (sign, "")
        )


@same("units")
def _(text: str) -> Iterator[str]:
    if (match := _UNIT.fullmatch(text)) and match[2].split()[0] not in ("or", "and", "base", "in"):
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
    if match := _WORD.fullmatch(text) or re.fullmatch(r"([A-Z]?[a-z]{3,})", text):
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
    match = _CHOICE.fullmatch(text) or re.fullmatch(r"(?:\\text\{)?([A-H])\}?", text)
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
    if len(pieces) > 1 and all(
        _INTERVAL.fullmatch(re.sub(r"\\(?:left|right)", "", piece)) for piece in pieces
    ):
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
                yield from (
                    joined,
                    rf"\{{{joined}\}}",
                    f"{', '.join(order[:-1])} and {order[-1]}",
                    rf"x = {joined}",
                )
                yield rf"{', '.join(order[:-1])} \text{{ and }} {order[-1]}"
                yield rf"{', '.join(order[:-1])}, \text{{ or }} {order[-1]}"
                yield from (
                    "; ".join(order),
                    r"$" + "$, $".join(order) + "$",
                    r"$" + "$ and $".join(order) + "$",
                )
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
    elif match := re.fullmatch(
        r"(.*\w)\s*\+\s*(\d*\\sqrt\{?\d+\}?),\s*(.*\w)\s*-\s*(\d*\\sqrt\{?\d+\}?)", text
    ):
        if match[1] == match[3] and match[2] == match[4]:
            yield from (
                rf"{match[1]} \pm {match[2]}",
                rf"{match[1]}\pm{match[2]}",
                f"{match[1]}±{match[2]}",
            )


@same("products")
def _(text: str) -> Iterator[str]:
    yield from _swap(
        text,
        (r"\\cdot(?![a-z])", r"\\times"),
        (r"\\times(?![a-z])", r"\\cdot"),
        (r"\\(?:cdot|times)(?![a-z])\s*", "*"),
        (r"\\cdot(?![a-z])", "·"),
        (r"\\times(?![a-z])", "×"),
    )
    if not _TEXT.search(text):
        for sign in (r"\\cdot ", r"\\times ", "*", " "):
            yield from _swap(
                text, (r"(?<![\d^_{.}])(\d+)\s*(?=\\(?:sqrt|pi)(?![a-z]))", rf"\1{sign}")
            )


@same("roots")
def _(text: str) -> Iterator[str]:
    root = r"\\sqrt\s*\{(\w+)\}"
    yield from _swap(
        text, (r"\\sqrt\s*\{(\w)\}", r"\\sqrt \1"), (r"\\sqrt\s*\{(\d)\}", r"\\sqrt\1")
    )
    yield from _swap(text, (root, r"√{\1}"), (root, r"√(\1)"), (root, r"\\sqrt{{\1}}"))
    yield from _swap(text, (root, r"\\sqrt[2]{\1}"), (root, r"\\sqrt{ \1 }"))
    yield from _swap(text, (r"\\sqrt\s*(\d)(?!\d)", r"\\sqrt{\1}"))
    if not re.search(r"\w\s*\\sqrt|_", text):
        yield from _swap(
            text, (r"\\sqrt\s*\{(\d+)\}", r"{\1}^{1/2}"), (r"\\sqrt\s*\{(\d+)\}", r"sqrt(\1)")
        )


@same("infinity")
def _(text: str) -> Iterator[str]:
    yield from _swap(
        text,
        (r"(?<!-)(?<!- )\\infty", r"+\\infty"),
        (r"\\infty", "∞"),
        (r"\\infty", r" \\infty "),
        (r"\\infty", "infinity"),
    )


@same("mixed numbers")
def _(text: str) -> Iterator[str]:
    if match := _MIXED.match(text):
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
    elif match := _FRACTION.fullmatch(text):
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
    if match := _BASED.fullmatch(text):
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


@same("relations")
def _(text: str) -> Iterator[str]:
    for signs in (
        (r"\\le(?:q)?(?![a-z])", r"\\le ", r"\\leq ", "≤", "<=", r"\\leqslant "),
        (r"\\ge(?:q)?(?![a-z])", r"\\ge ", r"\\geq ", "≥", ">=", r"\\geqslant "),
    ):
        for new in signs[1:]:
            yield from _swap(text, (signs[0], new))
    yield from _swap(text, (r"\s*=\s*", "="), (r"\s*=\s*", " = "), (r"\s*=\s*", "&="))
    if match := re.fullmatch(r"[a-z]\s*=\s*(.*)", text):
        if not re.search("[a-z=]", re.sub(r"\\[a-z]+", "", match[1])):
            yield match[1]


@same("intervals")
def _(text: str) -> Iterator[str]:
    bare = re.sub(r"\\(?:left|right)", "", text)
    match = _INTERVAL.fullmatch(bare)
    if match and ((match[1] + match[4] != "()" and match[1] + match[4] != "[]") or "infty" in text):
        opening, low, high, end = match.groups()
        yield from (rf"x \in {text}", rf"x\in{text}", f"{opening} {low} , {high} {end}")
        left = "" if "infty" in low else f"{low}" + ("<" if opening == "(" else r"\leq ")
        right = "" if "infty" in high else ("<" if end == ")" else r"\leq ") + high
        if left + right:
            yield f"{left}x{right}"


@same("matrices")
def _(text: str) -> Iterator[str]:
    if match := _MATRIX.fullmatch(text):
        body = match[1]
        columns = "c" * (body.split(r"\\")[0].count("&") + 1)
        build = r"\begin{{pmatrix}}{}\end{{pmatrix}}".format
        rows = [row.strip() for row in body.split(r"\\")]
        for one in (
            r"\\",
            r"\\ ",
            "\\\\\n",
            r" \\ ",
            r"\\[4pt]",
            r"\\[0.3em] ",
            r" \cr ",
            r"\\\,",
            "\\\\\t",
        ):
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


@other("a digit")
def _(text: str) -> Iterator[str]:
    if "_" in text:
        return  # 9 is no digit in base 9, and 1 is the same in every base
    for match in re.finditer(r"\d", re.sub(_TEXT, lambda m: "x" * len(m[0]), text)):
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
    if (
        len(parts) > 1
        and not re.search(r"=|text|infty|cup", text)
        and len(set(parts)) == len(parts)
    ):
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
            if (
                re.sub(r"\W", "", parts[at]) != re.sub(r"\W", "", parts[at + 1])
                and "cup" not in text
            ):
                new = [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]
                yield f"{match[1]}{', '.join(new)}{match[3]}"


@other("a bracket")
def _(text: str) -> Iterator[str]:
    for old, new in (("(", "["), ("[", "("), (")", "]"), ("]", ")")):
        bare = re.sub(r"\\(?:left|right)", "", text)
        if _INTERVAL.search(bare) and re.fullmatch(
            r"[-\d.,()\[\]\s]*", re.sub(r"\\\w+|[{}]", "", bare)
        ):
            for match in re.finditer(re.escape(old), bare):
                if bare[max(0, match.start() - 7) : match.start()].find(
                    "infty"
                ) < 0 and not re.match(r".\s*-\s*\\infty", bare[match.start() :]):
                    yield bare[: match.start()] + new + bare[match.end() :]
    if match := re.fullmatch(r"\((.*,.*)\)", text):
        yield rf"\{{{match[1]}\}}"


@other("a row")
def _(text: str) -> Iterator[str]:
    if match := _MATRIX.fullmatch(text):
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
    for match in re.finditer(
        r"(?<![a-zA-Z\\])[a-z](?![a-zA-Z])", _TEXT.sub(lambda m: "0" * len(m[0]), text)
    ):
        if (
            not re.match(r"[a-z]\s*(?:=|\\in)", text)
            and match[0] not in "ei"
            and "(" not in text[match.end() : match.end() + 1]
        ):
            letter = next(one for one in _LETTERS if one not in text)
            yield text[: match.start()] + letter + text[match.end() :]
