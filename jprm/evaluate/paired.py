"""Two systems on the same problems: is the difference more than chance?

`Difference` (uncertainty) says how large it is; the tests here say whether chance alone would give as much. Both treat
a problem with all its items as one: under the null hypothesis the two systems are exchangeable within a problem, so
their outcomes may be swapped there and only there.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.f1 import harmonic_mean, score
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import LEVEL, Difference, difference, gap_samples

PERMUTATIONS = 10_000
POWER = 0.8
EXACT_PROBLEMS = 14  # 2^14 = 16 384 ways of swapping are enumerated
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Paired:
    """The second system minus the first: an interval, p-values, and the least effect that these problems would show.

    `mcnemar_p` is None unless every problem has one item with outcomes of 0 and 1; `detectable` is the minimum
    detectable effect at power .8 and level .95.
    """

    difference: Difference
    permutation_p: float
    mcnemar_p: float | None
    detectable: float


def compare(
    first: ArrayLike,
    second: ArrayLike,
    problem_ids: Sequence[Hashable],
    *,
    labels: ArrayLike | None = None,
    seed: int = 0,
) -> Paired:
    """Compares two systems by their outcomes [n] in [0, 1] on the same items: everything about `second` minus `first`.

    The difference is of first-error F1 where `labels` [n] (-1 for no error) are given, of the mean otherwise. Raises
    UserError when the lengths differ.
    """
    one, two = _outcomes(first, second, problem_ids)
    if labels is None:
        value = float((two - one).mean())
    else:
        value = score(labels, two).f1 - score(labels, one).f1
    samples = gap_samples(one, two, Resamples.of(problem_ids, seed=seed), labels)
    binary = np.isin(one, (0.0, 1.0)).all() and np.isin(two, (0.0, 1.0)).all()
    alone = len(set(problem_ids)) == len(one)
    return Paired(
        difference=difference(value, samples),
        permutation_p=permutation_test(one, two, problem_ids, labels=labels, seed=seed),
        mcnemar_p=mcnemar(one, two) if binary and alone else None,
        detectable=minimum_detectable_effect(float(samples.std())),
    )


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Returns the exact two-sided p-value of McNemar's test, under whose null the discordant items are tosses of a fair
    coin.

    Outcomes [n] are 0 or 1, one item per problem: siblings would count as independent evidence. Measured at a nominal 5
    %: 3.7 % false positives, as the split of few tosses has few levels. Raises UserError for other outcomes or
    different lengths.
    """
    from scipy.stats import binom

    one, two = _outcomes(first, second, None)
    if not (np.isin(one, (0.0, 1.0)).all() and np.isin(two, (0.0, 1.0)).all()):
        raise UserError("McNemar's test needs outcomes of 0 and 1; use permutation_test")
    only_first, only_second = int((one > two).sum()), int((two > one).sum())
    tail = float(binom.cdf(min(only_first, only_second), only_first + only_second, 0.5))
    return min(1.0, 2.0 * tail)


def permutation_test(
    first: ArrayLike,
    second: ArrayLike,
    problem_ids: Sequence[Hashable],
    *,
    labels: ArrayLike | None = None,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> float:
    """Returns the two-sided p-value of the difference of means, or of first-error F1 where `labels` are given.

    The outcomes of both systems are swapped problem by problem: in every way for up to 14 problems, else in
    `permutations` random ways, with one added to both counts so that p is never 0. Exact under exchangeability;
    measured at a nominal 5 % on 200 problems: 3.7 % false positives for means of 0 and 1, which have few levels, and
    5.0 % for F1 (tools/coverage.py, 300 sets). nan where an outcome is.
    """
    one, two = _outcomes(first, second, problem_ids)
    if np.isnan(one).any() or np.isnan(two).any():
        return math.nan
    group = Resamples.of(problem_ids, resamples=1).group
    kind = np.zeros(len(one), int) if labels is None else (np.asarray(labels) >= 0).astype(int)
    if kind.shape != one.shape:
        raise UserError(f"{len(one)} outcomes but labels of shape {kind.shape}")
    if labels is not None and len(np.unique(kind)) < 2:
        raise UserError("F1 needs items with an error and items without")
    n_problems, n_kinds = int(group.max()) + 1, int(kind.max()) + 1
    sums = np.zeros((2, n_kinds, n_problems))
    for system, outcome in enumerate((one, two)):
        np.add.at(sums[system], (kind, group), outcome)
    size = np.bincount(kind, minlength=n_kinds)[:, None]
    gap = sums[1] - sums[0]

    def statistic(swaps_RG: np.ndarray) -> np.ndarray:
        moved = gap @ swaps_RG.T
        low = (sums[0].sum(axis=1, keepdims=True) + moved) / size
        high = (sums[1].sum(axis=1, keepdims=True) - moved) / size
        if labels is None:
            return (high - low)[0]
        return harmonic_mean(*high) - harmonic_mean(*low)

    observed = abs(float(statistic(np.zeros((1, n_problems)))[0])) - 1e-12
    if n_problems <= EXACT_PROBLEMS:
        swaps = (np.arange(2**n_problems)[:, None] >> np.arange(n_problems)) & 1
        return float((np.abs(statistic(swaps.astype(float))) >= observed).mean())
    rng, beyond = np.random.default_rng(seed), 0
    for start in range(0, permutations, _BATCH):
        rows = min(_BATCH, permutations - start)
        swaps = rng.integers(0, 2, (rows, n_problems)).astype(float)
        beyond += int((np.abs(statistic(swaps)) >= observed).sum())
    return (1 + beyond) / (1 + permutations)


def minimum_detectable_effect(standard_error: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """Returns the true difference that a two-sided test at `level` finds with probability `power`.

    (z of level + z of power) standard errors, the normal approximation; 2.80 of them by default. At 200 problems and 25
    % discordant items the simulated power there is .81 (tools/coverage.py).
    """
    from scipy.stats import norm

    if not 0 < power < 1 or not 0 < level < 1:
        raise UserError(f"power is {power} and level {level}; both lie between 0 and 1")
    return float(norm.ppf((1 + level) / 2) + norm.ppf(power)) * standard_error


def _outcomes(
    first: ArrayLike, second: ArrayLike, problem_ids: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape or not one.size:
        raise UserError(f"paired outcomes of shapes {one.shape} and {two.shape}; expected [n] each")
    if problem_ids is not None and len(problem_ids) != len(one):
        raise UserError(f"{len(one)} outcomes but {len(problem_ids)} problem ids")
    return one, two
