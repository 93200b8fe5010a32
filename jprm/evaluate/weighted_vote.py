"""The weighted vote: the answer with the largest sum of scores, among k of n stored candidates.

Candidates of one answer and one score are interchangeable, so counting how many of each are chosen
covers all subsets of all sizes at once. That is exact for any n with few different scores and for
14 candidates that all differ; beyond, up to 2 000 subsets are listed, and above that 2 000 uniformly
random ones stand in, the same for every problem: still unbiased, with a standard error of at most
.5 / sqrt(2000) = .011 per problem.
"""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.estimators import EXACT_LIMIT, multisets, subsets
from jprm.ties import equal


def weighted_vote_at_k(
    answers: Sequence[Hashable | None], scores: Sequence[float | None], truth: Hashable, k: int
) -> float:
    """Returns P(the answer with the largest sum of scores among k candidates is `truth`), ties shared.

    `answers` [n], None for a candidate without one; `scores` [n] of at least 0, None for one that was not judged:
    neither votes, and where nobody does nothing is chosen. Raises UserError for a negative score or a k outside 1..n.
    """
    return weighted_shares(answers, scores, {truth}, [k])[0]


def weighted_shares(
    answers: Sequence[Hashable | None],
    scores: Sequence[float | None],
    right: Collection[Hashable],
    ks: Sequence[int],
    logs: bool = False,
) -> list[float]:
    """Returns P(the weighted vote is one of `right`) at each k.

    logs: the scores are logarithms of the weights.
    """
    n = len(answers)
    if len(scores) != n:
        raise UserError(f"{n} answers but {len(scores)} scores")
    if not all(1 <= k <= n for k in ks):
        raise UserError(f"ks are {list(ks)}; with {n} samples they must lie between 1 and {n}")
    if not logs and any(score is not None and not score >= 0 for score in scores):
        raise UserError("weighted votes need scores of at least 0")
    votes = zip(answers, scores, strict=True)
    candidates = [(None, 0.0) if a is None or s is None else (a, s) for a, s in votes]
    groups = Counter(candidates)
    known = sorted({answer for answer, _ in groups if answer is not None}, key=str)
    if not known:
        return [0.0] * len(ks)
    cast = np.array([[answer == a for a in known] for answer, _ in groups], dtype=np.float64)
    scale = np.array([score for _, score in groups], dtype=np.float64)
    with np.errstate(divide="ignore"):
        weights = scale if logs else np.log(scale)
    is_right = np.array([a in right for a in known])
    if math.prod(count + 1 for count in groups.values()) <= EXACT_LIMIT:
        chosen, ways, size = multisets(tuple(groups.values()))
        by_size = np.bincount(size, ways * _vote(chosen, cast, weights, is_right), n + 1)
        return [float(by_size[k]) / math.comb(n, k) for k in ks]
    order = {group: i for i, group in enumerate(groups)}
    rows = [order[candidate] for candidate in candidates]
    return [float(_vote(subsets(n, k)[0], cast[rows], weights[rows], is_right).mean()) for k in ks]


def _vote(chosen: np.ndarray, cast: np.ndarray, log_weights: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """Returns the share of right answers among the winners [S] of each choice [S, groups]; 0 without votes."""
    present = chosen @ cast > 0
    # In parts of the choice's largest weight: products of many probabilities are too small to add.
    voting = np.where((chosen > 0) & cast.any(axis=1), log_weights, -np.inf)
    top = voting.max(axis=1, keepdims=True)
    weights = np.exp(voting - np.where(np.isfinite(top), top, 0.0))
    total = np.where(present, (chosen * weights) @ cast, -1.0)
    winners = present & equal(total, total.max(axis=1, keepdims=True))
    return (winners & is_right).sum(axis=1) / np.maximum(winners.sum(axis=1), 1)
