"""Verifiers side by side: first-error F1, ranking, and where their scores are low, over solution length.

F1 is measured on the balanced set of solutions, the rest on the policy's candidates, where every step was judged. What
is not defined for a verifier (the first error, for one that judges outcomes) is None.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jprm.evaluate import Interval, Resamples, auc_interval, counted, f1_difference, f1_interval, interval_row, ranked
from jprm.experiments.applications.judgements import Judgements
from jprm.jobs import Stages
from jprm.search import aggregate
from jprm.tasks.benchmark import Item
from jprm.ties import places
from jprm.verify import first_error


def grid_rows(
    stages: Stages, judges: Sequence[Judgements], items: Sequence[Item], candidates: Sequence[Item]
) -> list[dict[str, Any]]:
    """A row per judge and tier (the steps that a problem needs); "all" first. Gains are over the first judge.

    items: solutions whose first error is known.
    """
    wholes = [item for item in candidates if item.solution.first_error is not None]
    tiers = sorted({item.problem.tier for item in items})
    rows = []
    for tier in ["all", *tiers]:
        inside = [i for i in items if tier in ("all", i.problem.tier)]
        drawn = [i for i in wholes if tier in ("all", i.problem.tier)]
        for judge in judges:
            rows.append(
                {"figure": "verifiers", "verifier": judge.name, "tier": tier}
                | f1_row(judge, judges[0], inside)
                | _ranking(judge, drawn)
                | _costs(stages, judge, inside)
            )
            if tier == "all":
                rows[-1] |= last_step(judge, drawn)
    return rows


def verdicts_of(judge: Judgements, items: Sequence[Item]) -> list[int | None]:
    """The first error that the judge says, -1 for none, None without a verdict [n]."""
    return [first_error(judge.rewards[i.solution.id].rewards[judge.needed]) for i in items]


def correctness(judge: Judgements, items: Sequence[Item]) -> np.ndarray:
    """What finding the first error, or that there is none, counts [n]; see `jprm.evaluate.missing`."""
    return counted(*_shares(judge, items), judge.missing, labels_of(items))


def f1_of(judge: Judgements, items: Sequence[Item], resamples: Resamples) -> Interval:
    """First-error F1 of a judge with its interval."""
    right, missing = _shares(judge, items)
    judged = 1.0 - missing if judge.missing == "excluded" and missing.any() else None
    return f1_interval(labels_of(items), right, resamples, judged=judged)


def _shares(judge: Judgements, items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each verdict is right, and whether there is none [n]."""
    found, labels = verdicts_of(judge, items), labels_of(items)
    right = np.array([float(f == label) for f, label in zip(found, labels, strict=True)])
    return right, np.array([float(f is None) for f in found])


def missing_row(judge: Judgements, items: Sequence[Item]) -> dict[str, Any]:
    """How many solutions the judge has no verdict of, and what they count."""
    found = verdicts_of(judge, items)
    share = sum(f is None for f in found) / len(found) if found else None
    return {"missing_share": share, "missing_as": judge.missing}


def labels_of(items: Sequence[Item]) -> list[int]:
    """The first error of each, where all are known."""
    return [-1 if item.solution.first_error is None else item.solution.first_error for item in items]


def by_problem(items: Sequence[Item]) -> Resamples:
    """Resamples of the problems behind these items."""
    return Resamples.of([item.problem.id for item in items])


def last_step(judge: Judgements, items: Sequence[Item]) -> dict[str, Any]:
    """The diagnostics of "Lessons" (arXiv 2501.07301): does a process verifier judge the process?

    min_at_last: of solutions of two steps and more, all judged, the share whose lowest reward is the
    last step's (of equal ones the first). lucky_accepted: of those with a right answer behind a wrong
    step, the share in which no step is called wrong; without a verdict none is.
    """
    rewards = [judge.rewards[item.solution.id].rewards for item in items]
    whole = [rs for rs in rewards if len(rs) > 1 and None not in rs]
    at_last = [places([-r for r in rs]).index(0) == len(rs) - 1 for rs in whole]  # type: ignore[operator]
    lucky = [
        verdict is None or verdict < 0
        for verdict, item in zip(verdicts_of(judge, items), items, strict=True)
        if item.correct_answer and item.solution.first_error != -1 and (verdict is not None or judge.missing == "wrong")
    ]
    return {
        "min_at_last": float(np.mean(at_last)) if judge.by_steps and at_last else None,
        "lucky_accepted": float(np.mean(lucky)) if lucky else None,
        "lucky": len(lucky),
    }


def step_auc(judge: Judgements, items: Sequence[Item], wanted: Callable[[Item], bool] = lambda item: True) -> Interval:
    """P(a right step scores above a first wrong one); `wanted` chooses whose wrong steps count."""
    labels, scores, ids = [], [], []
    for item, first in zip(items, labels_of(items), strict=True):
        for t, reward in enumerate(judge.rewards[item.solution.id].rewards):
            wrong = t == first
            if 0 <= first < t or (wrong and not wanted(item)):
                continue
            labels.append(not wrong)
            scores.append(math.nan if reward is None else reward)
            ids.append(item.problem.id)
    return _area(judge, labels, scores, ids)


def _area(judge: Judgements, labels: Sequence[bool], scores: Sequence[float], ids: Sequence[str]) -> Interval:
    """P(a right one scores above a wrong one), scores nan where there is none."""
    label, score, kept = ranked(labels, scores, judge.missing)
    if not kept.size:
        return Interval(math.nan, math.nan, math.nan)
    return auc_interval(label, score, Resamples.of([ids[i] for i in kept], resamples=500))


def f1_row(judge: Judgements, over: Judgements, items: Sequence[Item]) -> dict[str, Any]:
    """First-error F1 of a judge and its gain over another one, paired by problem; None where it judges no steps."""
    if not judge.by_steps:
        return interval_row("f1", None) | interval_row("f1_gain", None) | {"n_items": len(items)}
    resamples = by_problem(items)
    gain = f1_difference(labels_of(items), correctness(over, items), correctness(judge, items), resamples)
    row = interval_row("f1", f1_of(judge, items, resamples)) | interval_row("f1_gain", gain)
    return row | {"n_items": len(items)} | missing_row(judge, items)


def _ranking(judge: Judgements, items: Sequence[Item]) -> dict[str, Any]:
    if not items:
        return {}
    scored = [aggregate(judge.rewards[i.solution.id].rewards, judge.aggregation) for i in items]
    answer = _area(
        judge,
        [bool(item.correct_answer) for item in items],
        [math.nan if score is None else score for score in scored],
        [item.problem.id for item in items],
    )
    row = interval_row("step_auc", step_auc(judge, items) if judge.by_steps else None)
    return row | interval_row("answer_auc", answer) | {"n_candidates": len(items)}


def _costs(stages: Stages, judge: Judgements, items: Sequence[Item]) -> dict[str, Any]:
    costs = [judge.rewards[item.solution.id].cost for item in items]
    trained = stages[judge.trained].summary
    return {
        "judge_tokens": float(np.mean([cost.tokens for cost in costs])),
        "judge_flops": float(np.mean([cost.flops for cost in costs])),
        "train_flops": trained["flops"],
        "train_tokens": trained["tokens"],
    }
