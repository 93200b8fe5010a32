"""A user's file of scorers, strategies, aggregations and choices, for the command line."""

from __future__ import annotations

from pathlib import Path

from jprm.errors import UserError
from jprm.score import known_scorers
from jprm.score.registry import run_file
from jprm.search.plan import strategy
from jprm.search.selection import aggregation, choice


def load_plugins(path: Path) -> None:
    """Runs a Python file that registers something. Raises UserError where it fails or registers nothing."""
    before = _names()
    run_file(path)
    if _names() == before:
        raise UserError(
            f"{path}: registers nothing; decorate with @scorer, @strategy, @aggregation or @choice"
        )


def _names() -> set[tuple[str, str]]:
    kinds = {
        "scorer": known_scorers(),
        "strategy": strategy,
        "aggregation": aggregation,
        "choice": choice,
    }
    return {(kind, name) for kind, names in kinds.items() for name in names}
