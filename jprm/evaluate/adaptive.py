"""Adaptive N: stop voting on a step when more votes can hardly change it.

After y votes for and n against, m more may come. Under a uniform prior on a step's share of Yes the number of Yes among
them is beta-binomial(m, 1 + y, 1 + n), so the probability that finishing would turn the decision is known; the rule
stops once it is at most `risk`. With risk 0 it is curtailment: it stops when nothing can turn the decision, and the
predictions are those of all N votes.

What the rule would have saved is computed from stored votes, over every order in which they could have come: the counts
follow the hypergeometric walk, whose stopped paths are counted exactly.

Invariant: the rule sees the votes drawn so far and never the stored ones that it did not draw.
"""

import functools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.errors import UserError
from jprm.evaluate.missing import Missing, check_missing, counted
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Difference, Interval, f1_difference, interval_row, ratio_interval
from jprm.evaluate.vote_curve import Rewards, reward_table
from jprm.ties import below


@dataclass(frozen=True)
class AdaptiveVoting:
    """Adaptive voting compared with always drawing `n_max` votes, for each item [n].

    `correct`, `fixed_correct` are what the verdicts count, `missing`, `fixed_missing` the probabilities that there is
    none (see `jprm.evaluate.missing`); `votes`, `fixed_votes` the expected votes spent, up to the first step that was
    rejected.
    """

    risk: float
    n_max: int
    labels: np.ndarray
    correct: np.ndarray
    fixed_correct: np.ndarray
    votes: np.ndarray
    fixed_votes: np.ndarray
    missing: np.ndarray
    fixed_missing: np.ndarray
    resamples: Resamples

    @property
    def saved(self) -> Interval:
        """The share of the votes that is saved, with its interval over problems."""
        return ratio_interval(self.fixed_votes - self.votes, self.fixed_votes, self.resamples)

    @property
    def change(self) -> Difference:
        """The F1 of adaptive voting minus that of `n_max` votes, paired by problem."""
        return f1_difference(self.labels, self.fixed_correct, self.correct, self.resamples)

    def row(self) -> dict[str, float | None]:
        """A row for a table: risk, mean votes per item, the share saved and the change of F1 with their ends."""
        return {
            "risk": self.risk,
            "n_max": self.n_max,
            "votes_per_item": float(self.votes.mean()),
            "votes_per_item_fixed": float(self.fixed_votes.mean()),
            **interval_row("saved", self.saved),
            **interval_row("f1_change", self.change),
            "missing_share": float(self.missing.mean()),
            "missing_share_fixed": float(self.fixed_missing.mean()),
        }


def replay_adaptive(
    rewards: Iterable[Rewards],
    labels: Sequence[int],
    problem_ids: Sequence[Hashable],
    *,
    risk: float = 0.01,
    n_max: int | None = None,
    threshold: float = 0.5,
    seed: int = 0,
    missing: Missing = "wrong",
) -> AdaptiveVoting:
    """Computes what stopping early would have done to stored votes: `rewards`, of n items
    a list by steps and votes of 1, 0 or None.

    A step is rejected where its mean falls below `threshold`, and the first rejected step is the verdict; a vote
    without a judgement costs a vote and says nothing, and a step that no vote judged leaves the solution without a
    verdict, which counts as `missing` says. `n_max` defaults to N. The votes of a step come in an order of their own,
    as with `mode = fork`; a chain's votes can only be stopped whole, so there the saving is an upper bound. A table may
    end where every vote rejects. Measured coverage of the 95 % intervals on 150 items (100 simulated sets): 99 % for
    the votes saved, 91 % (standard error 3 %) for the change of F1. Raises UserError for rewards that are not votes
    (use the read-out "vote").
    """
    check_missing(missing)
    counts = [_counts(item, i) for i, item in enumerate(rewards)]
    if not (len(counts) == len(labels) == len(problem_ids)) or not counts:
        raise UserError(f"{len(counts)} reward tables, {len(labels)} labels, {len(problem_ids)} problem ids")
    stored = {int(table[0].sum()) for table in counts}
    if len(stored) > 1:
        raise UserError(f"items differ in their number of votes: {sorted(stored)}")
    n_max = stored.pop() if n_max is None else n_max
    if not 1 <= n_max <= int(counts[0][0].sum()):
        raise UserError(f"n_max is {n_max}; {int(counts[0][0].sum())} votes are stored")
    (right, silent, votes), (fixed_right, fixed_silent, fixed_votes) = (
        np.array([_item(c, y, n_max, at, threshold) for c, y in zip(counts, labels, strict=True)]).T
        for at in (risk, None)
    )
    return AdaptiveVoting(
        risk=risk,
        n_max=n_max,
        labels=np.asarray(labels),
        correct=counted(right, silent, missing, labels),
        fixed_correct=counted(fixed_right, fixed_silent, missing, labels),
        votes=votes,
        fixed_votes=fixed_votes,
        missing=silent,
        fixed_missing=fixed_silent,
        resamples=Resamples.of(problem_ids, seed=seed),
    )


