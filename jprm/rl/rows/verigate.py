"""VeriGate: step scores where the outcome says nothing. arXiv 2605.30451 (as described by others)."""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import EPS, normalised, outcome_credit
from jprm.rl.credit import by_step, even, row, to_go
from jprm.rl.records import Credit, Judged


@row("verigate", needs=("outcome", "votes"))
def verigate(group: Sequence[Judged], eps: float = EPS) -> list[Credit]:
    """A mixed group has the outcome credit, an all-wrong one the sums of step scores to the end, an all-right one none.

    The sums are taken less their mean over all steps of the group, over their std (ddof 1). They pay for idle steps:
    each adds its score. An unjudged step has none.
    """
    if any(judged.outcome is not False for judged in group):
        return [even(judged, a) for judged, a in zip(group, outcome_credit(group), strict=True)]
    scores = [judged.scores for judged in group]
    sums = [np.where(np.isnan(score), np.nan, to_go(np.nan_to_num(score))) for score in scores]
    return [by_step(judged, c) for judged, c in zip(group, normalised(sums, eps), strict=True)]
