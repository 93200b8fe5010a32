"""Solutions of the embedded world: steps as text, the reference, the exact truth of any step, and planted errors.

Invariants: truth is decided by the numbers of a step, its operator and the quantity it names, against the graph of the
problem and the right steps before it. The symbolic half ("Ann + 3") must be there but is not judged: with the right
numbers after it, it changes nothing that follows. A planted step is the first wrong one by `first_error`, its value
differs from the right one, and no number of the solution leaves 0..199 (numbers outside have no token).
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from jprm.worlds.embedded.problems import Quantity, QuantityGraph, compute

RIGHT = ""
ERROR_KINDS = ("slip", "operand", "op", "quantity", "skip", "answer", "format", "noanswer")
PLANTED_KINDS = ("slip", "operand", "reference", "op", "constant")
VALUE_LIMIT = 200
TRIES = 50


@dataclass(frozen=True)
class ParsedStep:
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


def render_step(number: int, step: ParsedStep) -> str:
    """Writes the text of a step; `number` counts from 1."""
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
def parse_step(text: str) -> ParsedStep | None:
    """Reads the parts of a step's text; returns None where it is not a step."""
    match = _STEP.fullmatch(text)
    if match is None or match[1] != match[9]:
        return None
    result, value = int(match[8]), int(match[10])
    return ParsedStep(
        name=match[1],
        symbols=(match[2], match[4]),
        left=int(match[5]),
        op=match[6],
        right=int(match[7]),
        value=value,
        answer=None if match[11] is None else int(match[11]),
        result=None if result == value else result,
    )


def right_step(quantity: Quantity, values: dict[str, int], answers: bool) -> ParsedStep:
    """Returns the right step for a quantity whose sources have the given values."""
    left, right = quantity.operands(values)
    assert left is not None and right is not None, f"{quantity.name} before its sources"
    value = compute(left, quantity.op, right)
    return ParsedStep(quantity.name, quantity.symbols, left, quantity.op, right, value, value if answers else None)


def reference_steps(graph: QuantityGraph, rng: random.Random | None = None, unhelpful: float = 0.0) -> tuple[str, ...]:
    """Returns a right solution; with probability `unhelpful` one step more, right but not needed."""
    derived = list(graph.needed)
    if rng is not None and rng.random() < unhelpful:
        _insert_unneeded(graph, derived, rng)
    steps = [right_step(q, graph.values, q is derived[-1]) for q in derived]
    return tuple(render_step(number, step) for number, step in enumerate(steps, 1))


def _insert_unneeded(graph: QuantityGraph, derived: list[Quantity], rng: random.Random) -> None:
    """Puts one quantity that is not needed somewhere before the last step, if there is any."""
    place = {quantity.name: at for at, quantity in enumerate(derived)}
    choices = []
    for quantity in graph.quantities:
        if quantity.kind == "base" or quantity.name in place:
            continue
        if all(s in place or s in graph.base_values for s in quantity.sources):
            earliest = max((place[s] + 1 for s in quantity.sources if s in place), default=0)
            if earliest < len(derived):
                choices.append((earliest, quantity))
    if choices:
        earliest, quantity = rng.choice(choices)
        derived.insert(rng.randint(earliest, len(derived) - 1), quantity)


def first_error(graph: QuantityGraph, steps: Sequence[str]) -> tuple[int, str]:
    """Returns (0-based first wrong step, kind of its error), or (-1, "") where every step is right.

    Kinds: `format` not readable as a step; `quantity` derives something that is not to be derived; `skip` uses what no
    earlier step has derived; `op` the right numbers, another operator; `operand` other numbers; `slip` wrong
    arithmetic; `answer` announces the answer wrongly; `noanswer` the last step announces none.
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


def _error_of(graph: QuantityGraph, step: ParsedStep, known: dict[str, int]) -> str:
    """Returns the kind of error of one step, given the right values known before it."""
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
    """Returns the final answer of the last step, or None."""
    step = parse_step(steps[-1]) if steps else None
    return None if step is None else step.answer


def plant(graph: QuantityGraph, rng: random.Random) -> tuple[tuple[str, ...], int, str] | None:
    """Returns (steps, 0-based index of the wrong one, kind), or None where this draw is not valid.

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
    graph: QuantityGraph, quantity: Quantity, right: ParsedStep, values: dict[str, int], kind: str, rng: random.Random
) -> ParsedStep | None:
    """Returns a wrong version of a right step, or None where none was found."""
    for _ in range(TRIES):
        wrong = _draw(graph, quantity, right, values, kind, rng)
        if wrong.value != right.value and 0 <= wrong.value < VALUE_LIMIT and wrong.right > 0:
            return wrong
    return None


def _draw(
    graph: QuantityGraph, quantity: Quantity, step: ParsedStep, values: dict[str, int], kind: str, rng: random.Random
) -> ParsedStep:
    """Draws once from the given kind; the step may happen to be right."""
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
