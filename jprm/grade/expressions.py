r"""One expression, from normalised LaTeX to sympy, refusing what would be read wrongly.

math-verify (0.9.0, latex2sympy2_extended 1.11.0) reads `2(3)` as 2 + 3, `3 4` as 7, `A` as `a`, `I` as the imaginary
unit but `4i` as a variable, `x'` as `x`, `101_2` as 101, `\sin 30^\circ` in radians and `3t` as 3 of some unit. Every
text is therefore cut into known tokens, products are written out and letters renamed, before the parser sees it; a
token that is not known is refused.
"""

import math
import re
import string
from typing import Any  # pyright follows no expression of sympy's

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse

from jprm.grade.shapes import Unreadable

MAX_LOG10 = 20_000.0  # decimal digits of any number on the way
MAX_LITERAL_DIGITS = 1000
MAX_FACTORIAL = 5000
MAX_LOG10_TERMS = 3.0  # of the bounds of a sum or a product
MAX_LENGTH = 2000

_FUNCTIONS = frozenset("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp".split())
_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi chi psi omega".split()
)
_CONSTANTS = frozenset(("pi", "infty"))
_OPERATORS = frozenset(("cdot", "times", "div"))
_BUILDERS = frozenset(("frac", "sqrt", "binom", "sum", "prod"))
_BRACKETS = frozenset(("lfloor", "rfloor", "lceil", "rceil"))
_KNOWN = _FUNCTIONS | _GREEK | _CONSTANTS | _OPERATORS | _BUILDERS | _BRACKETS
_TOKEN = re.compile(r"\d+\.\d*|\.\d+|\d+|\\[a-zA-Z]+|[a-zA-Z]|[-+/^_{}()\[\]|!=] ?| ")
_CALLED = frozenset("fghFGHP")  # letters that are functions before a bracket
_MIXED = re.compile(r"(-?)(\d+)\\frac\{(\d+)\}\{(\d+)\}")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\^\{\\circ\}")
_SMALL_BINOMIAL = re.compile(r"\\binom(?:\{(?:\d{1,3}|\d{0,2}[a-z](?:[-+]\d{1,3})?)\}){2}")
_AMBIGUOUS = (
    (re.compile(r"\d[eE][-+]?\d|(?<!\d)0x"), "a number in the notation of programs"),
    (re.compile(r"\d-\d+-\d|\d/\d+/\d"), "a date"),
    (re.compile(r"\d ?\\frac\{\d+\}\{\d+\}"), "a mixed number or a product"),
)
_NOTHING = NormalizationConfig(basic_latex=False, units=False, malformed_operators=False, nits=False, boxed="none")
_CONFIG = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=_NOTHING)]


class TooLarge(ValueError):
    """A number on the way is too large to be written out."""


def parse_pair(gold: str, answer: str) -> tuple[Any, Any]:
    """Parses both expressions over the same letters. Raises Unreadable and TooLarge."""
    texts = [_percent(text) for text in (gold, answer)]
    tokens = [_tokens(text) for text in texts]
    names = _renamed({token for text in tokens for token in text if token.isalpha()})
    left, right = (_parse([names.get(token, token) for token in text]) for text in tokens)
    return left, right


def leaf_number(text: str) -> Any:
    """Parses an expression without variables. Raises Unreadable and TooLarge."""
    value, _ = parse_pair(text, text)
    if value.free_symbols:
        raise Unreadable("a variable beside a number")
    return value


def _percent(text: str) -> str:
    return rf"\frac{{{text[:-1]}}}{{100}}" if text.endswith("%") else text


def _tokens(text: str) -> list[str]:
    if len(text) > MAX_LENGTH:
        raise TooLarge
    text = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", text)
    if mixed := _MIXED.fullmatch(text):
        sign, whole, top, bottom = mixed.groups()
        text = rf"{sign}({whole}+\frac{{{top}}}{{{bottom}}})"
    for pattern, reason in _AMBIGUOUS:
        if pattern.search(text):
            raise Unreadable(reason)
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(f"unknown sign {text[at]!r}")
        token = match.group().strip() or " "
        if token[0].isdigit() and len(token) > MAX_LITERAL_DIGITS:
            raise TooLarge
        if token[0] == "\\" and token[1:] not in _KNOWN:
            raise Unreadable(f"unknown command {token}")
        tokens.append(token)
        at = match.end()
    for run in re.findall(r"(?<![a-zA-Z\\])[a-zA-Z]{3,}", re.sub(r"\\[a-zA-Z]+", " ", text)):
        raise Unreadable(f"the word {run!r}")
    return _products(tokens)


def _products(tokens: list[str]) -> list[str]:
    """Writes out the products that the parser takes for sums of a mixed number, or for calls."""
    owners = _owners(tokens)
    out: list[str] = []
    last = -1  # the token before, spaces apart
    for index, token in enumerate(tokens):
        if token == " ":
            out.append(token)
            continue
        if last >= 0:
            before = tokens[last]
            _check(before, token, tokens, index)
            number = before[-1].isdigit() or before[-1] == "."
            value = before == "}" and owners.get(last) == "value"
            letter = before[1:] in _GREEK | _CONSTANTS or (before.isalpha() and before not in _CALLED)
            if (
                ((number or value) and token in ("(", r"\frac"))
                or (value and token[0].isdigit())
                or (letter and token == "(")
                or (before in (")", "!") and _starts(token))
            ):
                out.append(r"\cdot ")
        out.append(token)
        last = index
    return out


