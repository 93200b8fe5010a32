"""The accuracy and the compute of a search, with intervals, from the rows of its file.

A problem that was lost has no candidates and counts as wrong, so a scorer cannot gain by raising on
hard problems; how many were lost, and why, is part of the summary.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import Interval, Missing, Resamples, accuracy_interval, counted
from jprm.grade import united
from jprm.search.budget import Cost, SearchCost
from jprm.search.selection import Candidate, Tie, accuracy, unjudged

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Choosing:
    """How a row's candidates become one answer.

    aggregation, choice, tie: as in `winners`. pool: the turn whose candidates are meant, -1 the last.
    missing: what a problem counts that was searched, but none of whose candidates has a score.
    """

    aggregation: str = "min"
    choice: str = "argmax"
    tie: Tie = "first"
    pool: int = -1
    missing: Missing = "wrong"


def candidates_of(row: Row, pool: int = -1) -> list[Candidate]:
    """Returns the candidates of a row, or of one of its pools where it has some; equal answers get one spelling."""
    every = [Candidate(c["answer"], c["correct"], tuple(c["rewards"])) for c in row["candidates"]]
    return united([[every[i] for i in row["pools"][pool]] if row["pools"] else every])[0]


def correctness(rows: Sequence[Row], choosing: Choosing | None = None) -> np.ndarray:
    """Says whether (or, for shared ties, how likely) each problem's choice is right [P]."""
    return _choices(rows, choosing)[0]


def accuracy_of(rows: Sequence[Row], choosing: Choosing | None = None, resamples: Resamples | None = None) -> Interval:
    """Returns the accuracy of the choices with its interval over problems."""
    by, draws = choosing or Choosing(), resamples or _resamples(rows)
    return accuracy_interval(*_choices(rows, by), by.missing, draws)


def missing_share(rows: Sequence[Row], choosing: Choosing | None = None) -> float:
    """Returns the share of the problems that were searched, but none of whose candidates has a score."""
    return float(_choices(rows, choosing)[1].mean())


def _choices(rows: Sequence[Row], choosing: Choosing | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns what each problem's choice counts, and whether the problem has candidates but no score among them [P]."""
    by = choosing or Choosing()
    pools = [candidates_of(row, by.pool) for row in rows]
    silent = unjudged(pools, by.aggregation, by.choice) & np.array([bool(pool) for pool in pools])
    return counted(accuracy(pools, by.aggregation, by.choice, by.tie), silent, by.missing), silent


def budget_of(row: Row) -> SearchCost:
    """Reads what the search of a problem cost."""
    spent = row["budget"]
    return SearchCost(Cost(**spent["generator"]), Cost(**spent["verifier"]))


def summary(rows: Sequence[Row], choosing: Choosing | None = None) -> dict[str, Any]:
    """Returns accuracy with its interval, mean cost per problem, and the lost problems by reason."""
    at = accuracy_of(rows, choosing)
    total = sum((budget_of(row) for row in rows), SearchCost())
    n = len(rows)
    return {
        "accuracy": at.value,
        "low": at.low,
        "high": at.high,
        "n_problems": n,
        "flops": total.flops / n,
        "generator_tokens": total.generator.tokens / n,
        "verifier_tokens": total.verifier.tokens / n,
        "missing_share": missing_share(rows, choosing),
        "lost": dict(Counter(row["error"] for row in rows if row["error"]).most_common()),
    } | {f"by {key}": value for key, value in asdict(choosing or Choosing()).items()}


def _resamples(rows: Sequence[Row]) -> Resamples:
    if not rows:
        raise UserError("a search without problems has no table")
    return Resamples.of([row["problem_id"] for row in rows])
