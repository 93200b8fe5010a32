"""`python -m jprm choose`: every aggregation and choice on a file of step scores, as a table.

The grid is reported as a whole, since papers differ in which cell they plot (GenPRM, appendix A.1,
names three aggregations and no choice).
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from jprm.errors import INCOMPLETE, UserError
from jprm.evaluate import Missing, Resamples, accuracy_interval, check_missing, counted, finite
from jprm.formats import read_step_scores
from jprm.grade import Equivalence, Grouping, united
from jprm.jobs import write_atomic
from jprm.search.selection import WITHOUT_SCORES, Candidate, Tie, accuracy, aggregation, choice, scores_of, unjudged
from jprm.terminal import terminal

Pool = Sequence[Candidate]  # the candidates of one problem
MOST_SHOWN = 3


def sigmoid(score: float) -> float:
    """Returns the probability that a logit stands for."""
    small = math.exp(-abs(score))  # of a negative number only: it cannot overflow
    return 1 / (1 + small) if score >= 0 else small / (1 + small)


def exponential(score: float) -> float:
    """Returns the probability that a logarithm stands for. Raises UserError for a score above 0, which is none."""
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
    pools = [[Candidate.of(row, TRANSFORMS[transform]) for row in stored] for stored in problems.values()]
    pools, said = voting(pools) if answers == "equivalent" else (pools, "")
    rows = grid(pools, tie, missing=missing)  # type: ignore[arg-type] - checked above
    if json_file is not None:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        write_atomic(json_file, lines)
    about = f"ties: {tie}; problems without a judged candidate are "
    about += "counted as wrong" if missing == "wrong" else "left out"
    _print(pools, rows, about, [*([said] if said else []), *faults])
    return INCOMPLETE if faults else 0


def voting(pools: Sequence[Pool]) -> tuple[list[list[Candidate]], str]:
    """Gives equal answers of candidates one spelling; returns the candidates, and says in words what changed.

    Answers that spelling cannot compare are compared in an execution pool, for seconds each at most.
    """
    with Equivalence() as equal:
        found = united(pools, equal)
    before, after = (sum(len({c.answer for c in p}) for p in each) for each in (pools, found))
    untold = ", ".join(f"{count} {grade}" for grade, count in equal.untold.items())
    said = [f"{before - after} spellings vote with an equal answer"] * (before > after)
    said += [f"pairs that could not be compared count as different: {untold}"] * bool(untold)
    return found, "; ".join(said)


def grid(
    problems: Sequence[Pool], tie: Tie = "first", seed: int = 0, missing: Missing = "wrong"
) -> list[dict[str, Any]]:
    """Returns one row per aggregation and choice: `aggregation, choice, accuracy, low, high, n_problems,
    missing_share, missing_as, refused`.

    Choices that read no score (majority under "first" and "shared", oracle) are rows as well, equal
    over the aggregations. What these rewards do not allow has None for numbers, and in `refused` the
    reason. missing: what a problem counts none of whose candidates has a score.
    """
    check_missing(missing)
    resamples = Resamples.of(list(range(len(problems))), seed=seed)
    rows = []
    for how in aggregation:
        refusal = _refusal(problems, how)
        for pick in choice:
            row: dict[str, Any] = {"aggregation": how, "choice": pick, "accuracy": None, "low": None, "high": None}
            row |= {"n_problems": len(problems), "missing_share": None, "missing_as": missing, "refused": ""}
            rows.append(row)
            by = "last" if refusal and pick in WITHOUT_SCORES and tie != "score" else how
            try:
                right, silent = accuracy(problems, by, pick, tie), unjudged(problems, by, pick)
            except UserError as error:
                row["refused"] = str(error)
            else:
                at = accuracy_interval(counted(right, silent, missing), silent, missing, resamples)
                row |= {"accuracy": finite(at.value), "low": finite(at.low), "high": finite(at.high)}
                row["missing_share"] = float(silent.mean())
    return rows


def _refusal(problems: Sequence[Pool], how: str) -> str:
    """Says why these rewards do not have this aggregation; "" where they do."""
    try:
        for candidates in problems:
            scores_of(candidates, how)
    except UserError as error:
        return str(error)
    return ""


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
    more = [f"... and {len(faults) - MOST_SHOWN} more"] * (len(faults) > MOST_SHOWN)
    for line in [*faults[:MOST_SHOWN], *more]:
        console.print(line)


def _cell(row: dict[str, Any]) -> str:
    if row["accuracy"] is None:
        return "-"
    ends = "(no interval)" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['accuracy']:.4f} {ends}"
