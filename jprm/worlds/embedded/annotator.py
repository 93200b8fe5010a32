"""The annotator (the paper's teacher): an analysis and a check in code for one step of a solution.

It reads the facts from the PROBLEM and the values from the earlier steps, never the operands of the
step it judges, and then compares with what the step concludes. The `noise` knob makes it a fallible
teacher, so that the consensus filter has real work: half of the bad rationales read another fact,
half take the step's own arithmetic over.

Invariant: with no noise, and all earlier steps right, the code prints True exactly where the step
is right by `solutions.first_error`, save a wrong expression with the right value and a last step
that announces no answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from jprm.worlds.base import Annotation, Style
from jprm.worlds.embedded.errors import VALUE_LIMIT
from jprm.worlds.embedded.quantities import Graph, Quantity, compute, render_fact
from jprm.worlds.embedded.solutions import Step, parse_step

UNREADABLE = "print(False)"


def annotate(
    graph: Graph, steps: Sequence[str], index: int, style: Style, rng: random.Random | None = None, noise: float = 0.0
) -> Annotation:
    """The annotation of `steps[index]`; of a step that cannot be read, code that prints False."""
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


def known_values(graph: Graph, earlier: Sequence[str]) -> dict[str, int]:
    """Every value at hand before a step: the stated ones, and what earlier steps concluded."""
    known = dict(graph.base_values)
    for text in earlier:
        step = parse_step(text)
        if step is not None and step.name in graph.by_name:
            known.setdefault(step.name, step.value)
    return known


def read_facts(quantity: Quantity | None, name: str, known: dict[str, int]) -> tuple[str, str, int | None]:
    """(facts in words, the expression they give, its value); None is what is not known."""
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


def _claims(graph: Graph, step: Step) -> str:
    """What the step states, as the right-hand side of a comparison."""
    claims = str(step.value) if step.result is None else f"{step.result} == {step.value}"
    if step.answer is not None:
        claims += f' == {step.answer} and "{step.name}" == "{graph.target}"'
    return claims
