"""SPARK (ScalePRM) asks a verifier where no answer is known, in four forms (arXiv 2512.03244 and its reward scripts).

y is the verdict on the whole: no step is called wrong. k of n judged steps are right. A guarded rollout has y = 0. The
scripts count a verdict that nobody can read as wrong, and blank step rewards for few steps (under 3, in `selective`
under 4) and for more than 20; here an unreadable verdict is none, and `fewest` and `most` set the bounds.
"""

from collections.abc import Sequence

import numpy as np

from jprm.rl.baselines import EPS, known_baseline, normalised
from jprm.rl.credit import by_step, even, row, to_go
from jprm.rl.records import Credit, Judged


@row("spark-process", needs=("votes",))
def process(group: Sequence[Judged], eps: float = EPS) -> list[Credit]:
    """The verdict on the whole, less the group's mean, over its std."""
    return [even(judged, a) for judged, a in zip(group, _process(group, eps), strict=True)]


@row("spark-step-aug", needs=("votes",))
def step_augmented(group: Sequence[Judged], share: float = 0.4, eps: float = EPS) -> list[Credit]:
    """`share` times the part of the steps that are right and the rest times the verdict, less mean, over std."""
    rewards = [share * np.nan_to_num(_right_part(j)) + (1 - share) * _verdict(j) for j in group]
    return [even(judged, a) for judged, a in zip(group, known_baseline(rewards, "grpo", eps), strict=True)]


@row("spark-selective", needs=("votes",))
def selective(group: Sequence[Judged], fewest: int = 1, most: int | None = None, eps: float = EPS) -> list[Credit]:
    """The process credit, where its sign agrees with the verdict on the step; else 0. The best form in the paper."""
    made = []
    for judged, a in zip(group, _process(group, eps), strict=True):
        agrees = judged.verdicts == float(a >= 0)  # an unjudged step agrees with nothing
        made.append(by_step(judged, np.where(agrees & _fits(judged, fewest, most), a, 0.0)))
    return made


@row("spark-global", needs=("votes",))
def global_steps(
    group: Sequence[Judged], share: float = 0.2, fewest: int = 1, most: int | None = None, eps: float = EPS
) -> list[Credit]:
    """`share` times the step credit and the rest times the process credit.

    A step's reward is +1/n or -1/n, less the mean over all steps of the group, over their std, summed from the step to
    the end. An unjudged step adds nothing.
    """
    signs = [2 * j.verdicts - 1 if _fits(j, fewest, most) else np.full(j.n_steps, np.nan) for j in group]
    steps = normalised([sign / max(1, (~np.isnan(sign)).sum()) for sign in signs], eps)
    return [
        by_step(judged, share * to_go(step) + (1 - share) * a)
        for judged, step, a in zip(group, steps, _process(group, eps), strict=True)
    ]


def _process(group: Sequence[Judged], eps: float) -> np.ndarray:
    return known_baseline([_verdict(judged) for judged in group], "grpo", eps)


def _verdict(judged: Judged) -> float:
    """1 where no step is called wrong, 0 where one is or the guard has a reason; nan where no vote is readable."""
    if judged.guard:
        return 0.0
    known = judged.verdicts[~np.isnan(judged.verdicts)]
    return float(known.all()) if len(known) else np.nan


def _right_part(judged: Judged) -> float:
    known = judged.verdicts[~np.isnan(judged.verdicts)]
    return float(known.mean()) if len(known) else np.nan


def _fits(judged: Judged, fewest: int, most: int | None) -> bool:
    return fewest <= judged.n_steps and (most is None or judged.n_steps <= most)
