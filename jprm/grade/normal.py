r"""One spelling for what LaTeX and plain text spell in many ways.

`normalise` changes how an answer is written and never what it says: `\dfrac12`, `\tfrac{1}{2}` and `½` become
`\frac{1}{2}`. What it does not know it leaves as it stands.
"""

import re

from jprm.grade.answers import closing, depth

MAX_DEPTH = 100  # brackets in one another: what reads them calls itself for each

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ",
    "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "±": r"\pm ", "∞": r"\infty ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^{\circ}", "√": r"\sqrt ",
    "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}",
    "ℝ": r"\mathbb{R}", "≈": r"\approx ", "’": "'", "“": "", "”": "", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "€": r"\text{euro}", "£": r"\text{pound}", "，": ",", "（": "(", "）": ")", "％": "%",
}  # fmt: skip
_TABLE = str.maketrans(
    _SYMBOLS | {chr(0xFF10 + digit): str(digit) for digit in range(10)}  # fullwidth digits
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_FUNCTIONS = r"arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt"

_ROW_BREAK = re.compile(r"\\\\\*?(?:\s*\[[^\[\]]*[a-z]{2}\])?|\\(?:cr|tabularnewline|newline)(?![a-zA-Z])")
_CUT_BLANK = re.compile(r"(?<!\\)((?:\\\\)*)\\$")  # of a "\\ " at the end
_TEXT_COMMA = re.compile(r"(?<=\d)\\(?:text|mbox|mathrm)\{,\}(?=\d)")
_MARKED_THOUSANDS = re.compile(r"(?<![\d.])[1-9]\d{0,2}(?:(?:,\\!|\{,\}|\\,|[\u2009\u202f])\d{3})+(?!\d)")
_UNSPACED_THOUSANDS = re.compile(r"(?<![\d.,/])[1-9]\d{0,2}(?:,\d{3})+(?!\d)")
_FURTHER_THOUSANDS = re.compile(r"(?<=\d,)[1-9]\d{0,2}(?:,\d{3})+(?!\d)")  # of a list
_GROUP = re.compile(r"(?<!\\)\{[^{}()\[\]]*\}")

_FLAT_TEX = r"(?:[^{}&=,]|\{[^{}]*\})"

_REWRITES = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\[\[\]()]", " "),
        (r"\\m?(?:left|right|middle)(?![a-zA-Z])\.?", ""),
        (r"\\[bB]igg?[lrm]?(?![a-zA-Z])", ""),
        (r"\\[hv]?phantom(?![a-zA-Z])\s*(?:\{[^{}]*\}|\S)", " "),
        (r"\\(?:rm|bf|it|sf|tt)\s*\{|(?<!\\)\{\\(?:rm|bf|it|sf|tt) ", r"\\mathrm{"),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|rm|bf|it)(?![a-zA-Z])", ""),
        (r"\\begin\{(?:[pbB]|small)?matrix\*?\}(?:\[[lcr]\])?", r"\\begin{matrix}"),
        (r"\\begin\{array\}\s*\{(?:[^{}]|\{[^{}]*\})*\}", r"\\begin{matrix}"),
        (r"\\end\{(?:(?:[pbB]|small)?matrix\*?|array)\}", r"\\end{matrix}"),
        (r"\\(?:hline(?![a-zA-Z])|cline\{[\d-]*\})", ""),
        (r"&(?=\s*=)|(?<==)&", ""),
        (r"\\!", ""),
        (r"\\[,;: ]|~|\\(?:q?quad|thinspace|hfill)(?![a-zA-Z])", " "),
        (r"(?<=\d)\{,\}(?=\d)", "."),  # no list: a decimal comma, once thousands are gone
        (r"\{,\}", ","),
        (r"\\mathbb\s+([A-Z])(?![a-zA-Z])", r"\\mathbb{\1}"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"(?<=[)\]]) ?U ?(?=[(\[])", r"\\cup "),
        (rf"(?<!\\)\{{({_FLAT_TEX}*)\\over(?![a-zA-Z])({_FLAT_TEX}*)\}}", r"{\\frac{\1}{\2}}"),
        (rf"^({_FLAT_TEX}*)\\over(?![a-zA-Z])({_FLAT_TEX}*)$", r"\\frac{\1}{\2}"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\(?:lt)(?![a-zA-Z])", "<"),
        (r"\\(?:gt)(?![a-zA-Z])", ">"),
        (r"\\(?:le|leqslant)(?![a-zA-Z])", r"\\leq"),
        (r"\\(?:ge|geqslant)(?![a-zA-Z])", r"\\geq"),
        (r"<=", r"\\leq "),
        (r">=", r"\\geq "),
        (r"!=", r"\\neq "),
        (r"\\ne(?![a-zA-Z])", r"\\neq"),
        (r"\\(?:varnothing)(?![a-zA-Z])", r"\\emptyset"),
        (r"\\bigcup(?![a-zA-Z]|\s*[_^])", r"\\cup "),
        (r"^\s*\\(?:approx|simeq)(?![a-zA-Z])", ""),
        (r"(?<![\\a-zA-Z])\{\s*\}(?=\s*[\^_])", ""),
        (r"(?<!\\)\{\s*\{([^{}]*)(?<!\\)\}\s*\}", r"{\1}"),
        (r"_\s*\{\s*\((\d+)\)\s*\}", r"_{\1}"),
        (r"\\(?:dots|cdots|dotsc|dotsb)(?![a-zA-Z])|\.\.\.|…", r"\\ldots "),
        (r"\\degree(?![a-zA-Z])|\^\s*\\circ(?![a-zA-Z])|\^\s*\{\s*\\circ\s*\}", r"^{\\circ}"),
        (r"\\(?:operatorname|mathrm|text)\{(" + _FUNCTIONS + r")\}", r"\\\1 "),
        (r"\\(?:mathrm|mathbf|mathit|mathsf|boldsymbol|bm)\{([A-Za-z])\}", r"\1"),
        (r"\\(?:text(?:bf|it|rm|sf|tt|sc|up|normal)|math(?:rm|bf|it|sf|tt)|[mh]box|operatorname)\s*(?=\{)", r"\\text"),
        (r"\\text\{\s*(?:\\text)?\{([^{}]*)\}\s*\}", r"\\text{\1}"),
        (r"\\text\{\s*\\\$\s*\}|\\(?:math|text)dollar(?![a-zA-Z])", r"\\$"),
        (r"\\text\{([^{}A-Za-z\\]*)\}", r"\1"),
        (r"\\text\{\s*(and|or)\s*\}", r" \1 "),
        (r"\\text\{\s*,?\s*\}", " "),
        (r"(?<![a-zA-Z\\])(" + _FUNCTIONS + r")(?=[\s({\d^_])", r"\\\1"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
        (r"(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        (r"\\%|(?<=\d)\s*(?:\\text\{\s*)?\bper\s?cent\b(?:\s*\})?", "%"),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
    )
]  # fmt: skip
_BRACED_FRACTION = re.compile(
    rf"(?:(?<=\{{matrix\}})|(?<=\\\\)|(?<![\^_}}\]a-zA-Z\d\\]))\{{(\\frac\{{{_FLAT_TEX}*\}}\{{{_FLAT_TEX}*\}})\}}"
)
_DOLLAR = re.compile(r"(?<!\\)\$")
_FLAT = re.compile(r"\(([^()]*)\)")
_ARGUMENT = re.compile(r"\d|\\[a-zA-Z]+|[^\\{}^_]")
# Plain text writes x^10 for what TeX reads as x to the first, times 0.
_SCRIPT = re.compile(r"-?\d+|" + _ARGUMENT.pattern)
_COMMAND = re.compile(r"\\([a-zA-Z]+)\s*")


def normalise(text: str) -> str:
    """Returns the canonical spelling, a fixed point: normalising it again changes nothing more.

    A text with brackets deeper than MAX_DEPTH is left as it stands.
    """
    if depth(text) > MAX_DEPTH:
        return text
    text = _once(text)
    for _ in range(3):  # removing one wrapper can lay bare another
        if (again := _once(text)) == text:
            break
        text = again
    return text


def _once(text: str) -> str:
    text = _unwrap(_CUT_BLANK.sub(r"\1", re.sub(r"\s+", " ", text).strip()))
    if len(_DOLLAR.findall(text)) % 2 == 0:  # else one of them is a currency
        text = _DOLLAR.sub(" ", text)
    text = _TEXT_COMMA.sub("{,}", text)
    text = _MARKED_THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = _RAISED.sub(lambda match: "^{" + match.group().translate(_SUPERSCRIPTS) + "}", text)
    # Row by row: in `1\\\ 2` and `1\\\{2\}` no rewrite may take half of the break for its own.
    text = r"\\".join(map(_rewritten, _ROW_BREAK.split(text.translate(_TABLE))))
    text = re.sub(r"\s+", " ", _braced(text)).strip()
    text = _commas(text)
    # A space stays between two letters or digits ("3 4" is not 34) and where it tells a list from
    # thousands ("40, 200").
    text = re.sub(r"(?<![a-zA-Z0-9,]) | (?![a-zA-Z0-9])|, (?!\d{3}(?!\d))|(?<!\d), ", _tight, text)
    text = re.sub(r"(?<![\^_}\]a-zA-Z\d\\])\{(\d[\d.]*)\}", r"\1", text)
    text = _BRACED_FRACTION.sub(r"\1", text)
    return re.sub(r"(?<!\\)[.,;]+$", "", text)


def _tight(match: re.Match[str]) -> str:
    return match.group().strip()


def _rewritten(row: str) -> str:
    for pattern, new in _REWRITES:
        row = pattern.sub(new, row)
    return row


def _commas(text: str) -> str:
    """Takes away the commas that are surely thousands.

    They stand before a group that begins with 0 (no other number does), inside of braces, and between the same brackets
    as a comma with a space, which marks those of a list.
    """
    parts = re.split(r"([()\[\]])", text.replace(" ,", ","))

    def joined(match: re.Match[str]) -> str:
        return match[0].replace(",", "")

    for at, part in enumerate(parts):
        sure = ", " in part
        parts[at] = _UNSPACED_THOUSANDS.sub(
            lambda match, sure=sure: joined(match) if sure or ",0" in match[0] else match[0], part
        )
    plain = _FURTHER_THOUSANDS.sub(lambda match: joined(match) if ",0" in match[0] else match[0], "".join(parts))
    return _GROUP.sub(lambda group: _UNSPACED_THOUSANDS.sub(joined, group[0]), plain)


def _unwrap(text: str) -> str:
    if len(text) > 4 and text.startswith("**") and text.endswith("**") and "**" not in text[2:-2]:
        return text[2:-2].strip()
    match = re.match(r"\\(?:boxed|fbox)\s*\{|\\text\{(?=\s*\d)|\{", text)
    if match and closing(text, match.end() - 1) == len(text) - 1:
        return text[match.end() : -1].strip()
    return text


def _braced(text: str) -> str:
    r"""Braces around single-token arguments: `\frac12`, `\sqrt2`, `x^2`, `\log_28`."""
    out, at = [], 0
    while at < len(text):
        char = text[at]
        command = _COMMAND.match(text, at)
        if char in "^_":
            out.append(char)
            at = _argument(text, at + 1, out, digits=True)
        elif command and command[1] in ("frac", "binom"):
            out.append("\\" + command[1])
            at = _argument(text, _argument(text, command.end(), out), out)
        elif command and command[1] == "sqrt":
            out.append(r"\sqrt")
            at = command.end()
            if text.startswith("[", at) and (end := text.find("]", at)) > 0:
                out.append(text[at : end + 1])
                at = end + 1
            at = _argument(text, at, out)
        elif command:
            out.append(command.group())
            at = command.end()
        elif char == "\\":
            out.append(text[at : at + 2])
            at += 2
        else:
            out.append(char)
            at += 1
    return "".join(out)


def _argument(text: str, at: int, out: list[str], digits: bool = False) -> int:
    """Copies the argument at `at` with braces around it, and returns where it ends."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        return at
    if text[at] == "{":
        end = closing(text, at)
        if end is None:
            out.append(text[at:])
            return len(text)
        out.append("{" + _braced(text[at + 1 : end]).strip() + "}")
        return end + 1
    if digits and (match := _FLAT.match(text, at)):
        out.append("{" + _braced(match[1]) + "}")
        return match.end()
    token = (_SCRIPT if digits else _ARGUMENT).match(text, at)
    if token is None:
        return at
    out.append("{" + token.group() + "}")
    return token.end()
