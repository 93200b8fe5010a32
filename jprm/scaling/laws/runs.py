"""From the rows of a table to runs: numbers, training curves, and notes on what was left out.

Invariant: nothing is left out or computed in the place of a column without a note that says so.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.scaling.chinchilla import FLOPS_PER_PARAMETER_TOKEN
from jprm.scaling.laws.table import Columns, RunTable, existing, is_sweep

_LARGEST = 1e100  # of any number: products of two still have room
_SAME_FLOPS = 0.2  # by which a column of FLOPs may differ from 6 N D without a note


@dataclass(frozen=True)
class TrainingCurve:
    """A run that was read more than once: the FLOPs spent [s], rising, and the loss there [s]."""

    params: float
    flops: np.ndarray
    losses: np.ndarray


@dataclass(frozen=True)
class Runs:
    """Finished runs [n], their training curves where the table has them, the columns read, and notes on the reading."""

    params: np.ndarray
    tokens: np.ndarray
    flops: np.ndarray
    losses: np.ndarray
    curves: tuple[TrainingCurve, ...]
    columns: Columns
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.losses)


@dataclass(frozen=True)
class _Reading:
    """One row: the loss after some tokens; `run` is None where no column names the run."""

    params: float
    tokens: float
    flops: float
    loss: float
    run: str | None
    place: str


def read_runs(
    table: RunTable,
    columns: Columns = Columns(),  # noqa: B008 - frozen
    *,
    where: Sequence[str] = (),
    drop_highest: int = 0,
    derive_tokens: bool = False,
) -> Runs:
    """Reads the runs of a table. `where` are KEY=VALUE that a row must have, all of them.

    Rows that share the name of a run are its training curve, and its last reading is the run. Rows without a difference
    count once. `drop_highest` leaves out that many runs of the highest loss. Tokens are FLOPs / (6 parameters) with
    `derive_tokens` or without a column of theirs; FLOPs are 6 parameters x tokens without one. Raises UserError with
    file, line and column for a number that is none or not above 0.
    """
    columns = columns.found_in(table, derive_tokens)
    notes = [f"columns: {columns}"]
    kept = _chosen(table, where, notes)
    readings = _distinct([_reading(*row, columns) for row in kept], notes)
    runs, curves = _finished(readings, notes)
    if drop_highest:
        if not 0 <= drop_highest < len(runs):
            raise UserError(f"--drop-highest {drop_highest}: there are {len(runs)} runs")
        highest = sorted(runs, key=lambda one: one.loss)[-drop_highest:]
        runs = [one for one in runs if one not in highest]
        notes.append(f"the {drop_highest} runs of the highest loss are left out, as asked")
    params, tokens, flops, losses = (
        np.array([getattr(one, name) for one in runs]) for name in ("params", "tokens", "flops", "loss")
    )
    if columns.tokens is None:
        notes.append(f"tokens are {columns.flops!r} / (6 x {columns.params!r})")
    elif columns.flops is None:
        notes.append(f"FLOPs are 6 x {columns.params!r} x {columns.tokens!r}")
    else:
        ratio = float(np.median(flops / (FLOPS_PER_PARAMETER_TOKEN * params * tokens)))
        if abs(math.log(ratio)) > _SAME_FLOPS:
            notes.append(
                f"{columns.flops!r} is {ratio:.3g} times 6 x parameters x tokens (median); approaches 3 and 3' "
                "decide by 6 x parameters x tokens, 2 and 1 by the column"
            )
    return Runs(params, tokens, flops, losses, curves, columns, tuple(notes))


def _chosen(table: RunTable, where: Sequence[str], notes: list[str]) -> list[tuple[dict[str, Any], str]]:
    """The rows that are asked for, with their places."""
    rows = list(zip(table.rows, table.places, strict=True))
    asked = []
    for item in where:
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--where {item}: expected KEY=VALUE")
        asked.append((existing(table, key.strip(), "--where"), value.strip()))
    for key, value in asked:
        kept = [(row, place) for row, place in rows if _is(row.get(key), value)]
        if not kept:
            seen = [said for said, _ in Counter(_said(row.get(key)) for row, _ in rows).most_common(6)]
            raise UserError(f"{table.source}: no row has {key} = {value!r}; there are {', '.join(map(repr, seen))}")
        rows = kept
    if where:
        notes.append(f"{len(rows)} of {len(table.rows)} rows have {' and '.join(where)}")
    if is_sweep(table):
        if "variant" not in {key for key, _ in asked}:
            rows = _without(rows, "variant", "rows of ablations are left out", notes)
        rows = _without(rows, "status", "rows of failed cells are left out", notes)
    if not rows:
        raise UserError(f"{table.source}: no row is left ({'; '.join(notes)})")
    return rows


def _without(
    rows: list[tuple[dict[str, Any], str]], key: str, what: str, notes: list[str]
) -> list[tuple[dict[str, Any], str]]:
    kept = [(row, place) for row, place in rows if not row.get(key)]
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} {what}")
    return kept


def _said(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _is(value: Any, asked: str) -> bool:
    """Compares as text, or as numbers: 4 is 4.0."""
    said = _said(value)
    if said == asked:
        return True
    try:
        return float(said) == float(asked)
    except ValueError:
        return said.lower() == asked.lower() and isinstance(value, bool)


def _reading(row: dict[str, Any], place: str, columns: Columns) -> _Reading:
    def number(name: str) -> float:
        return _number(row.get(name), f"{place}: column {name!r}")

    assert columns.params and columns.loss
    params, loss = number(columns.params), number(columns.loss)
    flops = number(columns.flops) if columns.flops else None
    if columns.tokens:
        tokens = number(columns.tokens)
    else:
        assert flops is not None
        tokens = flops / (FLOPS_PER_PARAMETER_TOKEN * params)
    if flops is None:
        flops = FLOPS_PER_PARAMETER_TOKEN * params * tokens
    run = _said(row.get(columns.run)) if columns.run else ""
    return _Reading(params, tokens, flops, loss, run or None, place)


def _number(value: Any, where: str) -> float:
    if value is None or value == "":
        raise UserError(f"{where} is empty; leave such rows out with --where, or fill it in")
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise UserError(f"{where} is {_shortened(value)}, not a number")
    if not 1 / _LARGEST < number < _LARGEST:
        raise UserError(f"{where} is {_shortened(value)}; it must be above 0 and finite")
    return number


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _distinct(readings: list[_Reading], notes: list[str]) -> list[_Reading]:
    """Keeps each reading once: a sweep repeats a training run's numbers in a row for every number of votes."""
    found: dict[_Reading, _Reading] = {}
    for one in readings:
        found.setdefault(replace(one, place=""), one)
    if len(found) < len(readings):
        notes.append(f"{len(readings) - len(found)} rows repeat another row's numbers and count once")
    return list(found.values())


