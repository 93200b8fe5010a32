"""CAPO: tokens of steps that critiques mark as wrong cost something, whatever the answer.

arXiv 2508.02298. There is no official code; the constants (2 for a right answer, 1 for a marked token, four critiques,
intersection) are those of an independent implementation. Two ways to game it, which the hack suite shows: long
rollouts weigh more in the mean, and a wrong part in a step of its own costs less.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jprm.errors import UserError
from jprm.rl.baselines import EPS
from jprm.rl.credit import by_token, row
from jprm.rl.records import Credit, Judged

Marking = Literal["intersection", "majority", "union", "mean"]


@row("capo", needs=("outcome", "votes"))
def capo(
    group: Sequence[Judged],
    marking: Marking = "intersection",
    outcome_reward: float = 2.0,
    penalty: float = 1.0,
    eps: float = EPS,
) -> list[Credit]:
    """outcome_reward x R - penalty x [step marked], less its mean over all tokens of the group, over its std (ddof 1).

    marking: a step is marked where all, at least half, or any of the readable votes call it wrong; "mean": in part.
    """
    rewards = []
    for judged in group:
        marked = np.append(marks(judged, marking), 0.0)[judged.rollout.step_of]
        right = np.nan if judged.outcome is None else float(judged.outcome)
        rewards.append(outcome_reward * right - penalty * marked)
    known = [r[j.rollout.trained] for j, r in zip(group, rewards, strict=True) if j.outcome is not None]
    tokens = np.concatenate([np.zeros(0), *known])
    if tokens.size < 2 or np.ptp(tokens) == 0:
        return [by_token(judged, np.zeros(len(judged.rollout.ids))) for judged in group]
    mean, scale = tokens.mean(), tokens.std(ddof=1) + eps
    return [by_token(j, np.nan_to_num((r - mean) / scale)) for j, r in zip(group, rewards, strict=True)]


def marks(judged: Judged, marking: Marking) -> np.ndarray:
    """Returns how far each step is marked as wrong [T]: 0 or 1, with "mean" a share; 0 where no vote is readable.

    Raises UserError for an unknown marking.
    """
    share = np.where(np.isnan(judged.right_share), 0.0, 1.0 - judged.right_share)
    if marking == "mean":
        return share
    if marking == "intersection":
        return (share == 1).astype(float)
    if marking == "majority":
        return (share >= 0.5).astype(float)
    if marking == "union":
        return (share > 0).astype(float)
    raise UserError(f"unknown marking {marking!r}; known: intersection, majority, union, mean")
