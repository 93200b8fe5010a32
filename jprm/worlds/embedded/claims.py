"""Drills for a step head: statements of values behind a problem and some steps, right ones and wrong ones.

What a step head has to learn before all else is whether a number is the one that stands elsewhere.
A solution has one label in thirty tokens, and most of them say "right"; statements have one in
five, half of them wrong. Steps are shown in either order, so that a value may have been read as an
operand before the step that derives it.
"""

from __future__ import annotations

import random

from jprm.worlds.embedded.quantities import Graph, render_problem
from jprm.worlds.embedded.solutions import parse_step, reference_steps

NEAR = 10  # the farthest off that a wrong number is, which is not another person's


def claims(graph: Graph, rng: random.Random, n: int) -> tuple[str, list[tuple[str, bool]]]:
    """(what is read first, `n` statements with their truth). Wrong numbers: another's, or one near by."""
    steps = reference_steps(graph)
    shown = rng.randint(0, len(steps))
    steps = steps[:shown] if rng.random() < 0.5 else steps[::-1][:shown]
    values = _read_values(graph, steps)
    stated = []
    for _ in range(n):
        name, right = rng.choice(list(values)), rng.random() < 0.5
        number = values[name] if right else _other(values[name], list(values.values()), rng)
        stated.append((f"{name} has {number}.\n", right))
    return render_problem(graph) + "".join(steps), stated


def _read_values(graph: Graph, steps: tuple[str, ...]) -> dict[str, int]:
    """The values that stand in the text, as a fact, a conclusion or an operand."""
    values = dict(graph.base_values)
    for step in filter(None, map(parse_step, steps)):
        values |= {step.name: step.value}
        operands = zip(step.symbols, (step.left, step.right), strict=True)
        values |= {name: number for name, number in operands if name in graph.by_name}
    return values


def _other(value: int, elsewhere: list[int], rng: random.Random) -> int:
    others = [number for number in elsewhere if number != value]
    if others and rng.random() < 0.5:
        return rng.choice(others)
    return value + rng.randint(1, NEAR) * (1 if value <= NEAR else rng.choice((-1, 1)))
