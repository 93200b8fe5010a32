"""Planted errors: a reference solution with one wrong step, whose value the later steps take over.

Invariant: the planted step is the first wrong one by `solutions.first_error`, its value differs
from the right one, and no number of the solution leaves 0..199 (numbers outside have no token).
"""

from __future__ import annotations

import random
from dataclasses import replace

from jprm.worlds.embedded.quantities import Graph, Quantity
from jprm.worlds.embedded.solutions import Step, render_step, right_step

PLANTED_KINDS = ("slip", "operand", "reference", "op", "constant")
VALUE_LIMIT = 200
TRIES = 50


def plant(graph: Graph, rng: random.Random) -> tuple[tuple[str, ...], int, str] | None:
    """(steps, 0-based index of the wrong one, kind), or None where this draw is not valid.

    Kinds: `slip` wrong result; `operand` the right name with another number; `reference` another
    person; `op` another operator; `constant` a number of another sentence, or one off.
    """
    kind, at = rng.choice(PLANTED_KINDS), rng.randrange(len(graph.needed))
    if kind == "constant" and graph.needed[at].kind == "sum":
        kind = "reference"  # a sum has no constant
    values, steps = dict(graph.base_values), []
    for index, quantity in enumerate(graph.needed):
        step = right_step(quantity, values, answers=False)
        if index == at:
            step = _corrupt(graph, quantity, step, values, kind, rng)
        if step is None or not 0 <= step.value < VALUE_LIMIT:
            return None
        values[quantity.name] = step.value
        steps.append(step)
    steps[-1] = replace(steps[-1], answer=steps[-1].value)
    return tuple(render_step(number, step) for number, step in enumerate(steps, 1)), at, kind


def _corrupt(
    graph: Graph, quantity: Quantity, right: Step, values: dict[str, int], kind: str, rng: random.Random
) -> Step | None:
    """A wrong version of a right step, or None where none was found."""
    for _ in range(TRIES):
        wrong = _draw(graph, quantity, right, values, kind, rng)
        if wrong.value != right.value and 0 <= wrong.value < VALUE_LIMIT and wrong.right > 0:
            return wrong
    return None


def _draw(graph: Graph, quantity: Quantity, step: Step, values: dict[str, int], kind: str, rng: random.Random) -> Step:
    """One draw of the given kind; it may happen to be right."""
    is_sum = quantity.kind == "sum"
    if kind == "slip":
        return replace(step, value=step.value + rng.choice((-10, -2, -1, 1, 2, 10, rng.randint(-20, 20))))
    if kind == "op":
        step = replace(step, op=rng.choice("+-*"))
    elif kind == "operand":
        number = rng.choice([*values.values(), *(q.number for q in graph.quantities if q.kind != "sum")])
        second = is_sum and rng.random() < 0.4
        step = replace(step, right=number) if second else replace(step, left=number)
    elif kind == "reference":
        other, (first, second) = rng.choice(list(values)), step.symbols
        if is_sum and rng.random() < 0.5:
            step = replace(step, symbols=(first, other), right=values[other])
        else:
            step = replace(step, symbols=(other, second), left=values[other])
    else:
        elsewhere = [q.number for q in graph.quantities if q.kind not in ("sum", "base")]
        number = rng.choice([*elsewhere, quantity.number + 1, quantity.number - 1])
        step = replace(step, symbols=(step.symbols[0], str(number)), right=number)
    return replace(step, value=step.computed)