def _finished(readings: list[_Reading], notes: list[str]) -> tuple[list[_Reading], tuple[TrainingCurve, ...]]:
    """Returns the last reading of every run, and the curves of runs that have several."""
    by_run: dict[object, list[_Reading]] = {}
    for i, one in enumerate(readings):
        by_run.setdefault(i if one.run is None else one.run, []).append(one)
    runs, curves = [], []
    for read in by_run.values():
        ordered = sorted(read, key=lambda one: one.flops)
        runs.append(ordered[-1])
        for before, after in zip(ordered, ordered[1:], strict=False):
            if after.params != before.params:
                raise UserError(
                    f"{after.place}: run {after.run!r} has {after.params:g} parameters here and "
                    f"{before.params:g} at {before.place}; name the column of runs with --run"
                )
            if after.flops == before.flops:
                raise UserError(
                    f"{after.place}: run {after.run!r} has another loss at the same compute than at "
                    f"{before.place}; name the column of runs with --run"
                )
        if len(ordered) > 1:
            flops, losses = (np.array([getattr(one, name) for one in ordered]) for name in ("flops", "loss"))
            curves.append(TrainingCurve(ordered[0].params, flops, losses))
    if curves:
        notes.append(f"{len(readings)} rows are the training curves of {len(runs)} runs, whose last losses are fitted")
    return runs, tuple(curves)
