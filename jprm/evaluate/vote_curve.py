"""Verifier quality against the number of votes, for every k, from one stored set of N votes.

The verdict of a set of votes is the first step whose mean reward falls below the threshold. There is none where a step
before it, or any step where none falls below, was judged by no vote of the set. Which k of the N stored votes one would
have sampled is chance, so an item's correctness at k is averaged over all subsets of size k. Votes that say the same on
every step are interchangeable: an item has few different ones, and counting how many of each are chosen covers all
subsets of all sizes at once, long after listing them has become impossible.

Invariant: where even that is too much, a fixed draw of subsets stands in, the same for every item and every system, and
the curve says so (`exact`). Every comparison is paired by problem.
"""

import functools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.estimators import EXACT_LIMIT, multisets, subsets
from jprm.evaluate.f1 import FirstErrorScore, score
from jprm.evaluate.missing import Missing, check_missing, counted
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Difference, Interval, f1_difference, f1_interval
from jprm.ties import below

# reward[t][i]: vote i on step t; None (nan in an array) where the vote gave no judgement.
Rewards = Sequence[Sequence[float | None]] | np.ndarray
NO_VERDICT = -2  # beside the indices of steps and -1 for no error
SOME_ERROR = 1 << 30  # any step's index: a solution of which only that it is wrong is known


@dataclass(frozen=True)
class VoteCurve:
    """P(the first error is named right) `right` and P(there is no verdict) `missing` [n, K], of each item at each k.

    `missing_as` is what no verdict counts; `ks` [K]; `labels` [n] first errors; `exact` [K] says whether all subsets
    were averaged; `none_share` is the share of votes on steps without a judgement.
    """

    ks: tuple[int, ...]
    labels: np.ndarray
    right: np.ndarray
    exact: tuple[bool, ...]
    none_share: float
    resamples: Resamples
    missing: np.ndarray
    missing_as: Missing = "wrong"

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """What the verdicts count as [n, K]; see `jprm.evaluate.counted`."""
        return counted(self.right, self.missing, self.missing_as, self.labels)

    @property
    def _judged(self) -> np.ndarray | None:
        """How much of each solution counts [n, K]; None where all of it does."""
        return 1.0 - self.missing if self.missing_as == "excluded" and self.missing.any() else None

    def at(self, k: int) -> np.ndarray:
        """Returns what the verdicts at k votes count as [n]. Raises UserError for a k that is not in `ks`."""
        return self.correct[:, self._column(k)]

    def missing_share(self, k: int) -> float:
        """Returns the share of the solutions without a verdict at k votes."""
        return float(self.missing[:, self._column(k)].mean())

    def _column(self, k: int) -> int:
        if k not in self.ks:
            raise UserError(f"no point at k = {k}; computed: {list(self.ks)}")
        return self.ks.index(k)

    def score(self, k: int) -> FirstErrorScore:
        """Returns both accuracies and their harmonic mean at k votes."""
        return score(self.labels, self.at(k))

    def f1(self, k: int) -> Interval:
        """Returns first-error F1 at k votes with its interval over problems."""
        at, judged = self._column(k), self._judged
        return f1_interval(
            self.labels, self.right[:, at], self.resamples, judged=None if judged is None else judged[:, at]
        )

    def gain(self, k: int, over: int = 1) -> Difference:
        """Returns F1 at k votes minus F1 at `over` votes, paired by problem."""
        return f1_difference(self.labels, self.at(over), self.at(k), self.resamples)

    def samples(self) -> np.ndarray:
        """Returns resampled F1 curves [R, K], one resample of the problems per row, for the fits."""
        return self.resamples.f1(self.labels, self.right, self._judged)

    def rows(self) -> list[dict]:
        """Returns a row for each k: `n_votes, f1, f1_low, f1_high, error_acc, correct_acc, n_items, ...`."""
        return [
            {
                "n_votes": k,
                "f1": f1.value,
                "f1_low": f1.low,
                "f1_high": f1.high,
                "error_acc": at.error_acc,
                "correct_acc": at.correct_acc,
                "n_items": len(self.labels),
                "none_share": self.none_share,
                "missing_share": self.missing_share(k),
                "missing_as": self.missing_as,
                "exact_subsets": exact,
            }
            for k, exact in zip(self.ks, self.exact, strict=True)
            for at, f1 in ((self.score(k), self.f1(k)),)
        ]


