"""Problems of the embedded world: a graph of quantities, its text, and the graph read back from the text.

Invariant: `parse_problem(render_problem(graph)) == graph`. A problem is therefore its text and nothing else, and
whatever is said about it (needed steps, values, truth of a step) is computed from the text.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from jprm.config import Config
from jprm.errors import UserError

NAMES = tuple("Ann Bob Cal Dan Eve Fay Gus Hal Ida Joe Kim Leo Mia Ned Ola Pam Ray Sue Tom Uma".split())
Kind = Literal["add", "sub", "mul", "sum"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPERATORS = {"add": "+", "sub": "-", "mul": "*", "sum": "+"}
TRIES = 10_000


class Difficulty(Config):
    """The knobs of the problem generator. Ranges are inclusive."""

    steps: tuple[PositiveInt, ...] = Field(default=(2, 3, 4), min_length=1)
    """The numbers of derived quantities that an answer may need."""
    distractors: tuple[NonNegativeInt, ...] = Field(default=(0, 1), min_length=1)
    """The numbers of quantities that a problem may state although its answer does not need them."""
    base_values: tuple[int, int] = (5, 40)
    """The least and the largest value of a quantity that the text states as a number."""
    constants: tuple[int, int] = (2, 12)
    """The least and the largest number that is added or subtracted."""
    factors: tuple[int, int] = (2, 4)
    """The least and the largest factor."""
    value_max: int = Field(default=99, le=199)
    """The largest value of any quantity; numbers above 199 have no token."""
    names: int = Field(default=len(NAMES), le=len(NAMES))
    """How many different people there are."""
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)
    """The kinds of derived quantities."""
    shuffle: bool = False
    """Whether facts stand in any order, instead of each behind those that it builds on."""

    @model_validator(mode="after")
    def _has_names(self) -> Difficulty:
        needed = max(self.steps) + max(self.distractors) + 2
        if self.names < needed:
            raise ValueError(f"names must be {needed} or more for as many steps and distractors, it is {self.names}")
        return self


@dataclass(frozen=True)
class Quantity:
    """How many a person has: a number ("base"), or an operation on the quantities of `sources`."""

    name: str
    kind: str
    number: int  # the value, constant or factor; 0 for "sum"
    sources: tuple[str, ...] = ()

    @property
    def op(self) -> str:
        """The operator of a derived quantity."""
        return OPERATORS[self.kind]

    def operands(self, values: dict[str, int]) -> tuple[int | None, int | None]:
        """Returns the two numbers of the operation; None for one that `values` does not have."""
        right = values.get(self.sources[1]) if self.kind == "sum" else self.number
        return values.get(self.sources[0]), right

    @property
    def symbols(self) -> tuple[str, str]:
        """The two operands as a step names them: "Ann", "3"."""
        return self.sources[0], self.sources[1] if self.kind == "sum" else str(self.number)


@dataclass(frozen=True)
class QuantityGraph:
    """The quantities in the order of the text, and the one that is asked for."""

    quantities: tuple[Quantity, ...]
    target: str

    @cached_property
    def by_name(self) -> dict[str, Quantity]:
        """The quantity of each person."""
        return {quantity.name: quantity for quantity in self.quantities}

    @cached_property
    def base_values(self) -> dict[str, int]:
        """What the text states as a number."""
        return {q.name: q.number for q in self.quantities if q.kind == "base"}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names in an order in which each follows its sources, else as in the text. Raises UserError."""
        known, left = [], list(self.quantities)
        while left:
            ready = next((q for q in left if set(q.sources) <= set(known)), None)
            if ready is None:
                raise UserError(f"the problem never says how many {left[0].sources} have")
            known.append(ready.name)
            left.remove(ready)
        return tuple(known)

    @cached_property
    def values(self) -> dict[str, int]:
        """The true value of every quantity."""
        values: dict[str, int] = {}
        for name in self.order:
            quantity = self.by_name[name]
            if quantity.kind == "base":
                values[name] = quantity.number
            else:
                a, b = quantity.operands(values)
                assert a is not None and b is not None, "order puts sources first"
                values[name] = compute(a, quantity.op, b)
        return values

    @cached_property
    def needed(self) -> tuple[Quantity, ...]:
        """The derived quantities that the target needs, itself included, sources first."""
        wanted, todo = set(), [self.target]
        while todo:
            name = todo.pop()
            if name not in wanted:
                wanted.add(name)
                todo += self.by_name[name].sources
        return tuple(self.by_name[n] for n in self.order if n in wanted and self.by_name[n].kind != "base")


def compute(a: int, op: str, b: int) -> int:
    """Returns the value of `a op b` for an operator of the world."""
    return a + b if op == "+" else a - b if op == "-" else a * b


def render_fact(quantity: Quantity) -> str:
    """Writes the sentence of one quantity, with the space that follows it."""
    name, number, sources = quantity.name, quantity.number, quantity.sources
    match quantity.kind:
        case "base":
            return f"{name} has {number}. "
        case "add":
            return f"{name} gets {number} more than {sources[0]}. "
        case "sub":
            return f"{name} gets {number} fewer than {sources[0]}. "
        case "mul":
            return f"{name} gets {number} times as many as {sources[0]}. "
    return f"{name} gets as many as {sources[0]} and {sources[1]}. "


