"""Choosing one of N candidate solutions by the rewards of their steps.

An aggregation turns the rewards of a solution's steps into one score; a choice turns scores and
answers into a winner. All combinations make a grid, reported as a whole, since papers differ in
which cell they plot (GenPRM, appendix A.1, names three aggregations and no choice).

The tie rule has a name, because published tables depend on it:

    first    the candidate, or the answer, that stands first in the stored order
    score    for answers with equal votes: more summed score, then more votes, then the higher best
             score, then first (StrictPRMBench); for candidates the same as "first"
    shared   every tied winner counts equally, so that no result depends on the stored order

Sums and products of the same numbers in another order differ by rounding: scores closer than 1e-9
(relative to the larger one) are equal. What an answer stands for is its best candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import Candidate as Graded
from jprm.evaluate import Interval, Resamples, mean_interval
from jprm.formats import StepScores
from jprm.search.registry import Registry

Tie = Literal["first", "score", "shared"]
CLIP = 1e-30  # the least factor of a product: one zero must not hide the others (StrictPRMBench)
EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution: its final answer (None without one), its grade, its rewards [T]."""

    answer: Hashable | None
    correct: bool
    rewards: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, stored: StepScores) -> Candidate:
        """The candidate of a row of a file of step scores."""
        return cls(stored.answer, stored.correct, stored.scores)

    def graded(self, how: str) -> Graded:
        """With one score, for `jprm.evaluate.best_of_n`: expectations at every smaller N."""
        return Graded(self.answer, self.correct, aggregate(self.rewards, how))


# Rewards [T] of the judged steps, T >= 1, to a score.
Aggregation = Callable[[Sequence[float]], float]
# Candidates, their scores (-inf without), the tie rule -> the indices of the winners.
Choice = Callable[[Sequence[Candidate], Sequence[float], Tie], list[int]]
aggregation: Registry[Aggregation] = Registry("aggregation")
choice: Registry[Choice] = Registry("choice")


@aggregation("last")
def last(rewards: Sequence[float]) -> float:
    """The last step's reward."""
    return rewards[-1]


@aggregation("min")
def minimum(rewards: Sequence[float]) -> float:
    """The worst step's."""
    return min(rewards)


@aggregation("mean")
def mean(rewards: Sequence[float]) -> float:
    """The mean."""
    return sum(rewards) / len(rewards)


@aggregation("prod")
def product(rewards: Sequence[float]) -> float:
    """The product; longer solutions score lower."""
    return math.prod(max(CLIP, r) for r in rewards)


@aggregation("geometric")
def geometric(rewards: Sequence[float]) -> float:
    """The geometric mean: the product made independent of the length."""
    return math.exp(sum(math.log(max(CLIP, r)) for r in rewards) / len(rewards))


@aggregation("max")
def maximum(rewards: Sequence[float]) -> float:
    """The best step's."""
    return max(rewards)


def aggregate(rewards: Sequence[float | None], how: str) -> float | None:
    """Score of a solution from the rewards [T] of its steps.

    Steps without a judgement (None) are left out; None when no step was judged, and for "last"
    when the last one was not. Raises UserError for an unknown aggregation.
    """
    reduce = aggregation[how]
    judged = [r for r in rewards if r is not None]
    if not judged or (how == "last" and rewards[-1] is None):
        return None
    return float(reduce(judged))


@choice("argmax")
def argmax(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The highest score."""
    return _top(range(len(candidates)), [(s,) for s in scores], tie)


@choice("majority")
def majority(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The answer that most candidates give; candidates without an answer do not vote."""
    return _vote(candidates, scores, tie, lambda sums, votes: float(votes))


@choice("weighted")
def weighted(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The answer with the largest sum of scores. Raises UserError for scores below 0."""
    if any(-math.inf < s < 0 for s in scores):
        raise UserError("weighted votes need scores of at least 0; use argmax or majority")
    return _vote(candidates, scores, tie, lambda sums, votes: sums)


@choice("oracle")
def oracle(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """A right one if there is any: what no choice can beat."""
    right = [i for i, c in enumerate(candidates) if c.correct]
    return right[:1] or [0]


def winners(
    candidates: Sequence[Candidate], how: str = "min", pick: str = "argmax", tie: Tie = "first"
) -> list[int]:
    """Indices of the chosen candidates: one, or under "shared" all that are tied.

    [] where nothing can be chosen: no candidates, or a vote in which nobody has an answer.
    """
    chosen = choice[pick]
    if tie not in get_args(Tie):
        raise UserError(f"unknown tie rule {tie!r}; known: {', '.join(get_args(Tie))}")
    scores = [aggregate(c.rewards, how) for c in candidates]
    if not candidates:
        return []
    return chosen(candidates, [-math.inf if s is None else s for s in scores], tie)


def accuracy(
    problems: Sequence[Sequence[Candidate]],
    how: str = "min",
    pick: str = "argmax",
    tie: Tie = "first",
) -> np.ndarray:
    """Share of right candidates among the winners of each problem [P]; 0 without a winner."""
    chosen = ((cs, winners(cs, how, pick, tie)) for cs in problems)
    return np.array([sum(cs[i].correct for i in at) / max(1, len(at)) for cs, at in chosen])


def grid(
    problems: Sequence[Sequence[Candidate]], tie: Tie = "first", seed: int = 0
) -> list[dict[str, Any]]:
    """One row per aggregation and choice: `aggregation, choice, accuracy, low, high, n_problems`.

    Choices that read no score (majority under "first" and "shared", oracle) are rows as well, equal
    over the aggregations.
    """
    resamples = Resamples.of(list(range(len(problems))), seed=seed)
    rows = []
    for how in aggregation:
        for pick in choice:
            at: Interval = mean_interval(accuracy(problems, how, pick, tie), resamples)
            row = {"aggregation": how, "choice": pick, "accuracy": at.value}
            rows.append(row | {"low": at.low, "high": at.high, "n_problems": len(problems)})
    return rows


def _vote(
    candidates: Sequence[Candidate],
    scores: Sequence[float],
    tie: Tie,
    weight: Callable[[float, int], float],
) -> list[int]:
    groups: dict[Hashable, list[int]] = {}
    for i, candidate in enumerate(candidates):
        if candidate.answer is not None:
            groups.setdefault(candidate.answer, []).append(i)
    ranks, best = [], []
    for members in groups.values():
        cast = [scores[i] for i in members if scores[i] > -math.inf]
        best.append(max(members, key=lambda i: (scores[i], -i)))
        key = (weight(sum(cast), len(members)),)
        if tie == "score":
            key += (sum(cast), float(len(members)), scores[best[-1]])
        ranks.append(key)
    return _top(best, ranks, tie)


def _top(indices: Sequence[int], ranks: Sequence[tuple[float, ...]], tie: Tie) -> list[int]:
    """The indices of the highest rank, compared place by place; under "shared" all of them."""
    left = list(range(len(ranks)))
    for place in range(len(ranks[0]) if ranks else 0):
        top = max(ranks[i][place] for i in left)
        left = [i for i in left if _equal(ranks[i][place], top)]
    chosen = [indices[i] for i in left]
    return chosen if tie == "shared" else chosen[:1]


def _equal(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=EQUAL, abs_tol=0.0)
