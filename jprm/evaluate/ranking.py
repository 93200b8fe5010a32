"""How well scores rank right above flawed: the area under the ROC curve, and verdicts by threshold.

MR-MATH (GAIR-NLP/ReasonEval) measures verifiers by both, over solutions (scored by their worst step)
and over the steps up to the first error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.uncertainty import Difference, Interval, Resamples, difference, interval


def verdicts(scores: Sequence[float], threshold: float = 0.5) -> list[bool]:
    """Right where the score lies above the threshold, flawed where it does not."""
    return [score > threshold for score in scores]


def merge_pieces(scores: Sequence[float], pieces: Sequence[int]) -> list[float]:
    """Scores of steps from those of their parts in order: the least of each step's `pieces[i]`."""
    if len(scores) != sum(pieces) or min(pieces, default=1) < 1:
        raise UserError(f"{len(scores)} scores do not fill steps of {list(pieces)} parts")
    ends = np.cumsum(pieces)
    return [min(scores[end - n : end]) for end, n in zip(ends, pieces, strict=True)]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(a right one scores above a flawed one), ties counting half; labels bool [n], scores [n].

    nan where one of the two kinds is missing.
    """
    return float(_auc(labels, scores, np.ones((1, len(np.asarray(labels)))))[0])


def auc_interval(labels: ArrayLike, scores: ArrayLike, resamples: Resamples) -> Interval:
    """The same with its interval over problems; `resamples` tells the problem of every item."""
    samples = _auc(labels, scores, resamples.counts[:, resamples.group])
    return interval(auc(labels, scores), samples)


def auc_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, resamples: Resamples
) -> Difference:
    """How much larger the area of the second scores is than that of the first, on the same items."""
    counts = resamples.counts[:, resamples.group]
    samples = _auc(labels, second, counts) - _auc(labels, first, counts)
    return difference(auc(labels, second) - auc(labels, first), samples)


def _auc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Areas [R] for weights [R, n] of the items."""
    right, score = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if right.shape != score.shape or right.ndim != 1:
        raise UserError(f"labels have shape {right.shape} but scores {score.shape}")
    if np.isnan(score).any():
        raise UserError("a score is nan; leave items without a score out")
    if not right.any() or right.all():
        return np.full(len(weights), math.nan)
    order = np.argsort(score, kind="stable")
    levels = np.flatnonzero(np.diff(score[order], prepend=-math.inf) != 0)  # first of equal scores
    sorted_weights, sorted_right = weights[:, order], right[order]
    above = np.add.reduceat(sorted_weights * sorted_right, levels, axis=1)
    below = np.add.reduceat(sorted_weights * ~sorted_right, levels, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):  # a resample without one of the kinds has no area
        return wins / (above.sum(axis=1) * below.sum(axis=1))
