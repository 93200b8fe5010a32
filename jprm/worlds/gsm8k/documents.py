"""What is written for models to learn from: the annotator's rationales, and the documents of the pretraining mix.

The annotator says what a step should compute, by the worked solution, against what it states. Like the paper's teacher
it is stronger than the verifier it teaches: it has the reference. Steps that do not derive from the reference are
checked on the arithmetic that they show themselves, which misses wrong set-ups.

Invariants: with no noise, the code prints True exactly where `solutions.first_error` holds a step right, for steps up
to the first error of references and planted solutions. Every text of a document is of the rows that it is given, which
are those of the train split.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

from pydantic import Field, NonNegativeInt

from jprm.config import Config
from jprm.tokenizer import EOS
from jprm.worlds.base import Annotation, Segment, Style, printed
from jprm.worlds.gsm8k.arithmetic import NUMBER, evaluate, numbers, plain
from jprm.worlds.gsm8k.solutions import Mark, WorkedLine, WorkedProblem, derives, stated_calculations

NOTHING = Annotation("There is nothing to compute. ", "print(True)")

Check = tuple[str, Fraction]  # the expression that should be computed, the value that the step states


class Gsm8kMix(Config):
    """The probability that a drill of each kind follows a solution, and its lines."""

    arithmetic: float = Field(default=0.5, ge=0, le=1)
    """The probability of a drill of arithmetic."""
    programs: float = Field(default=0.1, ge=0, le=1)
    """The probability of a program drill: small programs with what they print."""
    arithmetic_lines: NonNegativeInt = 12
    """The lines of one drill of arithmetic."""
    program_runs: NonNegativeInt = 4
    """The programs of one program drill."""


def annotate(
    lines: Sequence[WorkedLine],
    steps: Sequence[str],
    index: int,
    style: Style,
    rng: random.Random | None = None,
    noise: float = 0.0,
) -> Annotation:
    """Writes the annotation of `steps[index]`; `lines` is the worked solution, empty for none."""
    step = steps[index]
    follows = index < len(lines) and derives(lines[index], step)
    checks = _reference_checks(lines[index], step) if follows else stated_calculations(step)
    if follows and checks and rng is not None and rng.random() < noise:
        checks = _bad_checks(lines, lines[index], step, checks, rng)
    return write(checks, style)


def write(checks: Sequence[Check], style: Style) -> Annotation:
    """Returns the words and the code for a list of checks."""
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
    """Returns a value with at most four decimals; "None" for none."""
    if value is None:
        return "None"
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def _reference_checks(line: WorkedLine, step: str) -> list[Check]:
    stated = numbers(step)
    return [(mark.expression, stated[mark.result]) for mark in line.marks]


def _bad_checks(
    lines: Sequence[WorkedLine], line: WorkedLine, step: str, checks: list[Check], rng: random.Random
) -> list[Check]:
    """Makes annotations bad: half sycophantic (the step's own arithmetic), half misread (another calculation)."""
    if rng.random() < 0.5:
        return [(_own(mark, step), stated) for mark, (_, stated) in zip(line.marks, checks, strict=True)]
    others = [mark.expression for other in lines for mark in other.marks]
    return [(rng.choice(others), stated) for _, stated in checks]


def _own(mark: Mark, step: str) -> str:
    """Returns the expression that the step shows for a mark; the right one where it shows none that can be read."""
    if not mark.operands:
        return mark.expression
    places = list(NUMBER.finditer(step))
    shown = plain(step[places[mark.operands[0]].start() : places[mark.operands[-1]].end()])
    return mark.expression if evaluate(shown) is None else shown


def documents(rows: Sequence[WorkedProblem], rng: random.Random, mix: Gsm8kMix) -> Iterator[list[Segment]]:
    """Documents without end: all rows in one random order after another, drills between."""
    marks = [mark for row in rows for line in row.lines for mark in line.marks]
    while True:
        for row in rng.sample(rows, len(rows)):
            solution = "".join(line.text for line in row.lines)
            yield [Segment(row.text, False), Segment(solution + EOS, True)]
            if marks and rng.random() < mix.arithmetic:
                yield arithmetic_drill(rng.choices(marks, k=mix.arithmetic_lines))
            if marks and rng.random() < mix.programs:
                yield program_drill(rng.choices(marks, k=mix.program_runs), rng)


def arithmetic_drill(marks: Sequence[Mark]) -> list[Segment]:
    """Writes lines "48/2 = 24"; only the results are learnt."""
    segments = []
    for mark in marks:
        segments.append(Segment(f"{mark.expression} = ", False))
        segments.append(Segment(f"{decimal(mark.value)}\n", True))
    return segments


def program_drill(marks: Sequence[Mark], rng: random.Random) -> list[Segment]:
    """Shows what the annotator's checks print; half of them are true, only the output is learnt."""
    segments = []
    for mark in marks:
        right = rng.random() < 0.5
        stated = mark.value if right else mark.value + rng.choice((-10, -2, -1, 1, 2, 10))
        segments += printed(write([(mark.expression, stated)], "code").code, str(right))
    return segments
