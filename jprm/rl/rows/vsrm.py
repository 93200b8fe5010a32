"""VSRM: the share of short forced answers that are right rises or falls with a step. arXiv 2508.10293 and its code.

d_j = A_{j+1} - A_j. Without look-ahead they sum to A_J - A_0, and the credit is outcome + A_J with a baseline. With it
a step that changes nothing is paid for the first change that follows within four steps, .7 for each step of distance:
idle steps before a rise are paid up to 1.77 times the rise. So look-ahead is off unless it is asked for.
"""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import outcome_credit
from jprm.rl.credit import by_step, row, to_go
from jprm.rl.records import Credit, Judged

IDLE = 1e-5  # a smaller change is none


@row("vsrm", needs=("outcome", "prefix"))
def vsrm(group: Sequence[Judged], look_ahead: int = 0, discount: float = 0.7, accumulate: bool = True) -> list[Credit]:
    """The baselined outcome, and the step rewards from the step to the end (or, not accumulated, its own).

    The code puts the reward of a step on the first token behind it; here the tokens of the step have it. Its penalties
    for texts without a thinking part or a box are left to the guard. look_ahead: so many steps; 4 in the paper.
    """
    made = []
    for judged, a in zip(group, outcome_credit(group), strict=True):
        assert judged.prefix is not None, "checked by what the row needs"
        rewards = step_rewards(judged.prefix, look_ahead, discount)
        made.append(by_step(judged, a + (to_go(rewards) if accumulate else rewards)))
    return made


def step_rewards(shares: np.ndarray, look_ahead: int = 0, discount: float = 0.7) -> np.ndarray:
    """Returns the reward of each step [T] from the shares of right answers [T + 1] before the first and after each."""
    changes = np.diff(np.asarray(shares, np.float64))
    rewards = np.where(np.abs(changes) < IDLE, 0.0, changes)
    if look_ahead:
        for step in np.flatnonzero(rewards == 0):
            later = changes[step + 1 : step + 1 + look_ahead]
            moves = np.flatnonzero(np.abs(later) >= IDLE)
            if len(moves):
                rewards[step] = later[moves[0]] * discount ** (moves[0] + 1)
    return rewards
