"""The first error and what is before it: the natural rows for a verifier that finds first errors.

A right rollout has its outcome credit (leave-one-out), and so has a wrong one in which no step is called wrong. In an
all-wrong group the outcome says nothing; there the judge alone is trusted, with `all_wrong` in place of the outcome
credit, or 0 for not at all.
"""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import outcome_credit
from jprm.rl.credit import by_token, row
from jprm.rl.records import Credit, Judged


@row("prefix", needs=("outcome", "votes"))
def prefix(group: Sequence[Judged], keep: float = 0.0, all_wrong: float = 0.5, center: bool = True) -> list[Credit]:
    """Before the first wrong step of a wrong rollout `keep` times a, from it on -a, where a is the outcome's size.

    Cliff, arXiv 2609.02817 (as described by others). keep: lambda, 0 for neutral. all_wrong: a in a group without a
    right rollout. center: subtracts the mean over all trained tokens of the group, so that they sum to 0.
    """
    made = []
    for judged, a in zip(group, outcome_credit(group), strict=True):
        advantage = np.full(len(judged.rollout.ids), a)
        if (first := _first_wrong(judged)) is not None:
            size = all_wrong if _all_wrong(group) else abs(a)
            advantage = np.where(judged.rollout.step_of < first, keep * size, -size)
        made.append(advantage)
    if center and (tokens := np.concatenate([a[j.rollout.trained] for j, a in zip(group, made, strict=True)])).size:
        made = [advantage - tokens.mean() for advantage in made]
    return [by_token(judged, advantage) for judged, advantage in zip(group, made, strict=True)]


@row("vppo", needs=("outcome", "votes"))
def vppo(group: Sequence[Judged], alpha: float = 0.5, cut_back: int = 0, drop_negative: bool = False) -> list[Credit]:
    """The last token of a wrong rollout's right beginning has `alpha`, all others their outcome credit.

    VPPO, arXiv 2601.18984 (as described by others; alpha is ours). cut_back: moves that token so many back, against
    splitting steps. drop_negative: a wrong rollout has no credit below 0.
    """
    made = []
    for judged, a in zip(group, outcome_credit(group), strict=True):
        rollout = judged.rollout
        advantage = np.full(len(rollout.ids), max(a, 0.0) if drop_negative else a)
        if (first := _first_wrong(judged)) is not None:
            good = np.flatnonzero(rollout.trained & (rollout.step_of < first))
            if len(good) > cut_back:
                advantage[good[-1 - cut_back]] = alpha
        made.append(by_token(judged, advantage))
    return made


def _first_wrong(judged: Judged) -> int | None:
    """The first wrong step of a wrong rollout; None for others, and where no step is called wrong."""
    return judged.first_wrong if judged.outcome is False else None


def _all_wrong(group: Sequence[Judged]) -> bool:
    return all(judged.outcome is False for judged in group)
