"""What k samples would give, from n stored ones: exact averages over all k-subsets.

Each function is the U-statistic of its quantity, the mean over every way of choosing k of the n samples without
replacement: unbiased, and of lower variance than the first k samples alone. Substituting c/n into a formula for k draws
is biased and is done nowhere (Chen et al. 2021).

Invariant: a tie (`jprm.ties`) is shared. Where several answers or candidates come out on top, each counts with equal
weight, as if the winner were drawn among them, so no result depends on the stored order. What was not judged is never
chosen by a score.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from jprm.errors import UserError
from jprm.ties import places

EXACT_LIMIT = 20_000  # choices counted by `multisets`; beyond, `subsets` lists or draws
LISTED = 2_000
DRAWS = 2_000
_LARGEST_FLOAT = 2**1000  # C(n, k) of more than a thousand samples; beyond, integers divide


def pass_at_k(n: int, c: int, k: int) -> float:
    """Returns P(at least one of k samples is correct), with c correct ones among n (Chen et al. 2021)."""
    _check(n, k)
    if not 0 <= c <= n:
        raise UserError(f"{c} correct of {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def maj_at_k(votes: Sequence[Hashable | None], truth: Hashable, k: int) -> float:
    """Returns P(the plurality answer of k votes is `truth`); None is a sample without an answer.

    Such a sample takes one of the k places and votes for nothing; k of them elect nobody, which is not `truth`. Exact
    for any number of votes: for each count j of true votes, a polynomial in the number of other votes and the number of
    answers tied at j counts the subsets in which no other answer has more than j. Answers with fewer than j votes in
    all cannot reach it and are counted together, so with two answers this is the hypergeometric law.
    """
    _check(len(votes), k)
    counts = Counter(votes)
    silent, true_votes = counts.pop(None, 0), counts.pop(truth, 0)
    if truth is None:
        raise UserError("the true answer is None, which stands for a sample without an answer")
    wins, total = 0.0, math.comb(len(votes), k)
    for j in range(1, min(true_votes, k) + 1):
        small = silent + sum(count for count in counts.values() if count < j)
        # ways[ties][size]: choices of `size` votes for other answers, `ties` of them at j votes.
        ways = {0: [math.comb(small, size) for size in range(k - j + 1)]}
        for count in counts.values():
            if count >= j:
                ways = _add_answer(ways, count, j)
        chosen = math.comb(true_votes, j)
        if total < _LARGEST_FLOAT:
            wins += chosen * sum(by_size[k - j] / (ties + 1) for ties, by_size in ways.items())
        else:
            wins += sum(chosen * by_size[k - j] / ((ties + 1) * total) for ties, by_size in ways.items())
    return wins / total if total < _LARGEST_FLOAT else wins


def best_of_k(scores: Sequence[float | None], correct: Sequence[float], k: int, *, logs: bool = False) -> float:
    """Returns the expected correctness of the highest-scored of k candidates, 0 where none of the k has a score.

    `scores` [n], None for a candidate without a judgement; `correct` [n] in [0, 1]; `logs` says that
    the scores are logarithms, which only decides on ties. By order
    statistics: of the C(n, k) subsets, C(u, k) - C(b, k) have their highest score at a level that u
    candidates do not exceed and b stay below.
    """
    n = len(scores)
    _check(n, k)
    if len(correct) != n:
        raise UserError(f"{n} scores but {len(correct)} outcomes")
    rank = np.array([-math.inf if s is None else s for s in scores], dtype=np.float64)
    if np.isnan(rank).any():
        raise UserError("a score is nan; give None for a candidate without a judgement")
    outcome, place, total = (np.asarray(correct, dtype=np.float64), np.array(places(rank.tolist(), logs)), 0.0)
    for level in np.unique(place[rank > -math.inf])[::-1]:  # from the lowest score up
        up_to, below = int((place >= level).sum()), int((place > level).sum())
        share = (math.comb(up_to, k) - math.comb(below, k)) / math.comb(n, k)
        total += share * float(outcome[place == level].mean())
    return total


@functools.lru_cache(maxsize=64)
def subsets(n: int, k: int, *, exact_limit: int = LISTED, draws: int = DRAWS) -> tuple[np.ndarray, bool]:
    """Returns a membership matrix [S, n] of 0 and 1 over k-subsets of n, and whether it holds all of them.

    Above `exact_limit` subsets it holds `draws` uniformly random ones, always the same, so two systems are compared on
    the same subsets. The matrix is shared: do not write into it.
    """
    _check(n, k)
    if math.comb(n, k) <= exact_limit:
        columns, exact = np.array(list(itertools.combinations(range(n), k))), True
    else:
        # The k smallest of n uniform keys are a uniformly random subset.
        keys = np.random.default_rng((n, k)).random((draws, n))
        columns, exact = np.argpartition(keys, k - 1, axis=1)[:, :k], False
    members = np.zeros((len(columns), n))
    np.put_along_axis(members, columns, 1.0, axis=1)
    members.flags.writeable = False
    return members, exact


@functools.lru_cache(maxsize=32)
def multisets(counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lists all choices, of every size at once, from samples of which many are the same.

    From `counts` [P] equal samples: how many of each are chosen [S, P], in how many ways [S], and the size of the
    choice [S]; S is the product of counts + 1. Shared: do not write into them.
    """
    chosen = np.indices([c + 1 for c in counts]).reshape(len(counts), -1).T
    ways = np.ones(len(chosen))
    for column, count in zip(chosen.T, counts, strict=True):
        ways *= np.array([math.comb(count, x) for x in range(count + 1)], dtype=float)[column]
    return chosen.astype(np.float64), ways, chosen.sum(axis=1)


def _add_answer(ways: dict[int, list[int]], count: int, most: int) -> dict[int, list[int]]:
    """Extends `ways` by an answer with `count` votes, of which at most `most` may be chosen."""
    longest = len(next(iter(ways.values())))
    out: dict[int, list[int]] = {}
    for ties, by_size in ways.items():
        for chosen in range(min(count, most, longest - 1) + 1):
            row = out.setdefault(ties + (chosen == most), [0] * longest)
            factor = math.comb(count, chosen)
            for size in range(longest - chosen):
                row[size + chosen] += factor * by_size[size]
    return out


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise UserError(f"k is {k}; with {n} samples it must lie between 1 and {n}")
