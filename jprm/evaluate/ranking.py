"""How well scores rank right above flawed: the area under the ROC curve.

MR-MATH (GAIR-NLP/ReasonEval) measures verifiers by it, over solutions (scored by their worst step) and over the steps
up to the first error.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Difference, Interval, both_outcomes, difference, interval


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Returns P(a right item scores above a flawed one), ties counting half, for labels (bool) [n] and scores [n].

    nan where one of the two kinds is missing.
    """
    right, score = _ranked(labels, scores)
    if not right.any() or right.all():
        return math.nan
    return float(_shares(right, score)[right].mean())


def auc_interval(labels: ArrayLike, scores: ArrayLike, resamples: Resamples) -> Interval:
    """Returns the area with its interval over problems; `resamples` tells the problem of every item.

    An unseen problem brings a right and a flawed item, each above or below all of the other kind.
    """
    right, score = _ranked(labels, scores)
    share = _shares(right, score)
    samples = _samples(right, np.stack([share, 1.0 - share], axis=1), [score], resamples)
    return interval(auc(labels, scores), samples[0])


def auc_difference(labels: ArrayLike, first: ArrayLike, second: ArrayLike, resamples: Resamples) -> Difference:
    """Returns by how much the area of the second scores is larger than that of the first, on the same items."""
    (right, one), (_, two) = _ranked(labels, first), _ranked(labels, second)
    table = both_outcomes(_shares(right, one), _shares(right, two))
    samples = _samples(right, table, [one, two], resamples)
    return difference(auc(labels, second) - auc(labels, first), samples[1] - samples[0])


def _ranked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    right, score = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if right.shape != score.shape or right.ndim != 1:
        raise UserError(f"labels have shape {right.shape} but scores {score.shape}")
    if np.isnan(score).any():
        raise UserError("a score is nan; leave items without a score out")
    return right, score


def _shares(right: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Returns the share [n] of the items of the other kind with which an item stands in the right order.

    Ties count half; nan where there is no item of the other kind.
    """
    share = np.zeros(len(score))
    for kind, sign in ((right, 1.0), (~right, -1.0)):
        others = np.sort(sign * score[~kind])
        mine = sign * score[kind]
        below = others.searchsorted(mine) + others.searchsorted(mine, side="right")
        share[kind] = below / (2.0 * len(others)) if len(others) else math.nan
    return share


def _samples(
    right: np.ndarray, table: np.ndarray, scores: Sequence[np.ndarray], resamples: Resamples
) -> list[np.ndarray]:
    """Resamples the area [R] of each of the scores; nan where a kind of item is missing.

    `table` [n, C] says what an item's share of the other kind is in by the scores, as in `Resamples.outcomes`; the
    unseen items fall on one of these with all items of the other kind.
    """
    if not right.any() or right.all():
        return [np.full(len(resamples.weights), math.nan)] * len(scores)
    weights = resamples.weights[:, resamples.group]
    of_kind = [weights @ kind for kind in (right, ~right)]
    pairs, unseen = of_kind[0] * of_kind[1], np.zeros((len(weights), table.shape[1]))
    for stream, kind in enumerate((right, ~right)):
        items = resamples.per_problem(table * kind[:, None])
        unseen += resamples.unseen(items, stream) * of_kind[1 - stream][:, None]
    places = [[0]] if len(scores) == 1 else [[0, 1], [0, 2]]
    won = [_wins(right, s, weights) + unseen[:, p].sum(axis=1) for s, p in zip(scores, places, strict=True)]
    # the sums are rounded in another order
    return [np.minimum(w / (pairs + unseen.sum(axis=1)), 1.0) for w in won]


def _wins(right: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weight [R] of the pairs in the right order, ties counting half, for weights [R, n]."""
    order = np.argsort(score, kind="stable")
    levels = np.flatnonzero(np.diff(score[order], prepend=-math.inf) != 0)  # first of equal scores
    sorted_weights, sorted_right = weights[:, order], right[order]
    above = np.add.reduceat(sorted_weights * sorted_right, levels, axis=1)
    below = np.add.reduceat(sorted_weights * ~sorted_right, levels, axis=1)
    return (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
