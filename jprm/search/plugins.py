"""A user's file of scorers, strategies, aggregations and choices, for the command line."""

from __future__ import annotations

import functools
from pathlib import Path

from jprm.errors import UserError
from jprm.score import known_scorers
from jprm.score.registry import run_file
from jprm.search.plan import strategy
from jprm.search.selection import aggregation, choice


@functools.cache
def load_plugins(path: Path) -> frozenset[tuple[str, str]]:
    """Runs a Python file that registers something; the (kind, name) of what it adds, as ("scorer", "mine").

    Raises UserError where it fails or registers nothing.
    """
    before = _names()
    run_file(path)
    added = _names() - before
    if not added:
        raise UserError(f"{path}: registers nothing; decorate with @scorer, @strategy, @aggregation or @choice")
    return frozenset(added)


def _names() -> set[tuple[str, str]]:
    kinds = {"scorer": known_scorers(), "strategy": strategy, "aggregation": aggregation, "choice": choice}
    return {(kind, name) for kind, names in kinds.items() for name in names}
