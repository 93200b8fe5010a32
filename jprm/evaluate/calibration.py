"""Whether a reward means what it says: of the steps with P(Yes) near p, a share p should be right.

Judged are the steps whose truth is known: those up to the first error. What follows an error is
neither right nor wrong by first-error labels, and is left out. Intervals are bootstraps over
problems, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.evaluate.uncertainty import Interval, Resamples, interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Steps whose rewards fall into one bin: their number, mean reward and share of right ones."""

    steps: int
    reward: float
    right: Interval


@dataclass(frozen=True)
class Calibration:
    """Bins that hold steps, from the lowest reward; and two sums of them.

    `error`: expected calibration error (Naeini et al. 2015), the mean distance between reward and
    share of right steps over the bins, weighted by their steps. Its bootstrap is biased upwards,
    since noise only adds to a distance. `brier`: mean square distance of reward and truth.
    `unread`: steps without a reward.
    """

    bins: tuple[Bin, ...]
    error: Interval
    brier: Interval
    unread: int


def calibration(
    rewards: Sequence[Sequence[float | None]],
    first_errors: Sequence[int],
    problem_ids: Sequence[Hashable],
    *,
    bins: int = BINS,
    seed: int = 0,
) -> Calibration | None:
    """Calibration of step rewards [items][steps] in [0, 1], None where there is none.

    `first_errors` [items] are 0-based, -1 for none. Bins are of equal width, the last one closed.
    None when no step with known truth has a reward.
    """
    found, owners, unread = [], [], 0
    for item, first, problem in zip(rewards, first_errors, problem_ids, strict=True):
        for step, reward in enumerate(item if first < 0 else item[: first + 1]):
            if reward is None:
                unread += 1
            else:
                found.append((reward, float(step != first)))
                owners.append(problem)
    if not found:
        return None
    reward, right = np.array(found).T
    place = np.minimum((reward * bins).astype(int), bins - 1)
    inside = (place[:, None] == np.arange(bins)).astype(np.float64)
    resamples = Resamples.of(owners, seed=seed)
    columns = [inside, inside * reward[:, None], inside * right[:, None]]
    squares = ((reward - right) ** 2)[:, None]
    counts_RB, rewards_RB, rights_RB = np.split(
        resamples.sums(np.concatenate(columns, axis=1)), 3, axis=1
    )
    count, total, hits = (column.sum(0) for column in columns)
    with np.errstate(invalid="ignore"):
        shares_RB = rights_RB / counts_RB
    rows = [
        Bin(int(count[b]), total[b] / count[b], interval(hits[b] / count[b], shares_RB[:, b]))
        for b in np.flatnonzero(count)
    ]
    gaps_R = np.abs(rewards_RB - rights_RB).sum(1) / counts_RB.sum(1)
    gap = float(np.abs(total - hits).sum() / count.sum())
    brier = interval(float(squares.mean()), resamples.means(squares)[:, 0])
    assert math.isclose(count.sum(), len(found))
    return Calibration(tuple(rows), interval(gap, gaps_R), brier, unread)
