"""Choosing one of N candidate solutions: verifier, majority vote, both, and the ceiling.

Every problem brings the same stored candidates to each method, and accuracy at k is the exact
expectation over k-subsets of them, so the methods differ in nothing but the choice.

Invariant: methods are compared on problems, paired; ties are shared (see estimators).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.estimators import best_of_k, maj_at_k, pass_at_k
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import (
    Difference,
    Interval,
    mean_difference,
    mean_interval,
)
from jprm.evaluate.weighted_vote import weighted_shares

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
    answers, scores = [c.answer for c in candidates], [c.score for c in candidates]
    return weighted_shares(answers, scores, _right_answers(candidates), ks)
