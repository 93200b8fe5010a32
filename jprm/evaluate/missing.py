"""Scores of solutions for which a verifier gave no verdict: those whose verdict needs an unjudged step.

    wrong      it is a wrong verdict: silence must not pay
    excluded   it is left out, and how many were is told (PRMBench's scorer does so, and prints the
               share that is valid)

With k of n stored votes a solution has a verdict under some choices of votes only. What counts is then a share of the
choices: P(right) and P(no verdict) of each solution, both exact over all choices.
"""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Interval, mean_interval, share_interval

Missing = Literal["wrong", "excluded"]


def check_missing(value: str) -> None:
    """Raises UserError where a value is neither "wrong" nor "excluded"."""
    if value not in get_args(Missing):
        raise UserError(f"missing = {value!r}: must be 'wrong' or 'excluded'")


def counted(right: ArrayLike, missing: ArrayLike, how: Missing, labels: ArrayLike | None = None) -> np.ndarray:
    """Returns values [n, ...] whose mean is the score, from P(right) and P(no verdict) of each item.

    wrong: P(right). excluded: of each class (an error or none, by `labels` [n]; one class without them) the mean of the
    values is sum(right) / sum(1 - missing), the accuracy of the verdicts that there are. A value is the score plus what
    the item moves it by, (right - score (1 - missing)) over the mean of 1 - missing; so the spread of the values is, to
    first order, that of the score, and an item without any verdict stands on the score itself. nan where a class has no
    verdict.
    """
    right, judged = np.asarray(right, dtype=np.float64), 1.0 - np.asarray(missing)
    if how == "wrong" or bool(np.all(judged == 1.0)):
        return right
    values = np.empty(right.shape)
    kind = np.zeros(len(right), bool) if labels is None else np.asarray(labels) >= 0
    for members in (kind, ~kind):
        if members.any():
            r, j = right[members], judged[members]
            with np.errstate(invalid="ignore", divide="ignore"):
                score = r.sum(axis=0) / j.sum(axis=0)
                values[members] = score + (r - score * j) / j.mean(axis=0)
    return values


def accuracy_interval(values: ArrayLike, missing: ArrayLike, how: Missing, resamples: Resamples) -> Interval:
    """Returns the mean of the values [n] of `counted` (of one class) with its interval, that of a share of the
    verdicts.

    missing [n]: P(no verdict) of each. nan where there is no verdict at all.
    """
    value, judged = np.asarray(values, dtype=np.float64), 1.0 - np.asarray(missing)
    if np.isnan(value).all() or not judged.any() and how == "excluded":
        return Interval(math.nan, math.nan, math.nan)
    if how == "wrong" or bool(np.all(judged == 1.0)):
        return mean_interval(value, resamples)
    score = value.mean()
    right = (value - score) * judged.mean() + score * judged
    return share_interval(np.clip(right, 0.0, judged), judged, resamples)


def ranked(labels: ArrayLike, scores: ArrayLike, how: Missing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Selects what an area ranks, as labels, scores and indices, from labels [n] and scores [n], which are nan where
    nothing was judged.

    wrong: an unjudged right one stands below every score and a flawed one above, so that each of their pairs is ranked
    wrongly. excluded: they are left out.
    """
    label, score = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    judged = ~np.isnan(score)
    if how == "wrong" and not judged.all():
        ends = (score[judged].min() - 1, score[judged].max() + 1) if judged.any() else (0.0, 1.0)
        score, judged = np.where(judged, score, np.where(label, *ends)), np.ones_like(judged)
    kept = np.flatnonzero(judged)
    return label[kept], score[kept], kept
