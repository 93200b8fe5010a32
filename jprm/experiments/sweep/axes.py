"""A declarative grid: axes over dotted keys of the configuration become points, each a configuration of its own.

    [[axes]]                              [[axes]]                         [[axes]]
    key = "verify.temperature"            key = "cell.size"                key = "train.steps"
    values = [0.7, 1.1]                   values = ["tiny-0.1m", ...]      values = [200, 400]
                                          zip = "scale"                    zip = "scale"

The axes multiply, the first varying slowest; axes with one `zip` name are walked together. `[[only]]` and `[[skip]]`
choose among the points by tables of keys and values, a list of values meaning any of them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jprm.config import replaced
from jprm.errors import UserError
from jprm.experiments.sweep.config import Axis, SweepConfig
from jprm.jobs import flattened

# A point is a part of one run directory under one plan, so these are the same for all of them.
FIXED = ("name", "directory", "axes", "only", "skip", "launch")


@dataclass(frozen=True)
class Point:
    """A configuration without axes, and what the axes set in it."""

    config: SweepConfig
    values: tuple[tuple[str, Any], ...] = ()


def points(config: SweepConfig) -> list[Point]:
    """The points of a sweep, in order; the configuration itself where it has no axes.

    Raises UserError for unknown keys, values that do not fit theirs, axes zipped at different lengths, and filters
    that leave nothing.
    """
    if not config.axes:
        if config.only or config.skip:
            raise UserError("only and skip choose among the points of [[axes]], and there are none")
        return [Point(config)]
    _check(config)
    base = config.model_copy(update={"axes": (), "only": (), "skip": ()})
    chosen = [values for values in _products(config.axes) if _kept(config, values)]
    if not chosen:
        raise UserError("only and skip leave no point of the axes")
    return [Point(_at(base, values), tuple(values.items())) for values in chosen]


def _check(config: SweepConfig) -> None:
    keys = [axis.key for axis in config.axes]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise UserError(f"axes: two of them have the key {twice!r}")
    for key in keys:
        if key.split(".")[0] in FIXED:
            raise UserError(f"axes: {key!r} is the same for a whole run directory")
    for table in (*config.only, *config.skip):
        if strange := next((key for key in flattened(table) if key not in keys), None):
            raise UserError(f"only/skip: {strange!r} is no axis; they are {', '.join(keys)}")


def _products(axes: tuple[Axis, ...]) -> Iterator[dict[str, Any]]:
    """The values of each point by key, before any choice."""
    groups: dict[Any, list[Axis]] = {}
    for i, axis in enumerate(axes):
        groups.setdefault(i if axis.zip is None else axis.zip, []).append(axis)
    steps = []
    for members in groups.values():
        lengths = {axis.key: len(axis.values) for axis in members}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} has {n}" for key, n in lengths.items())
            raise UserError(f"axes zipped as {members[0].zip!r} differ in length: {told}")
        keys = tuple(lengths)
        walked = zip(*(axis.values for axis in members), strict=True)
        steps.append([dict(zip(keys, values, strict=True)) for values in walked])
    for combination in itertools.product(*steps):
        merged = {key: value for part in combination for key, value in part.items()}
        yield {axis.key: merged[axis.key] for axis in axes}


def _kept(config: SweepConfig, values: dict[str, Any]) -> bool:
    wanted = not config.only or any(_fits(table, values) for table in config.only)
    return wanted and not any(_fits(table, values) for table in config.skip)


def _fits(table: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether a point has the values of a table; TOML reads an unquoted `cell.size` as a table in a table."""
    return all(
        values[key] in wanted if isinstance(wanted, list) else values[key] == wanted
        for key, wanted in flattened(table).items()
    )


def _at(base: SweepConfig, values: dict[str, Any]) -> SweepConfig:
    n_votes, shown = values.get("verify.n_votes"), base.evaluate.votes_shown
    if isinstance(n_votes, int) and shown is not None and "evaluate.votes_shown" not in values:
        # more votes than a point has cannot be shown, and those it was made for should be
        values = values | {"evaluate.votes_shown": tuple(sorted({n for n in shown if n < n_votes} | {n_votes}))}
    return replaced(base, values, "axes")
