"""From votes to a step's reward, and from rewards to the verdict about a solution.

A vote without a judgement is None and takes no part: it is neither right nor wrong. A step that no
vote judged is open, and a solution whose verdict needs that step has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from jprm.ties import below, mean


def mean_reward(rewards: Sequence[float | None]) -> float | None:
    """The mean of the votes that judged (GenPRM, eqs. 6-7); None if none did."""
    judged = [reward for reward in rewards if reward is not None]
    return mean(judged) if judged else None


def majority(rewards: Sequence[float | None]) -> float | None:
    """1 or 0, as more votes lie above or below 1/2; None if none judged.

    A tie is 0.5. With the threshold of `first_error` that is no error: a step is accused only by
    more voices than defend it.
    """
    judged = [reward for reward in rewards if reward is not None]
    if not judged:
        return None
    balance = sum((reward > 0.5) - (reward < 0.5) for reward in judged)
    return 0.5 if balance == 0 else float(balance > 0)


def first_error(rewards: Sequence[float | None], threshold: float = 0.5) -> int | None:
    """0-based index of the first step whose reward is below the threshold, -1 if there is none.

    None where the verdict needs a step that was not judged: any step before and at the first that is
    accused, all of them where none is. `jprm.evaluate.first_error_f1` counts None as wrong.
    """
    for step, reward in enumerate(rewards):
        if reward is None:
            return None
        if below(reward, threshold):
            return step
    return -1
