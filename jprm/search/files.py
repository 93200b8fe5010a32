"""Choosing from a file of step scores: the whole grid as a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from jprm.errors import UserError
from jprm.formats import read_step_scores
from jprm.search.selection import Candidate, Tie, choice, grid


def print_grid(path: Path, tie: str = "first") -> None:
    """Prints accuracy [low, high] for every aggregation and choice, and what was left out.

    The file is as `jprm.formats.read_step_scores` reads it; votes need its rows to have an `answer`.
    Raises UserError for an unknown tie rule and a file without a usable row.
    """
    if tie not in get_args(Tie):
        raise UserError(f"--tie {tie}: no such rule; known: {', '.join(get_args(Tie))}")
    problems, rejected = read_step_scores(path)
    if not problems:
        raise UserError(f"{path}: no usable row" + (f" ({rejected[0]})" if rejected else ""))
    pools = [[Candidate.of(stored) for stored in samples] for samples in problems.values()]
    cells = {(row["aggregation"], row["choice"]): row for row in grid(pools, tie)}  # type: ignore[arg-type]
    sizes = [len(pool) for pool in pools]
    console = Console(highlight=False, width=120)
    table = Table("aggregation", *choice.names(), box=None)
    for how in dict.fromkeys(how for how, _ in cells):
        shown = (cells[how, pick] for pick in choice.names())
        table.add_row(how, *(f"{c['accuracy']:.4f} {_ends(c['low'], c['high'])}" for c in shown))
    console.print(table)
    console.print(
        f"{len(pools)} problems, {min(sizes)} to {max(sizes)} candidates each, ties: {tie}"
    )
    if all(candidate.answer is None for pool in pools for candidate in pool):
        console.print("no row has an answer, so nobody votes: majority and weighted choose nothing")
    for reason in rejected[:3]:
        console.print(f"left out: {reason}", markup=False)
    if len(rejected) > 3:
        console.print(f"... and {len(rejected) - 3} more")


def _ends(low: float, high: float) -> str:
    """nan of a single problem; in brackets, rich would take it for markup."""
    return "(no interval)" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
