"""PAV: the outcome and the progress that a step makes under a prover. arXiv 2410.08146.

A step is credited with its own advantage only. Summed from the step to the end the advantages telescope, and what is
left is the outcome with another step size: (1 + alpha) times its gradient where the prover is the policy.
"""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import outcome_credit
from jprm.rl.credit import by_step, row, to_go
from jprm.rl.records import Credit, Judged


@row("pav", needs=("outcome", "values"))
def pav(group: Sequence[Judged], alpha: float = 3.0, best_of: int = 4, accumulate: bool = False) -> list[Credit]:
    """The baselined outcome + alpha x (Q - V) of the step under the best of `best_of` of the policy.

    Q of the prover is 1 - (1 - Q)^K from the values of the policy; 1 is the policy itself. alpha: 3 to 5 in the paper.
    accumulate: sums the advantages to the end, which undoes the method and is offered to show that.
    """
    made = []
    for judged, a in zip(group, outcome_credit(group), strict=True):
        own = prover_advantages(judged, best_of)
        made.append(by_step(judged, a + alpha * (to_go(own) if accumulate else own)))
    return made


def prover_advantages(judged: Judged, best_of: int = 4) -> np.ndarray:
    """Returns Q - V of every step [T] under the best of `best_of` rollouts of the policy that the values are of."""
    assert judged.values is not None, "checked by what the row needs"
    return np.diff(1.0 - (1.0 - judged.values) ** best_of)
