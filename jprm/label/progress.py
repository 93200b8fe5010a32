"""Step labels from Monte-Carlo values: relative progress, hard labels, differences.

Every rule reads one solution's values `mc`, where `mc[0]` is MC(s_1), the policy's success rate
from the bare problem, and `mc[t]` is MC(s_t, a_t), its success rate after step t (1-based); a
solution of T steps has T + 1 values and gets T labels, 1 for right and 0 for wrong.

Invariant: nothing after the first zero is believed. A state from which no rollout reached the
answer ends the measurement, so the step that led there and all later ones are labelled 0
(GenPRM, section 3.2), and so is every step of a problem that no rollout solved.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.registry import Registry

# Values are counts over K rollouts. Two such ratios that differ at all differ by at least
# 1 / (5 * K * K) around epsilon = 4/5, which is 1e-9 only for K above 14,000; so a difference
# below this is rounding in the division, and 8 of 10 against 10 of 10 is exactly 0.8.
_ROUNDING = 1e-9

# Values [T + 1] of a solution to T labels. A rule of one's own is a function of the values alone:
#     @label_rule("certain")
#     def certain(mc): return [int(value == 1.0) for value in mc[1:]]
label_rule: Registry[Callable[..., Sequence[int]]] = Registry("label rule")
"""Label rules by name. A rule takes the values [T + 1] of a solution, from that of the bare problem to that of the last
step, and returns a label [T] for each step, 1 for right and 0 for wrong."""


def rollouts_needed(pass_at_1: float) -> int:
    """Returns the rollouts K per state of a problem that the policy solves with rate `pass_at_1`.

    They are 128 below .1, 64 below .9, 32 from .9 on (GenPRM, appendix A): the rarer the success, the more
    rollouts it takes to see it. Raises UserError outside [0, 1].
    """
    if not 0.0 <= pass_at_1 <= 1.0:
        raise UserError(f"pass_at_1 is {pass_at_1}; a success rate lies in [0, 1]")
    if pass_at_1 < 0.1:
        return 128
    return 64 if pass_at_1 < 0.9 else 32


def truncate(mc: ArrayLike) -> np.ndarray:
    """Returns the values [T + 1] with everything after the first zero set to zero.

    Raises UserError when `mc` is empty, not one-dimensional, or leaves [0, 1].
    """
    values = np.asarray(mc, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise UserError(f"mc has shape {values.shape}; expected MC(s_1) and one value per step, [T + 1]")
    outside = np.flatnonzero(~((values >= 0.0) & (values <= 1.0)))
    if outside.size:
        t = int(outside[0])
        raise UserError(f"mc[{t}] is {values[t]}; a Monte-Carlo value lies in [0, 1]")
    dead = np.maximum.accumulate(values == 0.0)
    return np.where(dead, 0.0, values)


@label_rule("rpe")
def relative_progress(mc: ArrayLike, epsilon: float = 0.8) -> list[int]:
    """Labels each step: 1 where MC(s_t, a_t) / MC(s_t) >= epsilon (GenPRM, eq. 8).

    `mc` [T + 1] -> T labels. A step that keeps `epsilon` of the success rate that it was given is
    right; equality up to rounding counts as reached. Raises UserError for values outside [0, 1].
    """
    if not (math.isfinite(epsilon) and epsilon >= 0.0):
        raise UserError(f"epsilon is {epsilon}; a share of the earlier value is needed, e.g. 0.8")
    before, after = _pairs(mc)
    return _labels(after, after >= epsilon * before * (1.0 - _ROUNDING))


@label_rule("hard")
def hard_labels(mc: ArrayLike) -> list[int]:
    """Labels each step: 1 where any rollout after it succeeded, MC(s_t, a_t) > 0."""
    _, after = _pairs(mc)
    return _labels(after, after > 0.0)


@label_rule("difference")
def difference_labels(mc: ArrayLike, epsilon: float = -0.3) -> list[int]:
    """Labels each step: 1 where MC(s_t, a_t) - MC(s_t) >= epsilon (GenPRM, table 4).

    `epsilon` is a change of the success rate, so negative: the paper tries -.1, -.3 and -.5.
    """
    if not -1.0 <= epsilon <= 1.0:
        raise UserError(f"epsilon is {epsilon}; a difference of two rates lies in [-1, 1]")
    before, after = _pairs(mc)
    return _labels(after, after - before >= epsilon - _ROUNDING)


def first_error_of(labels: Sequence[int]) -> int:
    """Returns the 0-based index of the first step labelled 0, or -1 when every step is labelled 1."""
    return next((t for t, label in enumerate(labels) if not label), -1)


def _pairs(mc: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values = truncate(mc)
    return values[:-1], values[1:]


def _labels(after: np.ndarray, holds: np.ndarray) -> list[int]:
    return [int(label) for label in holds & (after > 0.0)]
