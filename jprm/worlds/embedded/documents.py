"""What is written for models to learn from: the annotator's rationales, and the documents of the pretraining mix.

The annotator (the paper's teacher) writes an analysis and a check in code for one step. It reads the facts from the
problem and the values from the earlier steps, never the operands of the step it judges, and then compares with what the
step concludes. `noise` makes it a fallible teacher, so that the consensus filter has real work: half of the bad
rationales read another fact, half take the step's own arithmetic over.

A model of half a million parameters learns from solutions alone neither to read a fact at a distance nor all of the
arithmetic in the time there is; short drills of just that bring both. Program drills give a model that is not shown
real execution a real belief about outputs, so that "invented output" is a fair comparison.

Invariants: with no noise, and all earlier steps right, the code prints True exactly where the step is right by
`solutions.first_error`, save a wrong expression with the right value and a last step that announces no answer. Every
problem text in a document is of the train split.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from pydantic import Field, NonNegativeInt

from jprm.config import Config
from jprm.tokenizer import EOS
from jprm.worlds.base import ANALYZE_CLOSE, ANALYZE_OPEN, CODE_CLOSE, CODE_OPEN, Annotation, Segment, Style, printed
from jprm.worlds.embedded.problems import Quantity, QuantityGraph, compute, render_fact, render_problem
from jprm.worlds.embedded.solutions import VALUE_LIMIT, ParsedStep, parse_step, reference_steps

UNREADABLE = "print(False)"


class EmbeddedMix(Config):
    """The probability that a drill of each kind follows a solution, and how long it is."""

    unhelpful: float = Field(default=0.1, ge=0, le=1)
    """The share of solutions that hold a right but unhelpful step."""
    arithmetic: float = Field(default=0.5, ge=0, le=1)
    """The probability of a drill of arithmetic."""
    reading: float = Field(default=0.5, ge=0, le=1)
    """The probability of a reading drill: facts, restated with the values that they need."""
    programs: float = Field(default=0.1, ge=0, le=1)
    """The probability of a program drill: small programs with what they print."""
    arithmetic_problems: NonNegativeInt = 4
    """The problems whose first two steps make up one drill of arithmetic."""
    reading_facts: NonNegativeInt = 3
    """The facts of one reading drill."""
    program_runs: NonNegativeInt = 6
    """The programs of one program drill."""


def annotate(
    graph: QuantityGraph,
    steps: Sequence[str],
    index: int,
    style: Style,
    rng: random.Random | None = None,
    noise: float = 0.0,
) -> Annotation:
    """Writes the annotation of `steps[index]`; for a step that cannot be read it is code that prints False."""
    step = parse_step(steps[index])
    if step is None:
        return Annotation("", UNREADABLE)
    quantity = graph.by_name.get(step.name)
    known = known_values(graph, steps[:index])
    facts, expression, value = read_facts(quantity, step.name, known)
    if rng is not None and rng.random() < noise:
        if rng.random() < 0.5:
            facts = render_fact(quantity) if quantity else ""
            expression, value = f"{step.left} {step.op} {step.right}", step.computed
        else:
            misread = rng.choice(graph.quantities)
            facts, expression, value = read_facts(misread, misread.name, known)
    analysis = facts + ("" if step.answer is None else f"{graph.target} is asked. ")
    if style == "analysis" and " " in expression:
        shown = value if value is not None and 0 <= value < VALUE_LIMIT else None
        analysis += f"{expression} = {shown}.\n"
    if style in ("code", "direct"):
        analysis = ""
    return Annotation(analysis, f"print({expression} == {_claims(graph, step)})")


def known_values(graph: QuantityGraph, earlier: Sequence[str]) -> dict[str, int]:
    """Returns every value at hand before a step: the stated ones, and what earlier steps concluded."""
    known = dict(graph.base_values)
    for text in earlier:
        step = parse_step(text)
        if step is not None and step.name in graph.by_name:
            known.setdefault(step.name, step.value)
    return known


def read_facts(quantity: Quantity | None, name: str, known: dict[str, int]) -> tuple[str, str, int | None]:
    """Returns (facts in words, the expression they give, its value); None is what is not known."""
    if quantity is None:
        return f"{name} is unknown. ", "None", None
    facts = render_fact(quantity)
    if quantity.kind == "base":
        return facts, str(quantity.number), quantity.number
    for source in quantity.sources:
        facts += f"{source} has {known[source]}. " if source in known else f"{source} is unknown. "
    left, right = quantity.operands(known)
    value = None if left is None or right is None else compute(left, quantity.op, right)
    # An operand that nobody has computed makes the step unfounded: the check says False, it does not crash.
    return facts, "None" if value is None else f"{left} {quantity.op} {right}", value


def _claims(graph: QuantityGraph, step: ParsedStep) -> str:
    """Returns what the step states, as the right-hand side of a comparison."""
    claims = str(step.value) if step.result is None else f"{step.result} == {step.value}"
    if step.answer is not None:
        claims += f' == {step.answer} and "{step.name}" == "{graph.target}"'
    return claims


def documents(draw: Callable[[], QuantityGraph], rng: random.Random, mix: EmbeddedMix) -> Iterator[list[Segment]]:
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


def arithmetic_drill(graphs: list[QuantityGraph]) -> list[Segment]:
    """Writes lines "8 + 3 = 11." from the first two steps of each problem; only the results are learnt."""
    segments = []
    for graph in graphs:
        for step in _parsed(reference_steps(graph)[:2]):
            segments.append(Segment(f"{step.left} {step.op} {step.right} = ", False))
            segments.append(Segment(str(step.value), True))
            segments.append(Segment(".\n", False))
    return segments


def reading_drill(graph: QuantityGraph, rng: random.Random, n_facts: int) -> list[Segment]:
    """Restates facts of random people with the values that they need, and the program that they make.

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
    """Shows what small programs print: half have an operation, half have none; half of each print True."""
    segments = []
    parsed = _parsed(steps)
    for _ in range(n_runs):
        step = rng.choice(parsed)
        claim = step.value if rng.random() < 0.5 else _other_number(step.value, rng)
        expression = f"{step.left} {step.op} {step.right}" if rng.random() < 0.5 else str(step.value)
        segments += printed(f"print({expression} == {claim})", str(claim == step.value))
    return segments


def _other_number(value: int, rng: random.Random) -> int:
    """Draws another number with a token, mostly one near by, as slips are."""
    while True:
        other = value + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10, rng.randint(-60, 60)))
        if other != value and 0 <= other < VALUE_LIMIT:
            return other


def _parsed(steps: tuple[str, ...]) -> list[ParsedStep]:
    return [step for step in map(parse_step, steps) if step is not None]
