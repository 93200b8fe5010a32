"""Choosing from a file of step scores: the whole grid as a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Missing
from jprm.formats import read_step_scores
from jprm.grade import Grouping
from jprm.jobs import write_atomic
from jprm.search.same_answers import voting
from jprm.search.selection import Candidate, Tie, choice, grid
from jprm.terminal import terminal

Pool = Sequence[Candidate]
MOST_SHOWN = 3


def sigmoid(score: float) -> float:
    """The probability of a logit."""
    small = math.exp(-abs(score))  # of a negative number only: it cannot overflow
    return 1 / (1 + small) if score >= 0 else small / (1 + small)


def exponential(score: float) -> float:
    """The probability of a logarithm. Raises UserError for a score above 0, which is none."""
    if score > 0:
        raise UserError(f"--transform exp: {score} is above 0 and so no logarithm of a probability")
    return math.exp(score)


TRANSFORMS: dict[str, Callable[[float], float]] = {"none": lambda score: score, "sigmoid": sigmoid, "exp": exponential}


def print_grid(
    path: Path,
    tie: str = "first",
    *,
    answers: str = "equivalent",
    transform: str = "none",
    missing: str = "wrong",
    json_file: Path | None = None,
) -> int:
    """Prints accuracy [low, high] for every aggregation and choice; 3 where rows were not read in full.

    The file is as `jprm.formats.read_step_scores` reads it; votes need its rows to have an `answer`, and
    count equal ones together ("equivalent", see `jprm.grade.classes`) or only those of one spelling ("exact").
    transform: of every step score, before all else. `json_file` gets a line per aggregation and choice
    (see `grid`). Raises UserError for an unknown word and a file without a usable row.
    """
    for option, value, known in (
        ("tie", tie, get_args(Tie)),
        ("answers", answers, get_args(Grouping)),
        ("transform", transform, TRANSFORMS),
        ("missing", missing, get_args(Missing)),
    ):
        if value not in known:
            raise UserError(f"--{option} {value}: no such rule; known: {', '.join(known)}")
    problems, faults = read_step_scores(path)
    if not problems:
        raise UserError(f"{path}: no usable row" + (f" ({faults[0]})" if faults else ""))
    change = TRANSFORMS[transform]
    pools = [[_changed(Candidate.of(s), change) for s in stored] for stored in problems.values()]
    pools, said = voting(pools) if answers == "equivalent" else (pools, "")
    rows = grid(pools, tie, missing=missing)  # type: ignore[arg-type] - checked above
    if json_file is not None:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        write_atomic(json_file, lines)
    about = f"ties: {tie}; problems without a judged candidate are "
    about += "counted as wrong" if missing == "wrong" else "left out"
    _print(pools, rows, about, [*([said] if said else []), *faults])
    return INCOMPLETE if faults else 0


def _changed(candidate: Candidate, change: Callable[[float], float]) -> Candidate:
    rewards = tuple(None if reward is None else change(reward) for reward in candidate.rewards)
    return dataclasses.replace(candidate, rewards=rewards)


def _print(pools: Sequence[Pool], rows: list[dict[str, Any]], about: str, faults: Sequence[str]) -> None:
    console = terminal(width=120)
    cells = {(row["aggregation"], row["choice"]): row for row in rows}
    table = Table("aggregation", *choice.names(), "none judged", box=None)
    for how in dict.fromkeys(how for how, _ in cells):
        here = [cells[how, pick] for pick in choice.names()]
        silent = max((row["missing_share"] or 0.0 for row in here), default=0.0)
        table.add_row(how, *map(_cell, here), f"{silent:.1%}")
    console.print(table)
    sizes = [len(pool) for pool in pools]
    console.print(f"{len(pools)} problems, {min(sizes)} to {max(sizes)} candidates each, {about}")
    if silent := sum(not c.rewards or None in c.rewards for pool in pools for c in pool):
        console.print(f"candidates with an unjudged step: {silent} of {sum(sizes)}")
    refused: dict[str, list[str]] = {}
    for row in rows:
        if row["refused"]:
            refused.setdefault(row["refused"], []).append(f"{row['choice']} by {row['aggregation']}")
    for reason, names in refused.items():
        console.print(f"-: {', '.join(names)}: {reason}")
    if all(candidate.answer is None for pool in pools for candidate in pool):
        console.print("no row has an answer, so nobody votes: majority and weighted choose nothing")
    for reason in faults[:MOST_SHOWN]:
        console.print(reason)
    if len(faults) > MOST_SHOWN:
        console.print(f"... and {len(faults) - MOST_SHOWN} more")


def _cell(row: dict[str, Any]) -> str:
    if row["accuracy"] is None:
        return "-"
    ends = "(no interval)" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['accuracy']:.4f} {ends}"