def vote_curve(
    rewards: Iterable[Rewards],
    labels: Sequence[int],
    problem_ids: Sequence[Hashable],
    *,
    ks: Sequence[int] | None = None,
    threshold: float = 0.5,
    seed: int = 0,
    missing: Missing = "wrong",
) -> VoteCurve:
    """Computes the curve over k from stored votes: `rewards` [n] of [steps, N], None or nan where nothing was judged.

    `rewards` may be a generator: one table is held at a time, so memory grows with the items and not with their votes
    (10 million votes of 20 000 items: 412 MB in all, 320 of them the resamples). `labels` [n] are 0-based first errors,
    -1 for none, SOME_ERROR for one at an unknown step; `ks` defaults to 1..N; `seed` is that of the resamples over
    `problem_ids` [n]; `missing` is what a solution without a verdict counts. A table may end at a step that every vote
    rejects, since no subset reads beyond it. Raises UserError when items differ in N or a table is not rectangular.
    """
    check_missing(missing)
    n_items, n_votes, silent, total = 0, 0, 0, 0
    points: list[tuple[np.ndarray, list[bool]]] = []
    for i, item in enumerate(rewards):
        table = reward_table(item, i)
        if not points:
            n_votes = table.shape[1]
            ks = tuple(range(1, n_votes + 1)) if ks is None else tuple(ks)
            if not all(1 <= k <= n_votes for k in ks):
                raise UserError(f"ks are {list(ks)}; with {n_votes} stored votes they lie in 1..{n_votes}")
        if table.shape[1] != n_votes:
            raise UserError(f"item {i} has {table.shape[1]} votes, item 0 has {n_votes}")
        if i < len(labels):
            outcomes = labels[i], NO_VERDICT
            points.append(verdict_shares(table, outcomes, ks or (), threshold))
        n_items, total = n_items + 1, total + table.size
        silent += int(np.isnan(table).sum())
    if not n_items == len(labels) == len(problem_ids):
        raise UserError(f"{n_items} reward tables, {len(labels)} labels, {len(problem_ids)} problem ids")
    if not points:
        raise UserError("no items to draw a curve from")
    right, silent_share = np.stack([shares for shares, _ in points], axis=1)
    exact = [all(complete) for complete in zip(*(e for _, e in points), strict=True)]
    return VoteCurve(
        ks=tuple(ks or ()),
        labels=np.asarray(labels),
        right=right,
        exact=tuple(exact),
        none_share=silent / total,
        resamples=Resamples.of(problem_ids, seed=seed),
        missing=silent_share,
        missing_as=missing,
    )


def verdict_shares(
    table: np.ndarray, outcomes: Sequence[int], ks: Sequence[int], threshold: float = 0.5
) -> tuple[np.ndarray, list[bool]]:
    """Returns the shares [outcomes, K] of the k-subsets of the votes with each verdict, and which k are exact.

    An outcome is the index of the first step that is called wrong, -1 where none is, NO_VERDICT where that needs a step
    that no chosen vote judged, SOME_ERROR for whatever step. `table` [T, N] holds rewards, nan without a judgement;
    such a vote is left out of the mean.
    """
    n_votes = table.shape[1]
    judged = ~np.isnan(table)
    votes, counts = np.unique(np.concatenate([np.where(judged, table, 0.0), judged]), axis=1, return_counts=True)
    if math.prod(int(c) + 1 for c in counts) <= EXACT_LIMIT:
        chosen, ways, size = multisets(tuple(counts.tolist()))
        verdicts = _verdicts(chosen, votes, threshold)
        total = np.array([math.comb(n_votes, k) for k in ks], dtype=np.float64)
        hits = [np.bincount(size, ways * _is(verdicts, o), n_votes + 1) for o in outcomes]
        return np.array([by_size[list(ks)] / total for by_size in hits]), [True] * len(ks)
    votes = np.concatenate([np.where(judged, table, 0.0), judged])
    shares, exact = np.empty((len(outcomes), len(ks))), []
    for column, k in enumerate(ks):
        members, complete = subsets(n_votes, k)
        verdicts = _verdicts(members, votes, threshold)
        shares[:, column] = [_is(verdicts, outcome).mean() for outcome in outcomes]
        exact.append(complete)
    return shares, exact


def _is(verdicts: np.ndarray, outcome: int) -> np.ndarray:
    return verdicts >= 0 if outcome == SOME_ERROR else verdicts == outcome


def _verdicts(chosen_SN: np.ndarray, votes: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the verdict [S] of each choice; `votes` [2T, N] are rewards above flags that say which were judged."""
    sum_ST, count_ST = np.split(chosen_SN @ votes.T, 2, axis=1)
    open_ST = count_ST == 0
    ends_ST = open_ST | below(sum_ST, threshold * count_ST)  # the mean, multiplied out
    step_S = ends_ST.argmax(axis=1)
    at_S = step_S[:, None]
    verdict_S = np.where(np.take_along_axis(open_ST, at_S, 1)[:, 0], NO_VERDICT, step_S)
    return np.where(ends_ST.any(axis=1), verdict_S, -1)


def reward_table(item: Rewards, index: int) -> np.ndarray:
    """Makes an array [steps, votes] of the rewards of an item, with nan for None. Raises UserError naming the item."""
    try:
        if isinstance(item, np.ndarray):
            table = item.astype(np.float64)
        else:
            table = np.array([[np.nan if r is None else r for r in step] for step in item], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(f"item {index}: rewards must be [steps, votes] numbers: {error}") from None
    if table.ndim != 2 or table.size == 0:
        raise UserError(f"item {index}: rewards have shape {table.shape}, expected [steps, votes]")
    return table
