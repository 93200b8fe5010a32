"""Delayed evidence: steps that only a later step shows to be wrong, since the fact that they rest on is left out.

A problem loses the sentence of one needed quantity. There are two readings of what it may have said, each an operator
and a constant; the step of that quantity is written after one of them, and all steps behind it take over the value of
one of them.

Invariant: each reading is stated with either one true. So every beginning up to the step in question stands before a
right and a wrong solution, and so does every continuation behind it: neither tells, the two together do.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from jprm.worlds.embedded.problems import Difficulty, Quantity, QuantityGraph, render_problem
from jprm.worlds.embedded.solutions import parse_step, reference_steps, render_step

LEAST = 2  # the least value of a quantity that `draw_graph` draws


@dataclass(frozen=True)
class Withheld:
    """A graph and its twin with another reading of `quantity`, the needed one of index `at`."""

    graphs: tuple[QuantityGraph, QuantityGraph]
    quantity: Quantity
    at: int

    @property
    def text(self) -> str:
        """The problem without the sentence of `quantity`; it is that of both graphs."""
        graph = self.graphs[0]
        left = tuple(q for q in graph.quantities if q.name != self.quantity.name)
        return render_problem(QuantityGraph(left, graph.target))

    def solutions(self, corrected: bool = False) -> tuple[tuple[tuple[str, ...], bool], ...]:
        """Returns (steps, whether step `at` is right) for each reading stated and each one true."""
        written = []
        for stated, true in itertools.product(map(reference_steps, self.graphs), repeat=2):
            behind = self.at if corrected and stated != true else self.at + 1
            steps = (*true[: self.at], stated[self.at], *true[behind:])
            written.append((_numbered(steps), stated == true))
        return tuple(written)


def _numbered(steps: tuple[str, ...]) -> tuple[str, ...]:
    parsed = (parse_step(step) for step in steps)
    return tuple(render_step(n, step) for n, step in enumerate(parsed, 1) if step is not None)


def withhold(graph: QuantityGraph, rng: random.Random, difficulty: Difficulty) -> Withheld | None:
    """Leaves one fact with a constant out, never the last step's; None where no such fact has a twin."""
    places = [at for at, quantity in enumerate(graph.needed[:-1]) if quantity.kind != "sum"]
    if not places:
        return None
    at = rng.choice(places)
    quantity = graph.needed[at]
    for kind in rng.sample(difficulty.kinds, len(difficulty.kinds)):
        twins = list(_readings(graph, quantity, kind, difficulty))
        if twins:
            return Withheld((graph, rng.choice(twins)), quantity, at)
    return None


def _readings(graph: QuantityGraph, quantity: Quantity, kind: str, difficulty: Difficulty) -> Iterator[QuantityGraph]:
    """Yields the graph with another value at `quantity`, by this kind of fact, where all values are possible."""
    if kind == "sum":
        return
    first, final = difficulty.factors if kind == "mul" else difficulty.constants
    for number in range(first, final + 1):
        other = replace(quantity, kind=kind, number=number)
        twin = QuantityGraph(tuple(other if q is quantity else q for q in graph.quantities), graph.target)
        differs = twin.values[quantity.name] != graph.values[quantity.name]
        if differs and all(LEAST <= v <= difficulty.value_max for v in twin.values.values()):
            yield twin
