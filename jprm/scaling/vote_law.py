"""Inference laws from the spread of difficulty: each item's votes are right with a rate of its own.

With rates p ~ Beta(a, b) over the items, c right votes of n are beta-binomial, and curves over k follow in closed form
beyond the votes that were drawn: pass@k = 1 - B(a, b + k) / B(a, b), maj@k is the upper tail of the beta-binomial, and
unlimited votes end at P(p > 1/2). Extrapolating this way is better calibrated than a power law through pass@k
(Schaeffer et al. 2025).

`fit_votes` (fits.py) is the law that assumes no such spread, against votes or tokens alike.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate import LEVEL, Interval, Resamples

ITEMS_NEEDED = 20
MEASURED_COVERAGE = (
    "95 % intervals covered the truth in 94.0 % (a), 95.4 % (b), 95.8 % (limit) and 95.4 % (pass@1000) "
    "of 500 simulated sets of 200 items with 16 votes"
)  # python -m tools.coverage vote_law
_ITERATIONS = 60
_DECREMENT = 1e-12  # of the likelihood, in nats: a step that could win less ends a fit
_EDGE = 1e-12  # a share of 0 or 1 has no logit
_LOG_RANGE = (-6.0, 9.0)  # of ln a and ln b: beyond, every item is alike or every vote is


@dataclass(frozen=True)
class VoteLaw:
    """The law Beta(a, b) of the items' rates; `samples` [R, 2] are (a, b) over resampled problems.

    `predicted` [n + 1] beside `observed` [n + 1] are the shares of items with 0..n right votes, for the most common n:
    what the law says about the data it was fitted to.
    """

    a: Interval
    b: Interval
    samples: np.ndarray
    observed: np.ndarray
    predicted: np.ndarray
    measured_coverage: str = MEASURED_COVERAGE

    def pass_at(self, k: float) -> Interval:
        """Returns the expected share of items with at least one right vote among k."""
        return self._share(lambda a, b: _pass_at(a, b, k))

    def majority_at(self, k: int) -> Interval:
        """Returns the expected share of items on which most of k votes are right, a tie counting half."""
        return self._share(lambda a, b: _majority_at(a, b, k))

    @property
    def limit(self) -> Interval:
        """The accuracy of the majority of unlimited votes: P(p > 1/2)."""
        from scipy.special import betainc

        return self._share(lambda a, b: 1.0 - betainc(a, b, 0.5))

    def _share(self, curve: Callable[..., np.ndarray]) -> Interval:
        from scipy.special import expit, logit

        value = float(np.asarray(curve(self.a.value, self.b.value)))
        samples = np.clip(curve(self.samples[:, 0], self.samples[:, 1]), _EDGE, 1 - _EDGE)
        around = _around(logit(np.clip(value, _EDGE, 1 - _EDGE)), logit(samples))
        return Interval(value, *expit(around).tolist())


def fit_vote_law(
    right: ArrayLike,
    votes: ArrayLike,
    problem_ids: Sequence[Hashable] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> VoteLaw:
    """Fits Beta(a, b) by maximum likelihood to the `right` [n] of the `votes` [n] of each item.

    Intervals over problems: the bootstrap's standard error of ln a, ln b and of the logit of a share, where their
    distribution is close to normal. Items that are all right (or all wrong) have no finite maximum; a and b then stay
    at the end of their range and the observed shares show why. Raises UserError for fewer than 20 items, or without an
    item of at least 2 votes, since one vote has no spread.
    """
    c, n = np.asarray(right), np.asarray(votes)
    if c.shape != n.shape or c.ndim != 1 or (c < 0).any() or (c > n).any() or (n < 1).any():
        raise UserError("right votes must lie between 0 and the votes of their item, both [n]")
    if len(c) < ITEMS_NEEDED:
        raise UserError(f"the vote law needs {ITEMS_NEEDED} items, there are {len(c)}")
    if n.max() < 2:
        raise UserError("the vote law needs items with at least 2 votes, there is one vote each")
    ids = range(len(c)) if problem_ids is None else problem_ids
    draws = Resamples.of(ids, seed=seed, resamples=resamples)
    pairs, where = np.unique(np.stack([c, n], axis=1), axis=0, return_inverse=True)
    one_hot = np.zeros((len(c), len(pairs)))
    one_hot[np.arange(len(c)), where.ravel()] = 1.0
    # a resample is a histogram over the different (right, votes), whatever the number of items
    histograms = np.concatenate([one_hot.sum(axis=0)[None], draws.sums(one_hot)])
    found = _maximise(histograms, pairs[:, 0].astype(float), pairs[:, 1].astype(float))
    logs = np.log(found)
    common = int(np.bincount(n).argmax())
    observed = np.bincount(c[n == common], minlength=common + 1) / (n == common).sum()
    from scipy.stats import betabinom

    return VoteLaw(
        a=Interval(float(found[0, 0]), *np.exp(_around(logs[0, 0], logs[1:, 0])).tolist()),
        b=Interval(float(found[0, 1]), *np.exp(_around(logs[0, 1], logs[1:, 1])).tolist()),
        samples=found[1:],
        observed=observed,
        predicted=betabinom.pmf(np.arange(common + 1), common, *found[0]),
    )


def _around(value: float, samples: np.ndarray) -> np.ndarray:
    """Returns the ends of the normal interval with the standard error of the samples; nan where they are alike.

    They are where every item is right (or wrong): the law then has no maximum to vary.
    """
    from scipy.stats import norm

    spread = float(samples.std(ddof=1)) if np.ptp(samples) > 0 else math.nan
    return value + norm.ppf((1 + LEVEL) / 2) * spread * np.array([-1.0, 1.0])


def _maximise(weight: np.ndarray, c: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(a, b) [R, 2] for histograms [R, U] over (c, n) [U], by damped Newton steps in ln a, ln b.

    A histogram that has converged, or that pushes against the end of the range, leaves the batch.
    """
    share = float((weight[0] @ (c / n)) / weight[0].sum())
    share = min(max(share, 0.01), 0.99)
    out = np.tile(np.log([2 * share, 2 * (1 - share)]), (len(weight), 1))
    live, theta, damping = np.arange(len(weight)), out, np.full(len(weight), 1e-3)
    value = _likelihood(theta, weight, c, n)
    for _ in range(_ITERATIONS):
        # 1. The Newton step of minus the Hessian in (ln a, ln b), made positive by the damping.
        gradient, hessian = _slopes(theta, weight, c, n)
        size = np.abs(hessian).max(axis=(1, 2)) + 1e-12
        lowest = np.linalg.eigvalsh(hessian)[:, 0]
        ridge = damping * size + np.maximum(0.0, 1e-6 * size - lowest)
        step = np.linalg.solve(hessian + ridge[:, None, None] * np.eye(2), gradient[..., None])[..., 0]
        # 2. It is taken where it raises the likelihood; elsewhere the damping grows.
        tried = np.clip(theta + np.clip(step, -2.0, 2.0), *_LOG_RANGE)
        new = _likelihood(tried, weight, c, n)
        better = new > value
        theta = np.where(better[:, None], tried, theta)
        value = np.where(better, new, value)
        damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-10, 1e6)
        # 3. What the step could still have won says who is done: nothing, to the precision of the likelihood.
        out[live] = theta
        at_edge = np.isin(theta, _LOG_RANGE).any(axis=1)
        keep = ((gradient * step).sum(axis=1) >= _DECREMENT) & ~(at_edge & ~better)
        if not keep.any():
            break
        if not keep.all():
            live, theta, value, damping, weight = live[keep], theta[keep], value[keep], damping[keep], weight[keep]
    return np.exp(out)


