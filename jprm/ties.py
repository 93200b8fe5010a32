"""One rule that says when two scores are equal and which are the highest, for votes, choices and searches.

Sums, means and products of the same numbers in another order differ by rounding, and a float `sum`
rounds otherwise from Python 3.12 on. So what is reduced here does not depend on the order (`mean`),
and scores that differ by no more than a billionth of the larger one are equal. The distance is
relative, because products of many probabilities are far below any fixed one: .3^20 is not .2^20.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

EQUAL = 1e-9  # of the larger one


def mean(values: Sequence[float]) -> float:
    """Returns the mean of one value and more, the same to the bit in any order and under any Python."""
    return math.fsum(values) / len(values)


def equal(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Returns whether scores are equal, element by element; infinities equal themselves only."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf
        near = np.abs(a - b) <= EQUAL * np.maximum(np.abs(a), np.abs(b))
    return (a == b) | (near & np.isfinite(a) & np.isfinite(b))


def below(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Returns whether a lies below b and is not equal to it, element by element."""
    return (np.asarray(a) < np.asarray(b)) & ~equal(a, b)


def places(scores: Sequence[float], logs: bool = False) -> list[int]:
    """Returns the place of each score: 0 for the highest, and equal scores share one.

    A place holds what equals its highest score. logs: these are logarithms of the scores, of products
    that are too small for a float, say.
    """
    relative, absolute = (0.0, EQUAL) if logs else (EQUAL, 0.0)
    found, place, top = [0] * len(scores), -1, math.inf
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if place < 0 or not math.isclose(scores[i], top, rel_tol=relative, abs_tol=absolute):
            place, top = place + 1, scores[i]
        found[i] = place
    return found


def highest_first(scores: Sequence[float]) -> list[int]:
    """The indices of the scores from the highest to the lowest, equal ones in the order in which they were given."""
    return sorted(range(len(scores)), key=places(scores).__getitem__)
