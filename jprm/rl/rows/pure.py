"""PURE: a solution is as good as its worst step. arXiv 2504.15275 and its code.

The reward of a step is q = P(right) - P(wrong), weighed by softmax(-q / T), which is nearly the minimum; the return of
a step is the sum from it to the end: about the minimum up to the worst step, 0 behind it. Its runs on the PRM alone
were hacked within 200 steps, so the outcome is added unless it is switched off.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from jprm.errors import UserError
from jprm.rl.baselines import outcome_credit
from jprm.rl.credit import by_step, row, step_tokens, to_go
from jprm.rl.records import Credit, Judged


@row("pure", needs=("outcome", "votes"))
def pure(group: Sequence[Judged], temperature: float = 0.1, outcome: bool = True) -> list[Credit]:
    """The return of the step less a baseline for each of its tokens, and the outcome less that of the others.

    The baseline of a token is the reward of all other rollouts over all their tokens: one for each step would favour
    few and huge steps (issue 2 of the code). Raises UserError for a group of one.
    """
    if len(group) < 2:
        raise UserError("the row pure compares rollouts of a group, and this group has 1")
    rewards = [step_rewards(2 * judged.scores - 1, temperature) for judged in group]
    tokens = [step_tokens(judged) for judged in group]
    total, count = sum(r.sum() for r in rewards), sum(t.sum() for t in tokens)
    added = outcome_credit(group) if outcome else np.zeros(len(group))
    made = []
    for judged, reward, n, a in zip(group, rewards, tokens, added, strict=True):
        judged_tokens = np.where(np.isnan(judged.scores), 0, n)  # an unjudged step pays no baseline
        of_others = (total - reward.sum()) / max(1, count - n.sum())
        made.append(by_step(judged, a + to_go(reward - judged_tokens * of_others)))
    return made


def step_rewards(q: np.ndarray, temperature: float = 0.1) -> np.ndarray:
    """Returns the weighed rewards of the steps [T] from their q in [-1, 1]; 0 for a step that is not judged (nan)."""
    known = ~np.isnan(q)
    rewards = np.zeros(len(q))
    rewards[known] = softmax(-q[known] / temperature) * q[known] if known.any() else 0.0
    return rewards
