"""The points of the axes against one another: cells that differ in one axis alone, paired on the same solutions.

Two values of an axis are compared in every setting of the others, and, where there are several settings, in their mean:
each solution then counts by the share of the settings in which it was judged rightly. Seeds are repetitions.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.experiments.sweep.cells import Cell
from jprm.experiments.sweep.comparisons import Comparison, compared, compared_over_seeds
from jprm.experiments.sweep.config import Axis
from jprm.experiments.sweep.short_names import as_key, heading, in_words, value_in_words, varying
from jprm.experiments.sweep.table import Measured

MOST_SETTINGS = 40  # comparisons in single settings, which come after the means; the others are counted
VOTES_KEY = "verify.n_votes"


@dataclass(frozen=True)
class AxisComparisons:
    """What was compared, means first; `left_out` counts the comparisons in single settings that were not made."""

    made: tuple[Comparison, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class _Pairs:
    """Two sides of an axis, the second listed later, in one setting of the others: (second, first) by seed."""

    second: dict[str, Any]
    first: dict[str, Any]
    setting: dict[str, Any]
    by_seed: dict[int, tuple[Measured, Measured]]


def compare_along_axes(axes: Sequence[Axis], measured: Sequence[Measured]) -> AxisComparisons:
    """Every two values of every axis: the mean over the settings of the other axes, for each number of votes that was
    asked for, and each setting alone."""
    grid = [m for m in measured if not m.cell.variant]
    means: list[Comparison] = []
    alone: list[tuple[_Pairs, str]] = []
    for keys in _together(axes):
        pairs = list(_pairs(keys, grid))
        differing = varying([pair.setting for pair in pairs])
        averaged = [key for key in differing if key not in (VOTES_KEY, "benchmark")]
        kept = [key for key in differing if key not in averaged]
        groups: dict[Any, list[_Pairs]] = {}
        for pair in pairs:
            place = pair.second, pair.first, [pair.setting[key] for key in kept]
            groups.setdefault(as_key(place), []).append(pair)
        for settings in groups.values():
            if len(settings) > 1:
                over = ", ".join(heading(key, averaged) for key in averaged)
                said = in_words(settings[0].setting, kept), f"mean of {len(settings)} settings of {over}"
                means.append(_compared(_mean(settings), ", ".join(filter(None, said))))
        alone += [(pair, in_words(pair.setting, differing)) for pair in pairs]
    made = [_compared(pair, said) for pair, said in alone[:MOST_SETTINGS]]
    return AxisComparisons((*means, *made), len(alone) - len(made))


def _together(axes: Sequence[Axis]) -> list[tuple[str, ...]]:
    """The keys that vary together: those of one zip name, and each of the others alone. Seeds are no axis here."""
    groups: dict[Any, list[str]] = {}
    for i, axis in enumerate(axes):
        if axis.key != "cell.seed":
            groups.setdefault(i if axis.zip is None else axis.zip, []).append(axis.key)
    return [tuple(keys) for keys in groups.values()]


def _pairs(keys: tuple[str, ...], grid: Sequence[Measured]) -> Iterator[_Pairs]:
    """Yields each pair of values of these axes in each setting of the others, with the seeds that both values have."""
    settings: dict[Any, dict[Any, dict[int, Measured]]] = {}
    facts: dict[Any, dict[str, Any]] = {}
    for m in grid:
        values, setting = dict(m.cell.values), _setting(keys, m.cell)
        side = {key: values[key] for key in keys}
        for one in (side, setting):
            facts[as_key(one)] = one
        settings.setdefault(as_key(setting), {}).setdefault(as_key(side), {})[m.cell.verifier.seed] = m
    for setting, sides in settings.items():
        for first, second in itertools.combinations(sides, 2):
            seeds = [seed for seed in sides[first] if seed in sides[second]]
            by_seed = {seed: (sides[second][seed], sides[first][seed]) for seed in seeds}
            if by_seed:
                yield _Pairs(facts[second], facts[first], facts[setting], by_seed)


def _setting(keys: tuple[str, ...], cell: Cell) -> dict[str, Any]:
    """All that makes a cell but these axes and the seed."""
    setting = {key: value for key, value in cell.values if key not in (*keys, "cell.seed")}
    for key, value in (("cell.size", cell.verifier.size), ("cell.train_examples", cell.verifier.examples)):
        if key not in keys:
            setting[key] = value
    return setting | {"benchmark": cell.votes.benchmark.name}


def _mean(settings: Sequence[_Pairs]) -> _Pairs:
    """The mean over settings, by seed, of those seeds that all of them have."""
    seeds = [seed for seed in settings[0].by_seed if all(seed in pair.by_seed for pair in settings)]
    by_seed = {}
    for seed in seeds:
        second, first = zip(*(pair.by_seed[seed] for pair in settings), strict=True)
        by_seed[seed] = _averaged(second), _averaged(first)
    return dataclasses.replace(settings[0], by_seed=by_seed)


def _averaged(cells: Sequence[Measured]) -> Measured:
    """A cell whose outcome on each solution, at the votes asked for, is the mean of those of the cells."""
    first, k = cells[0], cells[0].cell.votes_asked
    columns = [m.curve.ks.index(m.cell.votes_asked) for m in cells]
    right, missing = (
        np.mean([getattr(m.curve, name)[:, [at]] for m, at in zip(cells, columns, strict=True)], axis=0)
        for name in ("right", "missing")
    )
    curve = dataclasses.replace(first.curve, ks=(k,), right=right, missing=missing, exact=first.curve.exact[:1])
    return dataclasses.replace(first, curve=curve)


def _compared(pairs: _Pairs, setting: str) -> Comparison:
    sides = in_words(pairs.second, pairs.second), in_words(pairs.first, pairs.first)
    of_first = ", ".join(map(value_in_words, pairs.first.values()))
    question = ", ".join(filter(None, [f"{sides[0]} instead of {of_first}", setting]))
    both = list(pairs.by_seed.values())
    k, first_k = (m.cell.votes_asked for m in both[0])
    if len(both) > 1:
        found = compared_over_seeds(f"{question} ({len(both)} seeds)", both, k, first_k)
    else:
        found = compared(question, *both[0], k, first_k)
    return dataclasses.replace(found, sides=sides)
