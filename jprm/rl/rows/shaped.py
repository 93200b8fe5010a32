"""Potential shaping that ends at 0: a process reward as a free critic, which never changes the optimum.

The reward Phi(s') - Phi(s) at every step, with Phi(end) = 0 and no discount, telescopes: what a step has to come is
R - Phi(s_t), a state baseline (Ng, Harada and Russell 1999; for step rewards Robo-Dopamine, arXiv 2512.23703). With the
potential of the end kept the optimum would move. The credit is

    R - Phi(s_t) + Phi(s_0) - mean of the others' R

All that is subtracted is fixed before the step is drawn, or comes from other rollouts, so it is exactly unbiased. This
row is the guard of all dense rows: one that beats it gains by changing the objective.
"""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import outcome_credit
from jprm.rl.credit import by_step, row
from jprm.rl.records import Credit, Judged


@row("shaped", needs=("outcome", "votes"))
def shaped(group: Sequence[Judged], scale: float = 1.0) -> list[Credit]:
    """Phi(s) is `scale` times the mean over votes of the product of P(Yes) before s, P(the beginning is right).

    A step without a readable vote leaves Phi as it is. scale: a fitted constant, such as the pass rate of states whose
    beginning is right.
    """
    return _shaped(group, [scale * beginning_right(judged) for judged in group])


@row("shaped-values", needs=("outcome", "values"))
def shaped_by_values(group: Sequence[Judged]) -> list[Credit]:
    """Phi(s) is the Monte-Carlo value of s."""
    return _shaped(group, [judged.values for judged in group if judged.values is not None])


def beginning_right(judged: Judged) -> np.ndarray:
    """Returns the probability that all steps before each state are right [T + 1], by the mean over the votes.

    A vote says nothing about a step where it is unreadable, and is none where it is so everywhere.
    """
    scores = judged.vote_scores
    scores = scores[~np.isnan(scores).all(axis=1)]
    products = np.cumprod(np.where(np.isnan(scores), 1.0, scores), axis=1)
    known = products.mean(axis=0) if len(products) else np.ones(judged.n_steps)
    return np.concatenate([[1.0], known])


def _shaped(group: Sequence[Judged], potentials: Sequence[np.ndarray]) -> list[Credit]:
    made = []
    for judged, phi, a in zip(group, potentials, outcome_credit(group), strict=True):
        known = judged.outcome is not None  # else there is no R to compare with the potential
        made.append(by_step(judged, a + phi[0] - phi[:-1] if known else np.zeros(judged.n_steps)))
    return made
