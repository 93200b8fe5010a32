"""Choosing one of N candidate solutions by the rewards of their steps.

An aggregation turns the rewards of a solution's steps into one score; a choice turns scores and answers into a winner.
`jprm.evaluate.best_of_n` gives the expectation of the same choices at every smaller N.

The tie rule has a name, because published tables depend on it:

    first    the candidate, or the answer, that stands first in the stored order
    score    for answers with equal votes: more summed score, then more votes, then the higher best
             score, then first (StrictPRMBench); for candidates the same as "first"
    shared   every tied winner counts equally, so that no result depends on the stored order

Scores that differ by rounding only are equal (`jprm.ties`). An answer is represented by its best
candidate. A candidate with an unjudged step that its score needs has no score: no choice that goes by
scores takes it, though its answer counts in a majority.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import ScoredCandidate
from jprm.formats import StepScores
from jprm.registry import Registry
from jprm.ties import mean as exact_mean
from jprm.ties import places

Tie = Literal["first", "score", "shared"]
CLIP = 1e-30  # the least factor of a product: one zero must not hide the others (StrictPRMBench)
WITHOUT_SCORES = ("majority", "oracle")  # choices that need no score
ADVICE = "; --transform sigmoid makes probabilities of logits, --transform exp of their logarithms"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution: its final answer (None without one), its grade, its rewards [T]."""

    answer: Hashable | None
    correct: bool
    rewards: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, stored: StepScores, transform: Callable[[float], float] = lambda score: score) -> Candidate:
        """The candidate of a row of a file of step scores, each score transformed."""
        rewards = tuple(None if score is None else transform(score) for score in stored.scores)
        return cls(stored.answer, stored.correct, rewards)

    def scored(self, how: str) -> ScoredCandidate:
        """The candidate with its rewards aggregated, for `jprm.evaluate.best_of_n`."""
        return ScoredCandidate(self.answer, self.correct, _score(self.rewards, how), how in IN_LOGS)


# Rewards [T] of the steps, T >= 1, to a score.
Aggregation = Callable[[Sequence[float]], float]
# Candidates, their scores (-inf without), the tie rule -> the indices of the winners.
Choice = Callable[[Sequence[Candidate], Sequence[float], Tie], list[int]]
aggregation: Registry[Aggregation] = Registry("aggregation")
"""Aggregations by name. One takes the rewards of a solution's steps and returns its score."""
choice: Registry[Choice] = Registry("choice")
"""Choices by name. One takes the candidates with their scores and returns the indices of the winners."""


@aggregation("last")
def last(rewards: Sequence[float]) -> float:
    """The last step's reward."""
    return rewards[-1]


@aggregation("min")
def minimum(rewards: Sequence[float]) -> float:
    """The worst step's reward."""
    return min(rewards)


@aggregation("mean")
def mean(rewards: Sequence[float]) -> float:
    """The mean reward."""
    return exact_mean(rewards)


def log_product(rewards: Sequence[float]) -> float:
    """The logarithm of the product. Raises UserError for a reward below 0, which has none."""
    if min(rewards) < 0:
        raise UserError("products need rewards of at least 0" + ADVICE)
    return math.fsum(math.log(max(CLIP, r)) for r in rewards)


@aggregation("prod")
def product(rewards: Sequence[float]) -> float:
    """The product of the rewards; longer solutions score lower."""
    return math.exp(log_product(rewards))


@aggregation("geometric")
def geometric(rewards: Sequence[float]) -> float:
    """The geometric mean of the rewards: a product that does not depend on the length."""
    return math.exp(log_product(rewards) / len(rewards))


@aggregation("max")
def maximum(rewards: Sequence[float]) -> float:
    """The best step's reward."""
    return max(rewards)


IN_LOGS: dict[str, Aggregation] = {"prod": log_product}  # those that leave the range of a float


def aggregate(rewards: Sequence[float | None], how: str) -> float | None:
    """Aggregates the score of a solution from the rewards [T] of its steps.

    It is None where a step that it needs was not judged: the last one for "last", any for the others.
    Raises UserError for an unknown aggregation, and for one that these rewards do not have.
    """
    return _aggregate(rewards, how, aggregation[how])


def _score(rewards: Sequence[float | None], how: str) -> float | None:
    """The score that solutions are compared by: as `aggregate`, or its logarithm where that leaves a float's range."""
    return _aggregate(rewards, how, IN_LOGS.get(how) or aggregation[how])


