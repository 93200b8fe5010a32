"""Whether two independent sets of rollouts say the same of the states that both have valued.

Given how many of a state's rollouts are right in both sets together, the number in one of them is hypergeometric, if
both come from one policy (Fisher's exact test). The squares of its standardised values add up over the states, with
mean 1 each; what the sum would be by chance is drawn from that distribution, so it holds for few rollouts as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError

StateCounts = Mapping[str, tuple[int, int]]  # by state: right rollouts, rollouts


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison over `states` that both sets have, of which `informative` are neither all right nor all wrong.

    chi_square: the sum over these; by chance it is about `informative`. p: the probability of as much or more.
    """

    states: int
    informative: int
    chi_square: float
    p: float


def agreement(first: StateCounts, second: StateCounts, *, draws: int = 10_000, seed: int = 0) -> Agreement:
    """Compares the values of the states that both sets hold. Raises UserError where they share none."""
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise UserError("the two sets of rollouts have no state in common; they value other solutions")
    right = np.array([(first[state][0], second[state][0]) for state in shared])
    n = np.array([(first[state][1], second[state][1]) for state in shared])
    good, total = right.sum(axis=1), n.sum(axis=1)
    informative = (good > 0) & (good < total)
    good, total, ours, of_first = good[informative], total[informative], right[informative, 0], n[informative, 0]
    if not len(good):
        return Agreement(len(shared), 0, 0.0, 1.0)
    share = good / total
    mean = of_first * share
    variance = of_first * share * (1 - share) * (total - of_first) / (total - 1)
    by_chance = np.random.default_rng(seed).hypergeometric(good, total - good, of_first, (draws, len(good)))
    observed = float(((ours - mean) ** 2 / variance).sum())
    drawn = ((by_chance - mean) ** 2 / variance).sum(axis=1)
    # sums of equal terms differ in their last bits by the order in which they are added
    p = (1 + int((drawn >= observed - 1e-9).sum())) / (1 + draws)
    return Agreement(len(shared), len(good), observed, p)