def render_problem(graph: QuantityGraph) -> str:
    """Writes the text of the problem: its facts in order, then the question."""
    return "".join(map(render_fact, graph.quantities)) + f"How many does {graph.target} get?\n"


_FACT = re.compile(
    r"(?P<base>(\w+) has (\d+)\. )|(?P<add>(\w+) gets (\d+) more than (\w+)\. )"
    r"|(?P<sub>(\w+) gets (\d+) fewer than (\w+)\. )"
    r"|(?P<mul>(\w+) gets (\d+) times as many as (\w+)\. )"
    r"|(?P<sum>(\w+) gets as many as (\w+) and (\w+)\. )"
)
_QUESTION = re.compile(r"How many does (\w+) get\?\n")


@lru_cache(maxsize=8192)
def parse_problem(text: str) -> QuantityGraph:
    """Reads the graph of a problem's text. Raises UserError with the place that it cannot read."""
    at, quantities = 0, []
    while (match := _FACT.match(text, at)) is not None:
        quantities.append(_quantity(match))
        at = match.end()
    question = _QUESTION.fullmatch(text, at)
    if question is None:
        raise UserError(f"cannot read the problem at {text[at : at + 40]!r}: not a sentence of the embedded world")
    graph = QuantityGraph(tuple(quantities), question[1])
    if len(graph.by_name) != len(quantities) or graph.target not in graph.by_name:
        raise UserError("a problem says exactly once how many each person has, the one asked for included")
    graph.order  # noqa: B018  raises where a source is missing or facts go round in a circle
    return graph


def _quantity(match: re.Match[str]) -> Quantity:
    _, name, *rest = [group for group in match.groups() if group is not None]
    if match.lastgroup == "sum":
        return Quantity(name, "sum", 0, tuple(rest))
    return Quantity(name, str(match.lastgroup), int(rest[0]), tuple(rest[1:]))


def draw_graph(rng: random.Random, difficulty: Difficulty) -> QuantityGraph:
    """Draws a random problem. Raises UserError where the difficulty leaves (almost) none to draw."""
    for _ in range(TRIES):
        graph = _try_graph(rng, difficulty)
        if graph is not None:
            return graph
    raise UserError(f"no problem found in {TRIES} tries: widen the ranges of {difficulty}")


def _try_graph(rng: random.Random, difficulty: Difficulty) -> QuantityGraph | None:
    """Tries once to draw a chain of derived quantities, with distractors anywhere between."""
    steps, extra = rng.choice(difficulty.steps), rng.choice(difficulty.distractors)
    names = rng.sample(NAMES[: difficulty.names], steps + extra + 2)
    facts: list[tuple[Quantity, int]] = []  # with its value

    def base():
        value = rng.randint(*difficulty.base_values)
        facts.append((Quantity(names[len(facts)], "base", value), value))

    def derived(source: int) -> bool:
        fact = _derive(rng, difficulty, names[len(facts)], facts, source)
        if fact is not None:
            facts.append(fact)
        return fact is not None

    base()
    if rng.random() < 0.6:
        base()
    last = rng.randrange(len(facts))
    slots = [rng.randint(0, steps) for _ in range(extra)]
    for step in range(steps + 1):
        for _ in range(slots.count(step)):
            if rng.random() < 0.4:
                base()
            elif not derived(rng.randrange(len(facts))):
                return None
        if step < steps:
            if not derived(last):
                return None
            last = len(facts) - 1
    quantities = [quantity for quantity, _ in facts]
    target = quantities[last].name
    if difficulty.shuffle:
        rng.shuffle(quantities)
    graph = QuantityGraph(tuple(quantities), target)
    return graph if len(graph.needed) == steps else None  # a sum may have drawn a distractor in


def _derive(
    rng: random.Random, difficulty: Difficulty, name: str, facts: list[tuple[Quantity, int]], source: int
) -> tuple[Quantity, int] | None:
    """Derives a new quantity from fact `source`, of the first kind drawn whose value fits."""
    quantity, value = facts[source]
    for kind in rng.sample(difficulty.kinds, len(difficulty.kinds)):
        if kind == "sum":
            others = [
                other for other, (_, v) in enumerate(facts) if other != source and v + value <= difficulty.value_max
            ]
            if others:
                other, other_value = facts[rng.choice(others)]
                return Quantity(name, kind, 0, (quantity.name, other.name)), value + other_value
            continue
        first, final = difficulty.factors if kind == "mul" else difficulty.constants
        if kind == "sub":
            final = min(final, value - 2)  # leaves at least two
        if first > final:
            continue
        number = rng.randint(first, final)
        result = compute(value, OPERATORS[kind], number)
        if result <= difficulty.value_max:
            return Quantity(name, kind, number, (quantity.name,)), result
    return None
