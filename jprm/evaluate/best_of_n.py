"""Choosing one of N candidate solutions: verifier, majority vote, both, and the ceiling.

Every problem brings the same stored candidates to each method, and accuracy at k is the exact
expectation over k-subsets of them, so the methods differ in nothing but the choice.

Invariant: methods are compared on problems, paired; ties are shared (see estimators).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.estimators import (
    EXACT_LIMIT,
    best_of_k,
    maj_at_k,
    multisets,
    pass_at_k,
    subsets,
)
from jprm.evaluate.uncertainty import (
    Difference,
    Interval,
    Resamples,
    mean_difference,
    mean_interval,
)

METHODS = ("pass", "best", "weighted", "majority")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled solution: final answer (None without one), its grade, the verifier's score."""

    answer: Hashable | None
    correct: bool
    score: float | None


@dataclass(frozen=True)
class BestOfN:
    """Expected accuracy per problem [P] for each (method, k), with shared resamples."""

    ks: tuple[int, ...]
    accuracy: dict[tuple[str, int], np.ndarray]
    resamples: Resamples
    exact_weighted: bool

    def interval(self, method: str, k: int) -> Interval:
        """Accuracy of a method at k with its interval over problems."""
        return mean_interval(self.accuracy[method, k], self.resamples)

    def gain(self, method: str, over: str, k: int) -> Difference:
        """Accuracy of `method` minus that of `over` at k, paired by problem."""
        return mean_difference(self.accuracy[over, k], self.accuracy[method, k], self.resamples)

    def rows(self) -> list[dict]:
        """One row per method and k: `method, k, accuracy, low, high, n_problems`."""
        n = len(self.resamples.group)
        return [
            {"method": method, "k": k, "accuracy": at.value, "low": at.low, "high": at.high}
            | {"n_problems": n}
            for method in METHODS
            for k in self.ks
            for at in (self.interval(method, k),)
        ]


def best_of_n(
    problems: Sequence[Sequence[Candidate]],
    ks: Sequence[int],
    *,
    problem_ids: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> BestOfN:
    """Expected accuracy of every method at every k over `problems` [P][M].

    "pass": any correct; "best": the highest score; "majority": plurality of answers; "weighted":
    the answer with the largest sum of scores. A method that ends without an answer is wrong.
    Raises UserError when a k exceeds the candidates of some problem.
    """
    if not problems:
        raise UserError("best-of-N needs at least one problem")
    accuracy: dict[tuple[str, int], np.ndarray] = {}
    for k in ks:
        accuracy["pass", k] = np.array(
            [pass_at_k(len(c), sum(x.correct for x in c), k) for c in problems]
        )
        accuracy["best", k] = np.array(
            [best_of_k([x.score for x in c], [x.correct for x in c], k) for c in problems]
        )
        accuracy["majority", k] = np.array([_majority(c, k) for c in problems])
    weighted = [_weighted(c, ks) for c in problems]
    for at, k in enumerate(ks):
        accuracy["weighted", k] = np.array([shares[at] for shares, _ in weighted])
    ids = range(len(problems)) if problem_ids is None else problem_ids
    exact = all(complete for _, complete in weighted)
    return BestOfN(tuple(ks), accuracy, Resamples.of(list(ids), seed=seed), exact)


def _right_answers(candidates: Sequence[Candidate]) -> set[Hashable]:
    """The answers graded correct (several spellings may be); None never is."""
    right = {c.answer for c in candidates if c.correct and c.answer is not None}
    wrong = {c.answer for c in candidates if not c.correct}
    if right & wrong:
        raise UserError(f"answer {next(iter(right & wrong))!r} is graded both right and wrong")
    return right


def _majority(candidates: Sequence[Candidate], k: int) -> float:
    votes = [c.answer for c in candidates]
    return sum(maj_at_k(votes, answer, k) for answer in _right_answers(candidates))


def _weighted(candidates: Sequence[Candidate], ks: Sequence[int]) -> tuple[list[float], bool]:
    """Accuracy of the weighted vote at each k, and whether all subsets were averaged."""
    right, n = _right_answers(candidates), len(candidates)
    if any(c.score is not None and c.score < 0 for c in candidates):
        raise UserError("weighted votes need scores of at least 0")
    groups = Counter((c.answer, c.score or 0.0) for c in candidates)
    answers = sorted({answer for answer, _ in groups if answer is not None}, key=str)
    if not answers:
        return [0.0] * len(ks), True
    # Candidates of one answer and one score are interchangeable: [groups, answers] says it all.
    cast = np.array([[answer == a for a in answers] for answer, _ in groups], dtype=np.float64)
    weights = cast * np.array([[weight] for _, weight in groups])
    is_right = np.array([a in right for a in answers])
    if math.prod(count + 1 for count in groups.values()) <= EXACT_LIMIT:
        chosen, ways, size = multisets(tuple(groups.values()))
        by_size = np.bincount(size, ways * _vote(chosen, cast, weights, is_right), n + 1)
        return [float(by_size[k]) / math.comb(n, k) for k in ks], True
    order = {group: i for i, group in enumerate(groups)}
    rows = [order[c.answer, c.score or 0.0] for c in candidates]
    drawn = [subsets(n, k) for k in ks]
    shares = [_vote(m, cast[rows], weights[rows], is_right).mean() for m, _ in drawn]
    return [float(share) for share in shares], all(exact for _, exact in drawn)


def _vote(
    chosen: np.ndarray, cast: np.ndarray, weights: np.ndarray, is_right: np.ndarray
) -> np.ndarray:
    """Share of right answers among the winners [S] of each choice [S, groups]; 0 without votes."""
    present = chosen @ cast > 0
    total = np.where(present, chosen @ weights, -1.0)
    # Sums of the same weights in another order differ by rounding; they are the same weight.
    winners = present & (total >= total.max(axis=1, keepdims=True) - 1e-9)
    return (winners & is_right).sum(axis=1) / np.maximum(winners.sum(axis=1), 1)