def _aggregate(rewards: Sequence[float | None], how: str, reduce: Aggregation) -> float | None:
    needed = rewards[-1:] if how == "last" else rewards
    judged = [r for r in needed if r is not None]
    return float(reduce(judged)) if judged and len(judged) == len(needed) else None


def rank(rewards: Sequence[float | None], how: str) -> float:
    """Returns one number to compare solutions by; -inf for one without a score, which loses to any."""
    score = _score(rewards, how)
    return -math.inf if score is None else score


def scores_of(candidates: Sequence[Candidate], how: str) -> list[float]:
    """Returns the scores of the candidates of a problem, -inf without one; products in parts of the largest."""
    scores = [rank(c.rewards, how) for c in candidates]
    top = max(scores, default=-math.inf)
    if how not in IN_LOGS or top == -math.inf:
        return scores
    return [s if s == -math.inf else math.exp(s - top) for s in scores]


@choice("argmax")
def argmax(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The candidate with the highest score."""
    judged = [i for i, s in enumerate(scores) if s > -math.inf]
    return _top(judged, [(scores[i],) for i in judged], tie)


@choice("majority")
def majority(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The answer that most candidates give; candidates without an answer do not vote."""
    return _vote(candidates, scores, tie, lambda sums, votes: float(votes))


@choice("weighted")
def weighted(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """The answer with the largest sum of scores. Raises UserError for scores below 0."""
    if any(-math.inf < s < 0 for s in scores):
        raise UserError("weighted votes need scores of at least 0" + ADVICE)
    return _vote(candidates, scores, tie, lambda sums, votes: sums)


@choice("oracle")
def oracle(candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie) -> list[int]:
    """A right candidate if there is any: no choice can beat it."""
    right = [i for i, c in enumerate(candidates) if c.correct]
    return right[:1] or [0]


def winners(candidates: Sequence[Candidate], how: str = "min", pick: str = "argmax", tie: Tie = "first") -> list[int]:
    """Returns the indices of the chosen candidates: one, or under "shared" all that are tied.

    [] where nothing can be chosen: no candidates, a vote in which nobody has an answer, or a choice
    by scores where no candidate has one.
    """
    chosen, _ = choice[pick], aggregation[how]
    if tie not in get_args(Tie):
        raise UserError(f"unknown tie rule {tie!r}; known: {', '.join(get_args(Tie))}")
    return chosen(candidates, scores_of(candidates, how), tie) if candidates else []


def accuracy(
    problems: Sequence[Sequence[Candidate]], how: str = "min", pick: str = "argmax", tie: Tie = "first"
) -> np.ndarray:
    """Returns the share of right candidates among the winners of each problem [P]; 0 without a winner."""
    chosen = ((cs, winners(cs, how, pick, tie)) for cs in problems)
    return np.array([sum(cs[i].correct for i in at) / max(1, len(at)) for cs, at in chosen])


def unjudged(problems: Sequence[Sequence[Candidate]], how: str, pick: str) -> np.ndarray:
    """Says whether the choice wants a score and no candidate of a problem has one [P]."""
    if pick in WITHOUT_SCORES:
        return np.zeros(len(problems), bool)
    return np.array([all(_score(c.rewards, how) is None for c in cs) for cs in problems])


def _vote(
    candidates: Sequence[Candidate], scores: Sequence[float], tie: Tie, weight: Callable[[float, int], float]
) -> list[int]:
    groups: dict[Hashable, list[int]] = {}
    for i, candidate in enumerate(candidates):
        if candidate.answer is not None:
            groups.setdefault(candidate.answer, []).append(i)
    ranks, best = [], []
    for members in groups.values():
        cast = [scores[i] for i in members if scores[i] > -math.inf]
        total = math.fsum(cast) if cast else -math.inf
        best.append(_top(members, [(scores[i],) for i in members], "first")[0])
        key = (weight(total, len(members)),)
        if tie == "score":
            key += (total, float(len(members)), scores[best[-1]])
        ranks.append(key)
    heard = [i for i, key in enumerate(ranks) if key[0] > -math.inf]
    return _top([best[i] for i in heard], [ranks[i] for i in heard], tie)


def _top(indices: Sequence[int], ranks: Sequence[tuple[float, ...]], tie: Tie) -> list[int]:
    """Returns the indices of the highest rank, compared place by place; under "shared" all of them."""
    left = list(range(len(ranks)))
    for column in range(len(ranks[0]) if ranks else 0):
        place = places([ranks[i][column] for i in left])
        left = [i for i, at in zip(left, place, strict=True) if at == 0]
    chosen = [indices[i] for i in left]
    return chosen if tie == "shared" else chosen[:1]
