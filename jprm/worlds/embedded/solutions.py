"""Solutions of the embedded world: steps as text, the reference, and the exact truth of any step.

Invariant: truth is decided by the numbers of a step, its operator and the quantity it names,
against the graph of the problem and the right steps before it. The symbolic half ("Ann + 3") must
be there but is not judged: with the right numbers after it, it changes nothing that follows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jprm.worlds.embedded.quantities import Graph, Quantity, compute

RIGHT = ""
ERROR_KINDS = ("slip", "operand", "op", "quantity", "skip", "answer", "format", "noanswer")


@dataclass(frozen=True)
class Step:
    """The parts of one step: "Joe = Ann + 3 = 8 + 3 = 11, so Joe has 11. Answer: 11." """

    name: str
    symbols: tuple[str, str]  # the operands by name or constant
    left: int
    op: str
    right: int
    value: int  # what the step concludes ("so Joe has 11")
    answer: int | None = None  # the final answer that the step states, if any
    result: int | None = None  # what stands after the arithmetic, where that is not `value`

    @property
    def computed(self) -> int:
        """The value that the step's own arithmetic has."""
        return compute(self.left, self.op, self.right)


def render_step(number: int, step: Step) -> str:
    """The text of a step; `number` counts from 1."""
    (a, b), op, name = step.symbols, step.op, step.name
    result = step.value if step.result is None else step.result
    answer = "" if step.answer is None else f" Answer: {step.answer}."
    return (
        f"Step {number}: {name} = {a} {op} {b} = {step.left} {op} {step.right} = {result}, "
        f"so {name} has {step.value}.{answer}\n"
    )


_STEP = re.compile(
    r"Step \d+: ([A-Z]\w*) = ([A-Z]\w*) ([-+*]) (\w+) = (\d+) ([-+*]) (\d+) = (\d+), "
    r"so ([A-Z]\w*) has (\d+)\.(?: Answer: (\d+)\.)?\n"
)


@lru_cache(maxsize=65536)
def parse_step(text: str) -> Step | None:
    """The parts of a step's text, or None where it is not a step."""
    match = _STEP.fullmatch(text)
    if match is None or match[1] != match[9]:
        return None
    result, value = int(match[8]), int(match[10])
    return Step(
        name=match[1],
        symbols=(match[2], match[4]),
        left=int(match[5]),
        op=match[6],
        right=int(match[7]),
        value=value,
        answer=None if match[11] is None else int(match[11]),
        result=None if result == value else result,
    )


def right_step(quantity: Quantity, values: dict[str, int], answers: bool) -> Step:
    """The right step for a quantity whose sources have the given values."""
    left, right = quantity.operands(values)
    assert left is not None and right is not None, f"{quantity.name} before its sources"
    value = compute(left, quantity.op, right)
    return Step(quantity.name, quantity.symbols, left, quantity.op, right, value, value if answers else None)


def reference_steps(graph: Graph, rng: random.Random | None = None, unhelpful: float = 0.0) -> tuple[str, ...]:
    """A right solution; with probability `unhelpful` one step more, right but not needed."""
    plan = list(graph.needed)
    if rng is not None and rng.random() < unhelpful:
        _insert_unneeded(graph, plan, rng)
    steps = [right_step(q, graph.values, q is plan[-1]) for q in plan]
    return tuple(render_step(number, step) for number, step in enumerate(steps, 1))


def _insert_unneeded(graph: Graph, plan: list[Quantity], rng: random.Random) -> None:
    """Puts one quantity that is not needed somewhere before the last step, if there is any."""
    place = {quantity.name: at for at, quantity in enumerate(plan)}
    choices = []
    for quantity in graph.quantities:
        if quantity.kind == "base" or quantity.name in place:
            continue
        if all(s in place or s in graph.base_values for s in quantity.sources):
            earliest = max((place[s] + 1 for s in quantity.sources if s in place), default=0)
            if earliest < len(plan):
                choices.append((earliest, quantity))
    if choices:
        earliest, quantity = rng.choice(choices)
        plan.insert(rng.randint(earliest, len(plan) - 1), quantity)


def first_error(graph: Graph, steps: Sequence[str]) -> tuple[int, str]:
    """(0-based first wrong step, kind of its error), or (-1, "") where every step is right.

    Kinds: `format` not readable as a step; `quantity` derives something that is not to be derived;
    `skip` uses what no earlier step has derived; `op` the right numbers, another operator;
    `operand` other numbers; `slip` wrong arithmetic; `answer` announces the answer wrongly;
    `noanswer` the last step announces none.
    """
    known = dict(graph.base_values)
    for index, text in enumerate(steps):
        step = parse_step(text)
        kind = "format" if step is None else _error_of(graph, step, known)
        if kind != RIGHT or step is None:
            return index, kind
        known[step.name] = step.value
    last = parse_step(steps[-1]) if steps else None
    if last is None or last.answer is None:
        return max(len(steps) - 1, 0), "noanswer"
    return -1, RIGHT


def _error_of(graph: Graph, step: Step, known: dict[str, int]) -> str:
    """The kind of error of one step, given the right values known before it."""
    quantity = graph.by_name.get(step.name)
    if quantity is None or quantity.kind == "base":
        return "quantity"
    left, right = quantity.operands(known)
    if left is None or right is None:
        return "skip"
    stated = (step.left, step.right)
    commuted = quantity.op in "+*" and stated == (right, left)
    if step.op != quantity.op or not (stated == (left, right) or commuted):
        return "op" if {left, right} == set(stated) else "operand"
    if step.value != step.computed or step.result is not None:
        return "slip"
    if step.answer is not None and (step.name != graph.target or step.answer != step.value):
        return "answer"
    return RIGHT


def stated_answer(steps: Sequence[str]) -> int | None:
    """The final answer of the last step, or None."""
    step = parse_step(steps[-1]) if steps else None
    return None if step is None else step.answer