def _check(before: str, token: str, tokens: list[str], index: int) -> None:
    if before[-1].isdigit() and (token[0].isdigit() or token[0] == "."):
        raise Unreadable("two numbers side by side")
    if before == "!" and token == "!":
        raise Unreadable("a double factorial")
    if before == "/" and (token[0].isdigit() or token.isalpha()):
        after = next((one for one in tokens[index + 1 :] if one != " "), "")
        if _starts(after):
            raise Unreadable("what a slash divides")
    if before[0] == "\\" and before[1:] in _FUNCTIONS and token in ("/", "!", ")", "="):
        raise Unreadable("a function of nothing")


def _starts(token: str) -> bool:
    """Returns whether a token begins an operand."""
    if token[:1] == "\\":
        return token[1:] not in _OPERATORS | {"rfloor", "rceil"}
    return token[:1].isalnum() or token[:1] == "." or token == "("


def _owners(tokens: list[str]) -> dict[int, str]:
    r"""Returns whether each closing brace ends a "value" (`\frac{1}{2}`) or a function's "script" (`\sin^{2}`)."""
    ends: dict[int, str] = {}
    opened: list[int] = []
    starts: dict[int, int] = {}
    for index, token in enumerate(tokens):
        if token == "{":
            opened.append(index)
        elif token == "}":
            if not opened:
                raise Unreadable("braces that do not match")
            starts[index] = opened.pop()
            at = starts[index] - 1
            while at >= 0 and (tokens[at] in "^_ " or tokens[at] == "}"):
                at = starts[at] - 1 if tokens[at] == "}" else at - 1
            head = tokens[at][1:] if at >= 0 else ""
            ends[index] = "script" if head in _FUNCTIONS | {"sum", "prod"} else "value"
    if opened:
        raise Unreadable("braces that do not match")
    return ends


def _renamed(letters: set[str]) -> dict[str, str]:
    """Returns new names for capitals, which the parser does not tell from small letters."""
    free = [one for one in string.ascii_lowercase if one not in letters | set("eijdfgh")]
    names = {}
    for letter in sorted(letters):
        if letter.isupper() and letter not in _CALLED:
            if not free:
                raise Unreadable("too many letters")
            names[letter] = free.pop()
    return names


def _parse(tokens: list[str]) -> Any:
    text = "".join(token + " " if token[0] == "\\" and token[-1].isalpha() else token for token in tokens)
    joined = "".join(tokens)
    if (r"\sum" in joined or r"\prod" in joined) and re.search(r"_\{[^{}=]*[a-z][^{}=]*\}", joined):
        raise Unreadable("a subscript in a sum")
    if tokens.count("|") % 2 or any(token == "[" for token in tokens) != (r"\sqrt[" in joined):
        raise Unreadable("brackets that do not match")
    if "=" in tokens and not re.search(r"\\(?:sum|prod)_\{", joined):
        raise Unreadable("an equation inside of an expression")
    if joined.count(r"\binom") != len(_SMALL_BINOMIAL.findall(joined)):
        raise TooLarge  # the parser itself writes binomials out
    off: Any = None  # its own limit is an alarm, which other threads cannot set; the pool has one
    found = parse(f"${text}$", _CONFIG, extraction_mode="first_match", parsing_timeout=off)
    if len(found) != 2 or isinstance(found[0], str):
        raise Unreadable("malformed")
    if re.sub(r"\s", "", found[1]) != re.sub(r"\s", "", text):
        raise Unreadable("not parsed to its end")
    if not isinstance(found[0], sympy.Expr):
        raise Unreadable("not a number")
    _guard(found[0])
    return _clean(found[0], joined)


def _clean(expression: Any, text: str) -> Any:
    """Makes decimals exact, variables real, and `i` the imaginary unit unless it counts terms."""
    new: dict[sympy.Basic, sympy.Basic] = {one: sympy.Rational(str(one)) for one in expression.atoms(sympy.Float)}
    for symbol in expression.atoms(sympy.Symbol):
        if symbol.name == "i" and not re.search(r"_\{i=", text):
            new[symbol] = sympy.I
        else:
            new[symbol] = sympy.Symbol(symbol.name, real=True)
    return expression.xreplace(new)


def _guard(expression: Any) -> float:
    """Returns the decimal logarithm of a bound on an expression's size. Raises TooLarge.

    Looks at the unevaluated tree; variables count as 2, so that x^{100000} is too large, too.
    """
    size = _size(expression)
    if abs(size) > MAX_LOG10:
        raise TooLarge
    return size


def _size(node: Any) -> float:
    if isinstance(node, sympy.Integer):
        return math.log10(max(abs(node.p), 1))
    if isinstance(node, sympy.Rational):
        return max(_guard(sympy.Integer(node.p)), _guard(sympy.Integer(node.q)))
    if isinstance(node, sympy.Float):
        return max(0.0, float(sympy.log(abs(node) + 1, 10)))
    if not node.args:
        return 0.5
    sizes = [_guard(part) for part in node.args if isinstance(part, sympy.Basic)]
    if isinstance(node, sympy.Pow):
        if sizes[1] > 6:
            raise TooLarge
        return sizes[0] * 10 ** sizes[1]
    if isinstance(node, sympy.exp | sympy.cosh | sympy.sinh):
        return 0.5 * 10 ** min(sizes[0], 6)
    if isinstance(node, sympy.factorial):
        if 10 ** min(sizes[0], 9) > MAX_FACTORIAL:
            raise TooLarge
        return 10 ** sizes[0] * max(sizes[0], 1)
    if isinstance(node, sympy.Sum | sympy.Product):
        for bound in (bound for limit in node.limits for bound in limit[1:]):
            if bound.is_number and bound.is_finite is not False and _guard(bound) > MAX_LOG10_TERMS:
                raise TooLarge
        return max(sizes) + 3 if isinstance(node, sympy.Sum) else max(sizes) * 10
    if isinstance(node, sympy.Mul):
        return sum(sizes)
    return max(sizes) + 1
