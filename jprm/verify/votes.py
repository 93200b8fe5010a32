"""From votes to a step's reward, and from rewards to the first error.

A vote without a judgement is None and takes no part: it is neither right nor wrong. How many there
were is for the caller to count and report.
"""

from __future__ import annotations

from collections.abc import Sequence


def mean_reward(rewards: Sequence[float | None]) -> float | None:
    """The mean of the votes that judged (GenPRM, eqs. 6-7); None if none did."""
    judged = [reward for reward in rewards if reward is not None]
    return sum(judged) / len(judged) if judged else None


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


def first_error(rewards: Sequence[float | None], threshold: float = 0.5) -> int:
    """0-based index of the first step whose reward is below the threshold, -1 if there is none.

    None is passed over: no judgement is not an error.
    """
    for step, reward in enumerate(rewards):
        if reward is not None and reward < threshold:
            return step
    return -1
