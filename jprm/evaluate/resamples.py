"""Resamples from which every interval is made: problems weighed at random, and one problem more that was not seen.

All solutions, steps and votes of a problem are weighed together: siblings of a hard problem are no independent
evidence. The weights of the problems are exponential (the Bayesian bootstrap, Rubin 1981). Weights alone would make an
interval of width 0 where all is right, so each resample holds one more problem, whose outcome is the toss of a fair
coin. Of s right items among n independent ones, a resampled share is then Beta(s + 1, n - s) or Beta(s, n - s + 1),
each half of the time, and its quantiles are the mid-P interval of Clopper and Pearson (Lancaster 1961; Agresti and
Gottard 2007), which neither collapses at 0 and 1 nor is too wide as the exact one is.

Invariant: every statistic is a function of per-problem sums, so one matrix of weights [R, G] serves all of them, and
two systems on the same items see the same resamples.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.f1 import harmonic_mean

RESAMPLES = 2000


@dataclass(frozen=True)
class Resamples:
    """The weights [R, G] of the problems, all exponential; `group` [n] is the problem of each item."""

    group: np.ndarray
    weights: np.ndarray
    seed: int = 0

    @classmethod
    def of(cls, problem_ids: Sequence[Hashable], *, seed: int = 0, resamples: int = RESAMPLES) -> Resamples:
        """Weighs the problems `resamples` times; the same seed gives the same weights.

        Problems are numbered by first appearance, so their names do not change the weights.
        """
        if not len(problem_ids):
            raise UserError("no items to resample")
        number: dict[Hashable, int] = {}
        group = np.array([number.setdefault(p, len(number)) for p in problem_ids])
        return cls(group, _weights(len(number), seed, resamples), seed)

    def sums(self, values: ArrayLike) -> np.ndarray:
        """Returns resampled sums [R, c] of item values [n] or [n, c] over the problems that were seen.

        Their scale is that of the weights, so only ratios of sums mean something.
        """
        return self.weights @ self.per_problem(values)

    def outcomes(self, *tables: ArrayLike) -> list[np.ndarray]:
        """Returns resampled sums [R, C] of each table [n, C], with the unseen problem among them.

        A row says how much of an item falls on each of C outcomes that exclude each other, all from 0 up: C = 2 for
        right and wrong, C = 4 for two systems (right in both, only in the first, only in the second, in neither). The
        unseen problem falls on one of them: each system tosses a coin of its own, and each table another problem. nan
        throughout where a table holds items of one problem alone, since nothing tells how others would differ; 0 where
        it holds none.
        """
        per_table = [self.per_problem(table) for table in tables]
        edges = np.cumsum([table.shape[1] for table in per_table])[:-1]
        seen = np.split(self.weights @ np.concatenate(per_table, axis=1), edges, axis=1)
        return [s + self.unseen(p, i) for i, (s, p) in enumerate(zip(seen, per_table, strict=True))]

    def unseen(self, per_problem: np.ndarray, stream: int) -> np.ndarray:
        """Returns what the unseen problem adds to the outcomes [R, C], from those of each problem [G, C].

        It weighs an exponential number and falls on one outcome, with the size of `_size`.
        """
        problems = np.count_nonzero(per_problem.sum(axis=1))
        size = _size(per_problem) if problems > 1 else np.nan if problems else 0.0
        return _tosses(self.seed, len(self.weights), stream, per_problem.shape[1]) * size

    def f1(self, labels: ArrayLike, correctness: ArrayLike, judged: ArrayLike | None = None) -> np.ndarray:
        """Returns first-error F1 [R, K] from labels [n] and the expected correctness [n] or [n, K] in [0, 1].

        There is an unseen problem of each kind, wholly right or wholly wrong in all K columns. nan without an erroneous
        or without a correct solution. judged: how much of an item there is at all, of the shape of `correctness` and
        not below it; else all of it.
        """
        is_error = np.asarray(labels)[:, None] >= 0
        right = np.asarray(correctness, dtype=np.float64).reshape(len(self.group), -1)
        whole = np.ones((len(right), 1)) if judged is None else np.reshape(judged, right.shape)
        kinds = [np.concatenate([right, whole], axis=1) * kind for kind in (is_error, ~is_error)]
        tables = [self.per_problem(kind) for kind in kinds]
        columns = right.shape[1]
        sums = np.split(self.weights @ np.concatenate(tables, axis=1), 2, axis=1)
        accuracies = []
        for stream, (table, seen) in enumerate(zip(tables, sums, strict=True)):
            hits, total = table[:, :columns], table[:, columns:]
            unseen = [self.unseen(np.stack(p, axis=1), stream) for p in zip(hits.T, (total - hits).T, strict=True)]
            hit, miss = np.stack(unseen, axis=-1).transpose(1, 0, 2)
            with np.errstate(invalid="ignore"):
                share = (seen[:, :columns] + hit) / (seen[:, columns:] + hit + miss)
            accuracies.append(np.minimum(share, 1.0))  # the sums are rounded each by itself
        return harmonic_mean(*accuracies)

    def per_problem(self, values: ArrayLike) -> np.ndarray:
        """Returns the sums [G, c] of item values [n] or [n, c] within each problem."""
        table = np.asarray(values, dtype=np.float64).reshape(len(self.group), -1)
        found = np.zeros((self.weights.shape[1], table.shape[1]))
        np.add.at(found, self.group, table)
        return found


def _size(per_problem: np.ndarray) -> np.ndarray:
    """How much of each outcome [C] a problem brings that has it: the mean, weighted by itself.

    1 for items of 0 and 1 alone in their problem. A problem that is an outcome as a whole is mixed in, as one among the
    effective number k of problems that were seen with it: what was seen once at .001 may come at 1. Of four outcomes
    the two on which the systems disagree share their size.
    """
    seen = per_problem.copy()
    if seen.shape[1] == 4:
        seen[:, 1:3] = seen[:, 1:3].sum(axis=1, keepdims=True)
    total, square = seen.sum(axis=0), (seen**2).sum(axis=0)
    items = per_problem.sum(axis=1)
    whole = (items**2).sum() / items.sum()
    share = np.where(total > 0, square, 1.0) / np.where(total > 0, total**2 + square, 1.0)
    return (square + whole**2 * share) / (total + whole * share)


@functools.lru_cache(maxsize=8)
def _weights(n_groups: int, seed: int, resamples: int) -> np.ndarray:
    """Weights [R, G]; shared, since every cell of a sweep asks for the same ones. Read only."""
    weights = np.random.default_rng(seed).standard_exponential((resamples, n_groups))
    weights.flags.writeable = False
    return weights


@functools.lru_cache(maxsize=256)
def _tosses(seed: int, resamples: int, stream: int, places: int) -> np.ndarray:
    """The weight of the unseen problem on the outcome that its coins name [R, places]. Read only."""
    rng = np.random.default_rng((seed, stream, resamples))
    weight, coins = rng.standard_exponential(resamples), rng.integers(0, 4, resamples)
    masses = weight[:, None] * (coins[:, None] % places == np.arange(places))
    masses.flags.writeable = False
    return masses
