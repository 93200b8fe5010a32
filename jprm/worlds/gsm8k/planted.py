"""Planted errors: a worked solution with one wrong calculation, carried on by the later ones.

What depends on a value is found by value: a later number equal to an earlier result means that result. Where this is
ambiguous (the problem states the same number, or two results agree) nothing is planted.

Invariant: `solutions.first_error` finds the planted step, its result differs from the right one by more than twice
`TOLERANCE`, and every text keeps its words.
"""

import random
from collections.abc import Sequence
from fractions import Fraction

from jprm.worlds.gsm8k.arithmetic import (
    NUMBER,
    OPERATOR,
    TOLERANCE,
    evaluate,
    format_value,
    number,
    numbers,
    plain,
    rewrite,
)
from jprm.worlds.gsm8k.solutions import Mark, WorkedLine

PLANTED_KINDS = ("slip", "operand", "op")
TRIES = 20
VALUE_LIMIT = 10**7

Changed = dict[Fraction, Fraction]  # right value -> the wrong one that replaces it


def plant(question: str, lines: Sequence[WorkedLine], rng: random.Random) -> tuple[tuple[str, ...], int, str] | None:
    """Returns (steps, 0-based index of the wrong one, kind), or None where no try stays consistent."""
    places = [(index, mark) for index, line in enumerate(lines) for mark in line.marks]
    if not places:
        return None
    for _ in range(TRIES):
        (index, mark), kind = rng.choice(places), rng.choice(PLANTED_KINDS)
        pool = numbers(question) + [n for line in lines[:index] for n in numbers(line.text)]
        drawn = _corrupt(lines[index].text, mark, kind, pool, rng)
        if drawn is None:
            continue
        text, value = drawn
        steps = _carry_on(question, lines, index, mark, text, value)
        if steps is not None:
            return steps, index, kind
    return None


def _corrupt(text: str, mark: Mark, kind: str, pool: list[Fraction], rng: random.Random) -> tuple[str, Fraction] | None:
    """Returns (the line's text with its wrong expression, the wrong value to state), or None."""
    if kind == "slip":
        unit = Fraction(1) if mark.value.denominator == 1 else Fraction(1, 100)
        value = mark.value + unit * rng.choice((-10, -2, -1, 1, 2, 10, rng.randint(-20, 20)))
        return (text, value) if _acceptable(mark.value, value) else None
    if not mark.operands:
        return None
    start, end = mark.span
    if kind == "operand":
        operand = rng.choice(mark.operands)
        right = numbers(text)[operand]
        changed = rewrite(text, {operand: rng.choice([*pool, right + 1, right - 1])})
    else:
        places = [m for m in OPERATOR.finditer(text) if start <= m.start() < end]
        if not places:
            return None
        place = rng.choice(places)
        other = rng.choice([op for op in "+-*/" if op != plain(place[0])])
        changed = text[: place.start()] + other + text[place.end() :]
    if changed is None:
        return None
    value = evaluate(plain(changed[start : end + len(changed) - len(text)]))
    return (changed, value) if value is not None and _acceptable(mark.value, value) else None


def _acceptable(right: Fraction, wrong: Fraction) -> bool:
    """Returns whether a wrong value could pass: another, positive, not huge, whole where it should be."""
    whole = right.denominator > 1 or wrong.denominator == 1
    return abs(wrong - right) > 2 * TOLERANCE and 0 < wrong < VALUE_LIMIT and whole


def _carry_on(
    question: str, lines: Sequence[WorkedLine], index: int, mark: Mark, text: str, value: Fraction
) -> tuple[str, ...] | None:
    """Returns the steps where `mark`, in `text` at `index`, states `value`, and all that follows."""
    changed: Changed = {}
    results: list[dict[int, Fraction]] = [{} for _ in lines]
    for at in range(index, len(lines)):
        marks = lines[at].marks
        first = next(i for i, other in enumerate(marks) if other is mark) if at == index else 0
        for place in range(first, len(marks)):
            other = marks[place]
            new = value if other is mark else _recomputed(other, changed)
            if new == other.value:
                continue
            if new is None or not _unambiguous(question, lines, at, place):
                return None
            changed[other.value] = results[at][other.result] = new
    steps = [line.text for line in lines[:index]]
    for at in range(index, len(lines)):
        stated = numbers(lines[at].text)
        values = {i: changed[n] for i, n in enumerate(stated) if n in changed} | results[at]
        shown = rewrite(text if at == index else lines[at].text, values)
        if shown is None:
            return None
        steps.append(shown)
    return tuple(steps)


def _recomputed(mark: Mark, changed: Changed) -> Fraction | None:
    """Returns the mark's value with the changed operands; None where no solution could state it."""
    if not changed.keys() & set(numbers(mark.expression)):
        return mark.value
    pieces = NUMBER.sub(lambda m: f"({changed.get(number(m[0]), number(m[0]))})", mark.expression)
    value = evaluate(pieces)
    if value is None or not 0 < value < VALUE_LIMIT or format_value(value) is None:
        return None
    return value


def _unambiguous(question: str, lines: Sequence[WorkedLine], index: int, place: int) -> bool:
    """Returns whether every number equal to the value of a mark can only mean this mark's result."""
    marks = lines[index].marks
    value = marks[place].value
    taken = numbers(question) + [n for line in lines[:index] for n in numbers(line.text)]
    taken += [n for mark in marks[: place + 1] for n in numbers(mark.expression)]
    taken += [mark.value for mark in marks[:place] + marks[place + 1 :]]
    taken += [mark.value for line in lines[index + 1 :] for mark in line.marks]
    return value not in taken
