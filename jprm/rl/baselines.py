"""Baselines of a group: what the reward of one rollout is compared with. Each is named, none is a side effect.

    grpo    (R - mean) / (std + eps), std with ddof 1           GRPO, arXiv 2402.03300
    mean    R - mean                                            Dr.GRPO, arXiv 2503.20783
    rloo    R - mean of the others = mean x G / (G - 1)         RLOO, arXiv 2402.14740
    maxrl   (R - mean) / (mean + eps)                           MaxRL, arXiv 2602.02710
    none    R

Stacks differ in what they call GRPO: ddof 0 or 1, eps 1e-9, 1e-6 or 1e-4, the raw reward for a group of one. Here eps
and ddof are arguments, and a group of one is refused.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.rl.records import Judged

Baseline = Literal["grpo", "mean", "rloo", "maxrl", "none"]
EPS = 1e-9


def baseline(rewards: ArrayLike, kind: str, *, eps: float = EPS, ddof: int = 1) -> np.ndarray:
    """Returns the advantages [G] of the rewards [G] of a group, 0 throughout where they are all the same.

    eps: is added to what is divided by. ddof: of the standard deviation. Raises UserError for an unknown kind, rewards
    that are not finite, and a group of one with a baseline that needs others.
    """
    reward = np.asarray(rewards, np.float64)
    if kind not in get_args(Baseline):
        raise UserError(f"unknown baseline {kind!r}; known: {', '.join(get_args(Baseline))}")
    if reward.ndim != 1 or not np.isfinite(reward).all():
        raise UserError("the rewards of a group must be a list of finite numbers")
    if kind == "none":
        return reward.copy()
    if len(reward) < 2:
        raise UserError(f"the baseline {kind!r} compares rollouts of a group, and this group has {len(reward)}")
    if np.ptp(reward) == 0:  # a mean that is rounded must not leave a signal
        return np.zeros(len(reward))
    centred = reward - reward.mean()
    if kind == "grpo":
        return centred / (reward.std(ddof=ddof) + eps)
    if kind == "rloo":
        return centred * len(reward) / (len(reward) - 1)
    return centred if kind == "mean" else centred / (reward.mean() + eps)


def outcome_credit(group: Sequence[Judged], kind: str = "rloo", eps: float = EPS) -> np.ndarray:
    """Returns the advantages [G] of the outcomes of a group; 0 where an outcome is not known.

    Raises UserError as `baseline` does.
    """
    outcomes = [np.nan if judged.outcome is None else float(judged.outcome) for judged in group]
    return known_baseline(outcomes, kind, eps)


def known_baseline(rewards: ArrayLike, kind: str, eps: float = EPS) -> np.ndarray:
    """Returns `baseline` among the rewards that are not nan; 0 for the others, and where fewer than two are left."""
    reward = np.asarray(rewards, np.float64)
    known = ~np.isnan(reward)
    found = np.zeros(len(reward))
    if known.sum() >= 2 or len(reward) < 2 or kind == "none":
        found[known] = baseline(reward[known], kind, eps=eps)
    return found


def normalised(rewards: Sequence[np.ndarray], eps: float = EPS) -> list[np.ndarray]:
    """Returns step rewards [T] less their mean over all steps of the group, over their std (ddof 1); nan becomes 0."""
    pooled = np.concatenate(rewards)
    made = known_baseline(pooled, "grpo", eps) if len(pooled) > 1 else np.zeros(len(pooled))
    return np.split(made, np.cumsum([len(r) for r in rewards])[:-1])
