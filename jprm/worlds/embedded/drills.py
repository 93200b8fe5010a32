"""The pretraining mix: solutions, and drills of the skills that they are made of.

A model of half a million parameters learns from solutions alone neither to read a fact at a
distance nor all of the arithmetic in the time there is; short drills of just that bring both.
Program drills give a model that is not shown real execution a real belief about outputs, so that
"invented output" is a fair comparison.

Invariant: every problem text in a document is of the train split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jprm.errors import UserError
from jprm.tokenizer import EOS
from jprm.worlds.base import ANALYZE_CLOSE, ANALYZE_OPEN, CODE_CLOSE, CODE_OPEN, OUTPUT_CLOSE, OUTPUT_OPEN, Segment
from jprm.worlds.embedded.annotator import known_values, read_facts
from jprm.worlds.embedded.errors import VALUE_LIMIT
from jprm.worlds.embedded.quantities import Graph, render_problem
from jprm.worlds.embedded.solutions import Step, parse_step, reference_steps


@dataclass(frozen=True)
class Mix:
    """The probability that a drill of each kind follows a solution, and how long it is."""

    unhelpful: float = 0.1  # solutions with a right but unhelpful step
    arithmetic: float = 0.5
    reading: float = 0.5
    programs: float = 0.1
    arithmetic_problems: int = 4  # problems whose first two steps make up one arithmetic drill
    reading_facts: int = 3
    program_runs: int = 6

    def __post_init__(self):
        """Checks the shares. Raises UserError."""
        for name in ("unhelpful", "arithmetic", "reading", "programs"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"mix.{name} is a probability, it is {getattr(self, name)}")


def documents(draw: Callable[[], Graph], rng: random.Random, mix: Mix) -> Iterator[list[Segment]]:
    """Documents without end; `draw` gives the next problem of the train split."""
    while True:
        graph = draw()
        steps = reference_steps(graph, rng, mix.unhelpful)
        yield [Segment(render_problem(graph), False), Segment("".join(steps) + EOS, True)]
        if rng.random() < mix.arithmetic:
            yield arithmetic_drill([draw() for _ in range(mix.arithmetic_problems)])
        if rng.random() < mix.programs:
            yield program_drill(steps, rng, mix.program_runs)
        if rng.random() < mix.reading:
            yield reading_drill(graph, rng, mix.reading_facts)


def arithmetic_drill(graphs: list[Graph]) -> list[Segment]:
    """Lines "8 + 3 = 11." from the first two steps of each problem; only the results are learnt."""
    segments = []
    for graph in graphs:
        for step in _parsed(reference_steps(graph)[:2]):
            segments.append(Segment(f"{step.left} {step.op} {step.right} = ", False))
            segments.append(Segment(str(step.value), True))
            segments.append(Segment(".\n", False))
    return segments


def reading_drill(graph: Graph, rng: random.Random, n_facts: int) -> list[Segment]:
    """Facts of random people restated with the values they need, and the program that they make.

    It starts at any point of a solution, so values are read from the problem or from a step. The name that opens a
    fact is drawn at random, so it is not learnt; all that follows from it is. Nothing is judged.
    """
    steps = reference_steps(graph)
    steps = steps[: rng.randint(0, len(steps))]
    known = known_values(graph, steps)
    segments = [Segment(render_problem(graph) + "".join(steps), False)]
    for _ in range(n_facts):
        name = rng.choice(graph.quantities).name
        facts, expression, _ = read_facts(graph.by_name[name], name, known)
        code = f"{ANALYZE_CLOSE}{CODE_OPEN}print({expression}){CODE_CLOSE}"
        segments.append(Segment(ANALYZE_OPEN + name, False))
        segments.append(Segment(facts.removeprefix(name) + code, True))
    return segments


def program_drill(steps: tuple[str, ...], rng: random.Random, n_runs: int) -> list[Segment]:
    """What small programs print: half with an operation, half without; half of each True."""
    segments = []
    parsed = _parsed(steps)
    for _ in range(n_runs):
        step = rng.choice(parsed)
        claim = step.value if rng.random() < 0.5 else _other_number(step.value, rng)
        expression = f"{step.left} {step.op} {step.right}" if rng.random() < 0.5 else str(step.value)
        code = f"print({expression} == {claim})"
        segments.append(Segment(f"{CODE_OPEN}{code}{CODE_CLOSE}{OUTPUT_OPEN}", False))
        segments.append(Segment(str(claim == step.value), True))
        segments.append(Segment(OUTPUT_CLOSE, False))
    return segments


def _other_number(value: int, rng: random.Random) -> int:
    """Another number with a token: mostly one near by, as slips are."""
    while True:
        other = value + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10, rng.randint(-60, 60)))
        if other != value and 0 <= other < VALUE_LIMIT:
            return other


def _parsed(steps: tuple[str, ...]) -> list[Step]:
    return [step for step in map(parse_step, steps) if step is not None]
