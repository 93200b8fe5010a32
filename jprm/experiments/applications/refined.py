"""Refinement against turns: the critic, and what is left of its gain without the place of the fault or the score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jprm.evaluate import Missing, Resamples, interval_row, mean_difference, mean_interval, ratio_interval
from jprm.experiments.applications.guided import Reference
from jprm.search import Choosing, candidates_of
from jprm.search.table import accuracy_of, budget_of, missing_share

Rows = Sequence[dict[str, Any]]


def refinement_rows(by_method: Mapping[str, Rows], missing: Missing = "wrong") -> list[dict[str, Any]]:
    """Accuracy after each turn of the critic and its controls (`CONTROLS`), paired with turn 0.

    accuracy: mean over a problem's solutions; chosen: of the one whose worst step is best. kept: the
    part of the critic's gain that this method has, at `calls` rewritings a problem.
    """
    rows = []
    turns = max(len(row["pools"]) for row in by_method["critic"])  # a lost problem has none
    whole = {name: [pool_accuracy(rs, turn) for turn in range(turns)] for name, rs in by_method.items()}
    ids = [row["problem_id"] for row in by_method["critic"]]
    resamples = Resamples.of(ids)
    for name, found in by_method.items():
        assert [row["problem_id"] for row in found] == ids, "methods are paired by problem"
        for turn in range(turns):
            gain = mean_difference(whole[name][0], whole[name][turn], resamples)
            control = mean_difference(whole["shuffled"][turn], whole[name][turn], resamples)
            kept = ratio_interval(
                whole[name][turn] - whole[name][0], whole["critic"][turn] - whole["critic"][0], resamples
            )
            choosing = Choosing(pool=turn, missing=missing)
            chosen = accuracy_of(found, choosing, resamples)
            rows.append(
                {"figure": "refinement", "method": name, "turn": turn, "n_problems": len(ids)}
                | interval_row("accuracy", mean_interval(whole[name][turn], resamples))
                | interval_row("gain", gain)
                | interval_row("over_shuffled", control)
                | interval_row("chosen", chosen)
                | interval_row("kept", kept)
                | {
                    "calls": float(calls_of(found, turn).mean()),
                    "lost": sum(bool(r["error"]) for r in found),
                    "missing_share": missing_share(found, choosing),
                    "missing_as": missing,
                }
                | {"flops": float(np.mean([budget_of(row).flops for row in found]))}
            )
    return rows


def matched_rows(
    by_method: Mapping[str, Rows], reference: Reference, missing: Missing = "wrong"
) -> list[dict[str, Any]]:
    """The solution chosen after the last turn, against best-of-N at the cost of all turns."""
    return [
        {"figure": "refinement_matched", "method": name} | reference.against(found, Choosing(missing=missing))
        for name, found in by_method.items()
    ]


def pool_accuracy(rows: Rows, turn: int) -> np.ndarray:
    """Share of right solutions after a turn [P]; 0 where the problem was lost."""
    pools = [candidates_of(row, turn) for row in rows]
    return np.array([sum(c.correct for c in pool) / max(1, len(pool)) for pool in pools])


def calls_of(rows: Rows, turn: int) -> np.ndarray:
    """Rewritings of each problem up to a turn [P]; none where the problem was lost."""
    return np.array([float(sum(row["notes"].get("refined", [])[:turn])) for row in rows])
