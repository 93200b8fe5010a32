"""The annotator for GSM8K: what a step should compute, by the worked solution, against what it
states.

Like the paper's teacher it is stronger than the verifier it teaches: it has the reference. Steps
that do not derive from the reference are checked on the arithmetic that they show themselves, which
misses wrong set-ups.

Invariant: with no noise, the code prints True exactly where `chain.first_error` holds a step right,
for steps up to the first error of references and planted solutions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

from jprm.worlds.base import Annotation, Style
from jprm.worlds.gsm8k.arithmetic import NUMBER, evaluate, numbers, plain
from jprm.worlds.gsm8k.chain import Line, Mark, derives, stated_calculations

NOTHING = Annotation("There is nothing to compute. ", "print(True)")

Check = tuple[str, Fraction]  # the expression that should be computed, the value that the step states


def annotate(
    lines: Sequence[Line],
    steps: Sequence[str],
    index: int,
    style: Style,
    rng: random.Random | None = None,
    noise: float = 0.0,
) -> Annotation:
    """The annotation of `steps[index]`; `lines` is the worked solution, empty for none."""
    step = steps[index]
    follows = index < len(lines) and derives(lines[index], step)
    checks = _reference_checks(lines[index], step) if follows else stated_calculations(step)
    if follows and checks and rng is not None and rng.random() < noise:
        checks = _bad_checks(lines, lines[index], step, checks, rng)
    return write(checks, style)


def write(checks: Sequence[Check], style: Style) -> Annotation:
    """The words and the code for a list of checks."""
    shown = style in ("full", "analysis")
    if not checks:
        return Annotation(NOTHING.analysis if shown else "", NOTHING.code)
    sentences = []
    for expression, stated in checks:
        result = f" = {decimal(evaluate(expression))}" if style == "analysis" else ""
        sentences.append(f"The step needs {expression}{result} and states {decimal(stated)}. ")
    tests = " and ".join(f"abs({expression} - {decimal(stated)}) < 0.01" for expression, stated in checks)
    return Annotation("".join(sentences) if shown else "", f"print({tests})")


def decimal(value: Fraction | None) -> str:
    """A value with at most four decimals; "None" for none."""
    if value is None:
        return "None"
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _reference_checks(line: Line, step: str) -> list[Check]:
    stated = numbers(step)
    return [(mark.expression, stated[mark.result]) for mark in line.marks]


def _bad_checks(lines: Sequence[Line], line: Line, step: str, checks: list[Check], rng: random.Random) -> list[Check]:
    """A bad annotation: half sycophantic (the step's own arithmetic), half misread (another
    calculation).
    """
    if rng.random() < 0.5:
        return [(_own(mark, step), stated) for mark, (_, stated) in zip(line.marks, checks, strict=True)]
    others = [mark.expression for other in lines for mark in other.marks]
    return [(rng.choice(others), stated) for _, stated in checks]


def _own(mark: Mark, step: str) -> str:
    """The expression that the step shows for a mark; the right one where it shows none that can be
    read.
    """
    if not mark.operands:
        return mark.expression
    places = list(NUMBER.finditer(step))
    shown = plain(step[places[mark.operands[0]].start() : places[mark.operands[-1]].end()])
    return mark.expression if evaluate(shown) is None else shown
