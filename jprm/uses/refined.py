"""Refinement against turns: the critic, the same with its scores at other steps, and behind the gate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jprm.evaluate import Interval, Resamples, interval, mean_difference, mean_interval
from jprm.pipeline.lab import Lab
from jprm.pipeline.verifier import Verifier
from jprm.search import Choosing, candidates_of, correctness, fit_gate
from jprm.search.table import budget_of
from jprm.uses.config import UsesConfig
from jprm.uses.grid import interval_row
from jprm.uses.searched import Searched, load_rows

Rows = Sequence[dict[str, Any]]


def critic(config: UsesConfig, verifier: Verifier, shuffled: bool = False, **more: Any) -> Searched:
    """The refinement of a verifier; `more` are further settings of the strategy."""
    refine = config.refine
    settings = json.dumps({"n": refine.solutions, "turns": refine.turns} | more, sort_keys=True)
    split = config.evaluate.split
    return Searched("critic", settings, verifier, refine.votes, refine.problems, split, shuffled)


def gate_data(config: UsesConfig, verifier: Verifier) -> Searched:
    """Solutions of development problems, from which the gate takes its mean."""
    refine = config.refine
    settings = json.dumps({"n": refine.solutions})
    return Searched("best_of_n", settings, verifier, refine.votes, refine.gate_problems, "dev")


def gated(lab: Lab, config: UsesConfig, verifier: Verifier) -> dict[str, Searched]:
    """The critic behind gates fitted on development problems; needs `gate_data` to be finished."""
    if not config.refine.gate_problems:
        return {}
    gate = fit_gate(load_rows(lab.stage(gate_data(config, verifier))))
    settings = dataclasses.asdict(gate)
    return {
        f"gated at {confidence}": critic(
            config, verifier, gate=settings | {"confidence": confidence}
        )
        for confidence in config.refine.gate_confidences
    }


def refinement_rows(by_method: dict[str, Rows]) -> list[dict[str, Any]]:
    """Accuracy after each turn of "critic", "shuffled" and others, paired with turn 0.

    accuracy: mean over a problem's solutions; chosen: of the one whose worst step is best. kept: the
    part of the critic's gain that this method has, at `calls` rewritings a problem.
    """
    rows = []
    turns = max(len(row["pools"]) for row in by_method["critic"])  # a lost problem has none
    whole = {
        name: [pool_accuracy(rs, turn) for turn in range(turns)] for name, rs in by_method.items()
    }
    ids = [row["problem_id"] for row in by_method["critic"]]
    resamples = Resamples.of(ids)
    for name, found in by_method.items():
        assert [row["problem_id"] for row in found] == ids, "methods are paired by problem"
        for turn in range(turns):
            gain = mean_difference(whole[name][0], whole[name][turn], resamples)
            control = mean_difference(whole["shuffled"][turn], whole[name][turn], resamples)
            chosen = mean_interval(correctness(found, Choosing(pool=turn)), resamples)
            calls = [row["notes"].get("refined", 0) for row in found]
            rows.append(
                {"figure": "refinement", "method": name, "turn": turn, "n_problems": len(ids)}
                | interval_row("accuracy", mean_interval(whole[name][turn], resamples))
                | interval_row("gain", gain)
                | interval_row("over_shuffled", control)
                | interval_row("chosen", chosen)
                | interval_row("kept", _share(whole[name], whole["critic"], turn, resamples))
                | {"calls": float(np.mean(calls)), "lost": sum(bool(r["error"]) for r in found)}
                | {"flops": float(np.mean([budget_of(row).flops for row in found]))}
            )
    return rows


def pool_accuracy(rows: Rows, turn: int) -> np.ndarray:
    """Share of right solutions after a turn [P]; 0 where the problem was lost."""
    pools = [candidates_of(row, turn) for row in rows]
    return np.array([sum(c.correct for c in pool) / max(1, len(pool)) for pool in pools])


def _share(
    mine: Sequence[np.ndarray], all_of: Sequence[np.ndarray], turn: int, resamples: Resamples
) -> Interval | None:
    """The gain of a method over turn 0 as a part of the critic's."""
    gains = np.stack([mine[turn] - mine[0], all_of[turn] - all_of[0]], axis=1)
    value = gains.mean(axis=0)
    if turn == 0 or value[1] == 0:
        return None
    samples = resamples.means(gains)
    with np.errstate(divide="ignore", invalid="ignore"):
        return interval(float(value[0] / value[1]), samples[:, 0] / samples[:, 1])
