"""Whether a reward means what it says: of the steps with P(Yes) near p, a share p should be right.

Judged are the steps whose truth is known: those up to the first error. What follows an error is neither right nor wrong
by first-error labels, and is left out. Intervals are over problems, as everywhere.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Interval, interval, mean_interval

BINS = 10
_HALVINGS = 12  # of [0, 1]: ends good to .0003


@dataclass(frozen=True)
class Bin:
    """The steps whose rewards fall into one bin: their number, their mean reward, and the share of right ones."""

    steps: int
    reward: float
    right: Interval


@dataclass(frozen=True)
class Calibration:
    """The bins that hold steps, from the lowest reward up, and two sums over them.

    `error`: expected calibration error (Naeini et al. 2015), the mean distance between reward and share of right steps
    over the bins, weighted by their steps. Noise only adds to a distance, so it is biased upwards, and its interval
    (`_error`) may lie below it as a whole. `brier`: mean square distance of reward and truth. `unread`: steps without a
    reward.
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
    """Computes the calibration of step rewards [items][steps] in [0, 1]; None stands for a step without a reward.

    `first_errors` [items] are 0-based, -1 for none. Bins are of equal width, the last one closed. None when no step
    with known truth has a reward.
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
    filled = np.unique(place)
    inside = (place[:, None] == filled).astype(np.float64)
    resamples = Resamples.of(owners, seed=seed)
    tables = [np.stack([b * right, b * (1.0 - right)], axis=1) for b in inside.T]
    outcomes_BRC = np.stack(resamples.outcomes(*tables))
    count, mean = inside.sum(axis=0), reward @ inside / inside.sum(axis=0)
    share, shares_BR = right @ inside / count, outcomes_BRC[..., 0] / outcomes_BRC.sum(axis=-1)
    rows = [Bin(int(count[b]), float(mean[b]), interval(float(share[b]), shares_BR[b])) for b in range(len(filled))]
    # an unseen step has the mean reward of its bin; a bin of one problem has none
    unseen = [resamples.unseen(resamples.per_problem(t), b) for b, t in enumerate(tables)]
    hits_RB, misses_RB = np.nan_to_num(np.stack(unseen)).transpose(2, 1, 0)
    steps_R = resamples.sums(np.ones(len(reward)))[:, 0] + (hits_RB + misses_RB).sum(axis=1)
    gaps_RB = resamples.sums(inside * (reward - right)[:, None])
    gaps_RB += misses_RB * mean - hits_RB * (1.0 - mean)
    gaps_RB /= steps_R[:, None] if len(set(owners)) > 1 else math.nan
    return Calibration(
        bins=tuple(rows),
        error=_error((mean - share) * count / count.sum(), gaps_RB),
        brier=mean_interval((reward - right) ** 2, resamples),
        unread=unread,
    )


def _error(gaps: np.ndarray, gaps_RB: np.ndarray) -> Interval:
    """Returns the sum of the distances of the bins' weighted gaps [B] from 0, with the values that it may truly have.

    The interval holds the sums, gaps all stretched alike, under which the sum seen is among the middle 95 % of those
    that the resampled noise would show: a test, inverted. Percentiles of resampled sums hold an error of 0 never, as
    they carry the noise twice.
    """
    value, noise_RB = float(np.abs(gaps).sum()), gaps_RB - gaps
    if np.isnan(noise_RB).any():
        return Interval(value, math.nan, math.nan)
    shape = gaps / value if value else np.full(len(gaps), 1.0 / len(gaps))

    def shown(error: float) -> Interval:
        return interval(error, np.abs(error * shape + noise_RB).sum(axis=1))

    def last(holds: Callable[[float], bool]) -> float:
        """Finds the largest error up to which a condition holds."""
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    return Interval(
        value, low=last(lambda error: shown(error).high < value), high=last(lambda error: shown(error).low <= value)
    )
