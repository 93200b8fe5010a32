"""Guided search against best-of-N with the same verifier, at the same FLOPs of solving and judging."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from jprm.evaluate import Resamples, mean_difference, mean_interval
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.search import correctness
from jprm.search.table import budget_of
from jprm.uses.config import UsesConfig
from jprm.uses.grid import interval_row
from jprm.uses.judges import Judge
from jprm.uses.pool import Pool
from jprm.uses.searched import Searched, load_rows


def guided(config: UsesConfig, verifier: Verifier, strategy: str) -> Searched:
    """The search of one strategy."""
    search = config.search
    sizes: dict[str, Any] = {"width": search.width, "expand": search.expand}
    if strategy == "mcts":
        sizes = {"walks": search.width * search.expand, "expand": search.expand}
    elif strategy == "lookahead":
        sizes["greedy"] = False
    settings = json.dumps(sizes, sort_keys=True)
    return Searched(
        strategy, settings, verifier, search.votes, search.problems, config.evaluate.split
    )


def guided_rows(
    lab: Lab, searches: list[Searched], pool: Pool, judge: Judge
) -> list[dict[str, Any]]:
    """Each search, and best-of-N of as many candidates as it could have paid for, paired by problem.

    The number of candidates is rounded up, and limited by those that were drawn (`spent` tells).
    """
    best = pool.choosing(judge)
    each = pool.writing_flops + pool.judging_flops(judge)
    place = {problem: i for i, (problem, _) in enumerate(pool.drawn)}
    rows = []
    for task in searches:
        found = [row for row in load_rows(lab.stage(task)) if row["problem_id"] in place]
        at = [place[row["problem_id"]] for row in found]
        resamples = Resamples.of([row["problem_id"] for row in found])
        flops = float(np.mean([budget_of(row).flops for row in found]))
        n = min(pool.most, max(1, -int(-flops // each)))
        mine, other = correctness(found), best.accuracy["best", n][at]
        rows.append(
            {"figure": "search", "strategy": task.strategy, "settings": task.settings}
            | interval_row("accuracy", mean_interval(mine, resamples))
            | interval_row("best_of_n", mean_interval(other, resamples))
            | interval_row("gain", mean_difference(other, mine, resamples))
            | {"n": n, "flops": flops, "spent": n * each / flops, "n_problems": len(found)}
            | {"lost": sum(bool(row["error"]) for row in found)}
        )
    return rows