@functools.lru_cache(maxsize=16)
def stopping_rule(n_max: int, risk: float, threshold: float = 0.5) -> np.ndarray:
    """Says whether to stop [yes, no, left] after `yes` and `no` votes, when `left` more could come.

    The decision is "reject" where yes / (yes + no) < threshold, and there is none without a vote that judged. Read
    only.
    """
    from scipy.stats import betabinom

    if not 0.0 <= risk < 1.0:
        raise UserError(f"risk is {risk}; it is a probability from 0 up to 1")
    stop = np.zeros((n_max + 1,) * 3, dtype=bool)
    yes, no, left = places = np.nonzero(np.indices(stop.shape).sum(axis=0) <= n_max)
    rejected = below(yes, threshold * (yes + no))
    # The fewest Yes among those left with which the step passes after all.
    needed = np.ceil(threshold * (yes + no + left) - 1e-9).astype(int) - yes
    passes = betabinom.sf(needed - 1, left, 1 + yes, 1 + no)
    turns = np.where(rejected, passes, 1.0 - passes)
    settled = np.where(rejected, needed > left, needed <= 0)
    decided = settled | ((turns <= risk) & (risk > 0))
    stop[places] = (left == 0) | ((yes + no > 0) & decided)
    stop.flags.writeable = False
    return stop


@functools.lru_cache(maxsize=100_000)
def _step(
    yes: int, no: int, silent: int, n_max: int, risk: float | None, threshold: float
) -> tuple[float, float, float]:
    """Returns P(a step with these stored votes is rejected), P(it is not judged), and the expected number of votes
    drawn.
    """
    n, reject, unjudged, drawn = yes + no + silent, 0.0, 0.0, 0.0
    stop = None if risk is None else stopping_rule(n_max, risk, threshold)
    # at[y, x]: the share of the orders that are still voting after t votes with y for and x against.
    y, x = np.indices((yes + 1, no + 1))
    at = np.zeros(y.shape)
    at[0, 0] = 1.0
    for t in range(n_max + 1):
        # 1. Take out the orders that stop here, and count what they decide and what they cost.
        ends = at > 0 if t == n_max else _stops(stop, y, x, n_max - t) & (at > 0)
        reject += float(at[ends & below(y, threshold * (y + x))].sum())
        unjudged += float(at[0, 0]) if ends[0, 0] else 0.0
        drawn += t * float(at[ends].sum())
        at = np.where(ends, 0.0, at)
        if t == n_max or not at.any():
            break
        # 2. Draw the next vote of the others: each vote that is left is equally likely to come.
        quiet = t - y - x  # votes without a judgement among the t drawn
        step = at / (n - t)
        at = step * np.maximum(silent - quiet, 0)
        at[1:] += (step * (yes - y))[:-1]
        at[:, 1:] += (step * (no - x))[:, :-1]
    return min(1.0, reject), unjudged, drawn  # a sum of shares, which rounding may carry past 1


def _stops(stop: np.ndarray | None, y: np.ndarray, x: np.ndarray, left: int) -> np.ndarray:
    if stop is None:
        return np.zeros(y.shape, dtype=bool)
    top = len(stop) - 1  # counts above n_max are never reached
    return stop[np.minimum(y, top), np.minimum(x, top), left]


def _item(
    counts: np.ndarray, label: int, n_max: int, risk: float | None, threshold: float
) -> tuple[float, float, float]:
    """Returns P(the verdict is `label`), P(there is no verdict) and the expected votes, over all orders of votes."""
    voted, passed, votes, right, missing = 1.0, 1.0, 0.0, 0.0, 0.0
    for t, (yes, no, silent) in enumerate(counts.tolist()):
        reject, unjudged, drawn = _step(yes, no, silent, n_max, risk, threshold)
        votes += voted * drawn
        if t == label:
            right = passed * reject
        missing += passed * unjudged
        voted *= 1.0 - reject  # a step that is not judged stops no later one
        passed *= max(0.0, 1.0 - reject - unjudged)
    return (passed if label < 0 else right), missing, votes


def _counts(item: Rewards, index: int) -> np.ndarray:
    """Counts the votes for, against and without a judgement [steps, 3]."""
    table = reward_table(item, index)
    counts = np.stack([(table == 1).sum(1), (table == 0).sum(1), np.isnan(table).sum(1)], axis=1)
    if (counts.sum(axis=1) != table.shape[1]).any():
        raise UserError(
            f"item {index}: adaptive voting counts votes of 1, 0 and None; read out 'vote' instead of probabilities"
        )
    return counts
