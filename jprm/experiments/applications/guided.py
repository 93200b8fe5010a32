"""Guided search against best-of-N with the same scorer, at the same FLOPs of solving and judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.evaluate import (
    BestOfNAccuracy,
    Missing,
    Resamples,
    ScoredCandidate,
    accuracy_interval,
    best_of_n,
    interval_row,
    mean_difference,
)
from jprm.experiments.applications.judgements import Judgements
from jprm.experiments.applications.pool import CandidatePool
from jprm.search import Choosing, aggregate, candidates_of, correctness
from jprm.search.table import accuracy_of, budget_of, missing_share
from jprm.tasks.search import Search


@dataclass(frozen=True, eq=False)
class Reference:
    """Best-of-N with one scorer: its accuracies, the problems [P] they are of, FLOPs of a candidate."""

    best: BestOfNAccuracy
    problems: list[str]
    each: float

    @classmethod
    def stored(cls, pool: CandidatePool, judge: Judgements) -> Reference:
        """From stored candidates and what a judge said of them."""
        each = pool.writing_flops + pool.judging_flops(judge)
        return cls(pool.choosing(judge), [problem for problem, _ in pool.drawn], each)

    @classmethod
    def searched(cls, rows: Sequence[dict[str, Any]], n: int, missing: Missing = "wrong") -> Reference:
        """From the rows of a best-of-N; a problem that was lost has no judged candidate."""
        lost = [ScoredCandidate(None, False, None)] * n
        problems = [
            [ScoredCandidate(c.answer, c.correct, aggregate(c.rewards, "min")) for c in candidates_of(row)] or lost
            for row in rows
        ]
        ids = [row["problem_id"] for row in rows]
        each = float(np.mean([budget_of(row).flops for row in rows])) / n
        best = best_of_n(problems, range(1, n + 1), problem_ids=ids, missing=missing)
        return cls(best, ids, each)

    def against(self, rows: Sequence[dict[str, Any]], choosing: Choosing) -> dict[str, Any]:
        """What is chosen of these rows against best-of-N of as many candidates as these rows could have paid for.

        Paired by problem, at the FLOPs that the engine spent and, under names with `cached_`, at those that it would
        have with all prefixes cached. The number of candidates is rounded up, and limited by those that were drawn
        (`spent` tells; None where all was lost before it cost anything).
        """
        place = {problem: i for i, problem in enumerate(self.problems)}
        rows = [row for row in rows if row["problem_id"] in place]
        mine = correctness(rows, choosing)
        at = [place[row["problem_id"]] for row in rows]
        resamples = Resamples.of([row["problem_id"] for row in rows])
        budgets = [budget_of(row) for row in rows]
        found: dict[str, Any] = {"n_problems": len(rows)}
        found |= {"lost": sum(bool(row["error"]) for row in rows)}
        found |= interval_row("accuracy", accuracy_of(rows, choosing, resamples))
        for name, spent in (
            ("", [budget.flops for budget in budgets]),
            ("cached_", [budget.cached_flops for budget in budgets]),
        ):
            flops = float(np.mean(spent))
            n = min(self.best.ks[-1], max(1, -int(-flops // self.each)))
            other = self.best.accuracy["best", n][at]
            found |= {f"{name}flops": flops, f"{name}n": n}
            found |= {f"{name}spent": n * self.each / flops if flops else None}
            found |= interval_row(
                f"{name}best_of_n", accuracy_interval(other, self.best.missing[n][at], self.best.missing_as, resamples)
            )
            found |= interval_row(f"{name}gain", mean_difference(other, mine, resamples))
        return found


def guided_rows(
    found: Sequence[tuple[str, Search, Sequence[dict[str, Any]]]],
    references: Mapping[str, Reference],
    choosing: Choosing | None = None,
) -> list[dict[str, Any]]:
    """Each search by (scorer, task, rows) beside best-of-N with the same scorer; see `Reference.against`."""
    choosing = choosing or Choosing()
    return [
        {"figure": "search", "strategy": task.strategy, "scorer": scorer}
        | {"settings": task.settings}
        | references[scorer].against(rows, choosing)
        | {"missing_share": missing_share(rows, choosing), "missing_as": choosing.missing}
        for scorer, task, rows in found
    ]
