"""What a set of problems can show: the minimum detectable effect, and how many problems one needs.

Known before a sweep, it says which comparisons are worth their compute; beside "not told apart",
it says whether that is news.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import LEVEL

POWER = 0.8


def clustered_standard_error(values: ArrayLike, problem_ids: Sequence[Hashable]) -> float:
    """Standard error of the mean of item values [n] whose problems are the independent units.

    The root of the squared sums of deviations per problem over n (Miller 2024, "Adding Error Bars
    to Evals"), times sqrt(G / (G - 1)) for G problems; nan for one problem.
    """
    value = np.asarray(values, dtype=np.float64)
    group = Resamples.of(problem_ids, resamples=1).group
    if value.shape != group.shape:
        raise UserError(f"values of shape {value.shape} but {len(group)} problem ids")
    sums = np.bincount(group, value - value.mean())
    if len(sums) < 2:
        return math.nan
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(value))


def minimum_detectable_effect(standard_error: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """The true difference that a two-sided test at `level` finds with probability `power`.

    (z of level + z of power) standard errors, the normal approximation; 2.80 of them by default.
    At 200 problems and 25 % discordant items the simulated power there is .81 (tools/coverage.py).
    """
    from scipy.stats import norm

    if not 0 < power < 1 or not 0 < level < 1:
        raise UserError(f"power is {power} and level {level}; both lie between 0 and 1")
    return float(norm.ppf((1 + level) / 2) + norm.ppf(power)) * standard_error


def problems_needed(
    effect: float,
    differences: ArrayLike,
    problem_ids: Sequence[Hashable],
    *,
    power: float = POWER,
    level: float = LEVEL,
) -> int:
    """How many problems like these would show a mean paired difference of `effect`.

    From item differences [n] of a pilot: the standard error falls with the root of the problems.
    Raises UserError for an effect of 0, one problem, or differences that are all alike.
    """
    if not effect > 0:
        raise UserError(f"effect is {effect}; it must be above 0")
    error = clustered_standard_error(differences, problem_ids)
    if error == 0:
        raise UserError("the pilot's differences are all alike, which tells nothing of their spread")
    detectable = minimum_detectable_effect(error, power=power, level=level)
    if math.isnan(detectable):
        raise UserError("a pilot needs at least 2 problems")
    return max(2, math.ceil(len(set(problem_ids)) * (detectable / effect) ** 2))


def mcnemar_power(n: int, only_first: float, only_second: float, *, level: float = LEVEL) -> float:
    """Power of the exact McNemar test on n independent items, in closed form.

    `only_first`, `only_second` are the probabilities that an item is right in one system only. The
    number of discordant items is binomial, and so is the split among them.
    """
    from scipy.stats import binom

    discordant = only_first + only_second
    if min(only_first, only_second) < 0 or not 0 <= discordant <= 1:
        raise UserError(f"{only_first} and {only_second} are no probabilities of discordant items")
    if discordant == 0:
        return 0.0
    total = 0.0
    for m, weight in enumerate(binom.pmf(np.arange(n + 1), n, discordant)):
        if weight > 1e-12:
            # most tosses of the rarer side at which the test rejects
            edge = _critical(m, level)
            split = binom(m, only_second / discordant)
            total += float(weight) * float(split.cdf(edge) + split.sf(m - edge - 1))
    return total


def _critical(m: int, level: float) -> int:
    """The largest count of the rarer side in m fair tosses that the two-sided test rejects, or -1."""
    from scipy.stats import binom

    edge = int(binom.ppf((1 - level) / 2, m, 0.5))
    while edge >= 0 and 2 * binom.cdf(edge, m, 0.5) > 1 - level:
        edge -= 1
    return edge
