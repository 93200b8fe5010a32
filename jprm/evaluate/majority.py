"""The verdict that most votes give, for voters that name a first error instead of rewarding steps."""

import math
from collections.abc import Sequence

import numpy as np

from jprm.evaluate.estimators import EXACT_LIMIT, multisets, subsets
from jprm.evaluate.vote_curve import NO_VERDICT, SOME_ERROR, own_verdicts


def majority_shares(
    table: np.ndarray, outcomes: Sequence[int], ks: Sequence[int], threshold: float = 0.5
) -> tuple[np.ndarray, list[bool]]:
    """Returns what `verdict_shares` does, where the verdict is the one that most of the chosen votes give.

    A vote's own verdict is the first step that it calls wrong. A tie is shared, as if the winner were drawn among those
    on top; votes without a verdict elect nothing, and k of them have none.
    """
    verdicts = own_verdicts(table, threshold)
    named, which, counts = np.unique(verdicts, return_inverse=True, return_counts=True)
    n_votes = len(verdicts)
    if math.prod(int(c) + 1 for c in counts) <= EXACT_LIMIT:
        chosen, ways, size = multisets(tuple(counts.tolist()))
        weights = ways[:, None] * _won(chosen, named, outcomes)
        by_size = np.stack([np.bincount(size.astype(int), column, n_votes + 1) for column in weights.T])
        return by_size[:, list(ks)] / [math.comb(n_votes, k) for k in ks], [True] * len(ks)
    shares, exact = np.empty((len(outcomes), len(ks))), []
    for column, k in enumerate(ks):
        members, complete = subsets(n_votes, k)
        chosen = members @ np.eye(len(named))[which]
        shares[:, column] = _won(chosen, named, outcomes).mean(axis=0)
        exact.append(complete)
    return shares, exact


def _won(chosen_SP: np.ndarray, named: np.ndarray, outcomes: Sequence[int]) -> np.ndarray:
    """Returns the share [S, outcomes] of each outcome in choices of so many votes for each verdict of `named` [P]."""
    real = named != NO_VERDICT
    most_S = chosen_SP[:, real].max(axis=1, initial=0)
    on_top_SP = (chosen_SP == most_S[:, None]) & real & (most_S > 0)[:, None]
    share_SP = on_top_SP / np.maximum(on_top_SP.sum(axis=1), 1)[:, None]

    def of(outcome: int) -> np.ndarray:
        if outcome == NO_VERDICT:
            return (most_S == 0).astype(float)
        return share_SP[:, named >= 0 if outcome == SOME_ERROR else named == outcome].sum(axis=1)

    return np.stack([of(outcome) for outcome in outcomes], axis=1)
