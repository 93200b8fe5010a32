"""The pretraining mix of GSM8K: worked solutions, and drills of the arithmetic and of program
output.

Invariant: every text is of the rows it is given, which are those of the train split.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jprm.errors import UserError
from jprm.tokenizer import EOS
from jprm.worlds.base import CODE_CLOSE, CODE_OPEN, OUTPUT_CLOSE, OUTPUT_OPEN, Segment
from jprm.worlds.gsm8k.annotator import decimal, write
from jprm.worlds.gsm8k.chain import Mark
from jprm.worlds.gsm8k.files import Row


@dataclass(frozen=True)
class Mix:
    """The probability that a drill of each kind follows a solution, and its lines."""

    arithmetic: float = 0.5
    programs: float = 0.1
    arithmetic_lines: int = 12
    program_runs: int = 4

    def __post_init__(self):
        """Checks the shares. Raises UserError."""
        for name in ("arithmetic", "programs"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"mix.{name} is a probability, it is {getattr(self, name)}")


def documents(rows: Sequence[Row], rng: random.Random, mix: Mix) -> Iterator[list[Segment]]:
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
    """Lines "48/2 = 24"; only the results are learnt."""
    segments = []
    for mark in marks:
        segments.append(Segment(f"{mark.expression} = ", False))
        segments.append(Segment(f"{decimal(mark.value)}\n", True))
    return segments


def program_drill(marks: Sequence[Mark], rng: random.Random) -> list[Segment]:
    """What the annotator's checks print; half of them are true, only the output is learnt."""
    segments = []
    for mark in marks:
        right = rng.random() < 0.5
        stated = mark.value if right else mark.value + rng.choice((-10, -2, -1, 1, 2, 10))
        code = write([(mark.expression, stated)], "code").code
        segments.append(Segment(f"{CODE_OPEN}{code}{CODE_CLOSE}{OUTPUT_OPEN}", False))
        segments.append(Segment(str(right), True))
        segments.append(Segment(OUTPUT_CLOSE, False))
    return segments