def _likelihood(theta: np.ndarray, weight: np.ndarray, c: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The log-likelihood [R] of ln a, ln b [R, 2], up to a constant."""
    a, b = np.exp(theta[:, :1]), np.exp(theta[:, 1:])
    rising = _rising(np.log, a, c) + _rising(np.log, b, n - c) - _rising(np.log, a + b, n)
    return (weight * rising).sum(axis=1)


def _rising(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums f(x) + f(x + 1) + ... over the first `counts` [U] terms, for each x [R, 1]: [R, U].

    Of ln this is ln gamma(x + count) - ln gamma(x), of its derivatives the same of polygammas, which cost far more.
    """
    sums = np.zeros((len(x), int(counts.max()) + 1))
    np.cumsum(f(x + np.arange(sums.shape[1] - 1)), axis=1, out=sums[:, 1:])
    return sums[:, counts.astype(int)]


def _slopes(theta: np.ndarray, weight: np.ndarray, c: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient [R, 2] and minus the Hessian [R, 2, 2] of the log-likelihood in ln a, ln b."""
    first, second = (lambda x: 1 / x), (lambda x: -1 / x**2)  # derivatives of the logarithm
    a, b = np.exp(theta[:, :1]), np.exp(theta[:, 1:])
    both, cross = -_rising(first, a + b, n), -_rising(second, a + b, n)
    slope_a = (weight * (_rising(first, a, c) + both)).sum(axis=1)
    slope_b = (weight * (_rising(first, b, n - c) + both)).sum(axis=1)
    bend_a = (weight * (_rising(second, a, c) + cross)).sum(axis=1)
    bend_b = (weight * (_rising(second, b, n - c) + cross)).sum(axis=1)
    a, b, cross = a[:, 0], b[:, 0], (weight * cross).sum(axis=1)
    minus = np.array([[a * a * bend_a + a * slope_a, a * b * cross], [a * b * cross, b * b * bend_b + b * slope_b]])
    return np.stack([a * slope_a, b * slope_b], axis=1), -minus.transpose(2, 0, 1)


def _pass_at(a, b, k):
    from scipy.special import betaln

    return 1.0 - np.exp(betaln(a, b + k) - betaln(a, b))


def _majority_at(a, b, k):
    from scipy.stats import betabinom

    tie = betabinom.pmf(k // 2, k, a, b) / 2 if k % 2 == 0 else 0.0
    return betabinom.sf(k // 2, k, a, b) + tie
