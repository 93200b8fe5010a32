"""First-error F1: how ProcessBench scores a verifier.

A label is the 0-based index of the first wrong step, or -1 for a solution without one. Two accuracies, exact index on
the erroneous solutions and -1 on the correct ones, are joined by their harmonic mean, which is not the F1 of
information retrieval (QwenLM/ProcessBench, issue 6).

Invariant: everything here works on the expected correctness of a prediction, a number in [0, 1]; one prediction is the
special case of 0 or 1, a random subset of votes the general one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError


@dataclass(frozen=True, slots=True)
class FirstErrorScore:
    """The two accuracies as fractions; `n_error` and `n_correct` count the solutions of each class.

    The accuracy of a class without solutions is nan, and then so is `f1`.
    """

    error_acc: float
    correct_acc: float
    n_error: int
    n_correct: int

    @property
    def f1(self) -> float:
        """The harmonic mean of the two accuracies, 0 when both are 0."""
        return float(harmonic_mean(self.error_acc, self.correct_acc))


def first_error_f1(labels: Sequence[int], predictions: Sequence[int | None]) -> FirstErrorScore:
    """Scores predicted first errors against labels; both are 0-based, with -1 for none.

    A prediction of None (no judgement at all) is wrong in either class. Raises UserError when the lengths differ,
    nothing is given, or a value is not an integer from -1 up.
    """
    label = _indices(labels, "labels")
    judged = np.array([p is not None for p in predictions])
    if len(judged) != len(label):
        raise UserError(f"{len(label)} labels but {len(judged)} predictions")
    guess = _indices([-1 if p is None else p for p in predictions], "predictions")
    return score(label, judged & (label == guess))


def score(labels: ArrayLike, correctness: ArrayLike) -> FirstErrorScore:
    """Computes the score from labels [n] and the expected correctness [n] of each prediction, which lies in [0, 1]."""
    is_error = np.asarray(labels) >= 0
    right = np.asarray(correctness, dtype=np.float64)
    assert right.shape == is_error.shape, (right.shape, is_error.shape)
    n_error, n_correct = int(is_error.sum()), int((~is_error).sum())
    return FirstErrorScore(
        error_acc=float(right[is_error].mean()) if n_error else math.nan,
        correct_acc=float(right[~is_error].mean()) if n_correct else math.nan,
        n_error=n_error,
        n_correct=n_correct,
    )


def harmonic_mean(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Computes 2ab / (a + b) elementwise: 0 where both are 0, nan where either is nan."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    low, high, total = np.minimum(a, b), np.maximum(a, b), a + b
    return np.where(total == 0.0, 0.0, 2.0 * low * (high / np.where(total == 0.0, 1.0, total)))


def trivial_baselines(labels: Sequence[int], step_counts: Sequence[int]) -> dict[str, FirstErrorScore]:
    """Computes, in closed form, the scores of predictors that read nothing.

    `step_counts` [n] are the numbers of steps of the solutions. `random` says -1 with the probability p that suits it
    best and otherwise names a step uniformly. With m the mean of 1/T over the erroneous solutions its accuracies are (1
    - p) m and p, its best p is sqrt(m) / (1 + sqrt(m)), and its F1 there is 2m / (1 + sqrt(m))^2.
    """
    label, steps = _indices(labels, "labels"), np.asarray(step_counts)
    if len(label) != len(steps):
        raise UserError(f"{len(label)} labels but {len(steps)} step counts")
    if np.any(label >= steps):
        i = int(np.flatnonzero(label >= steps)[0])
        raise UserError(f"item {i}: first error {label[i]} but only {steps[i]} steps")
    erroneous = label >= 0
    m = float((1.0 / steps[erroneous]).mean()) if erroneous.any() else 0.0
    p = math.sqrt(m) / (1.0 + math.sqrt(m))
    return {
        "always correct": score(label, label == -1),
        "always the first step": score(label, label == 0),
        "always the last step": score(label, label == steps - 1),
        "random": score(label, np.where(erroneous, (1.0 - p) / steps, p)),
    }


def _indices(values: Sequence[int], name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise UserError(f"{name} has shape {array.shape}; expected one index per solution")
    if not np.issubdtype(array.dtype, np.integer) or array.min() < -1:
        raise UserError(f"{name} must be 0-based step indices, -1 for no error")
    return array
