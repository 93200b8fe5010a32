"""Guided search against best-of-N with the same scorer, at the same FLOPs of solving and judging."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.digests import sha256
from jprm.evaluate import (
    BestOfNAccuracy,
    Missing,
    Resamples,
    ScoredCandidate,
    accuracy_interval,
    best_of_n,
    mean_difference,
)
from jprm.search import Choosing, aggregate, candidates_of, correctness
from jprm.search.table import accuracy_of, budget_of, missing_share
from jprm.uses.config import UsesConfig
from jprm.uses.grid import interval_row
from jprm.uses.judges import Judge
from jprm.uses.pool import Pool
from jprm.uses.search_axes import added_by, settings_of
from jprm.uses.searched import Searched

REFERENCE = "best_of_n"


def guided(config: UsesConfig, asked: Mapping[str, dict[str, Any]]) -> list[tuple[str, Searched]]:
    """All searches by scorer; `asked` says who a scorer of that name is, as fields of `Searched`."""
    search = config.search
    return [
        (scorer, _searched(config, strategy, settings, scorer, asked))
        for scorer in search.scorers
        for strategy in search.strategies
        for settings in settings_of(search, strategy)
    ]


def references(config: UsesConfig, asked: Mapping[str, dict[str, Any]]) -> dict[str, Searched]:
    """Best-of-N as a search of its own, for the scorers that have not judged the stored candidates."""
    settings = {"n": config.evaluate.candidates}
    return {
        scorer: _searched(config, REFERENCE, settings, scorer, asked)
        for scorer in config.search.scorers
        if asked[scorer]["scorer"]
    }


def _searched(
    config: UsesConfig, strategy: str, settings: dict[str, Any], scorer: str, asked: Mapping[str, dict[str, Any]]
) -> Searched:
    search = config.search
    named = {strategy, scorer, *(value for value in settings.values() if isinstance(value, str))}
    own = {name for _, name in added_by(search.plugin)} & named
    return Searched(
        strategy,
        json.dumps(settings, sort_keys=True),
        votes=config.verify.draws(search.votes),
        problems=search.problems,
        split=config.evaluate.split,
        plugin=sha256(search.plugin) if search.plugin and own else "",
        **asked[scorer],
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """Best-of-N with one scorer: its accuracies, the problems [P] they are of, FLOPs of a candidate."""

    best: BestOfNAccuracy
    problems: list[str]
    each: float

    @classmethod
    def stored(cls, pool: Pool, judge: Judge) -> Reference:
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

        Paired by problem, at the FLOPs that the engine spent and, under names with `cached_`, at
        those that it would have with all prefixes cached. The number of candidates is rounded up, and
        limited by those that were drawn (`spent` tells; None where all was lost before it cost
        anything).
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
    found: Sequence[tuple[str, Searched, Sequence[dict[str, Any]]]],
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
