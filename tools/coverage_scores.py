"""Coverage of the intervals of scores that are no counts: fractions, areas, PRM-Scores, calibration.

Rows of `python -m tools.coverage`, which take some four minutes on one core at 500 data sets each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from jprm.evaluate import (
    Interval,
    Resamples,
    auc_difference,
    auc_interval,
    calibration,
    mean_difference,
    mean_interval,
    measure,
    measure_intervals,
)

Hits = Iterator[tuple[str, bool]]


def holds(found: Interval, truth: float) -> bool:
    """Whether the interval holds the truth."""
    return found.low <= truth <= found.high


def fractions(rng: np.random.Generator, trial: int) -> Hits:
    """Expected accuracies between 0 and 1: spread, at both ends, close together, and rarely below 1."""
    for n in (30, 100):
        draws = Resamples.of(range(n), seed=trial)
        rare = 1 - (rng.random(n) < 0.1) * rng.random(n)
        gap = (rng.random(n) < 0.1) * rng.uniform(-1, 1, n)
        first = np.maximum(-gap, 0) + rng.random(n) * (1 - np.abs(gap))
        for name, values, truth in (
            ("uniform", rng.random(n), 0.5),
            ("Beta(9, 1)", rng.beta(9, 1, n), 0.9),
            ("Beta(.9, .1)", rng.beta(0.9, 0.1, n), 0.9),
            ("in .9 +- .05", rng.uniform(0.85, 0.95, n), 0.9),
            ("1, one in ten uniform", rare, 0.95),
        ):
            yield f"mean of {n}, {name}", holds(mean_interval(values, draws), truth)
        found = mean_difference(first, np.clip(first + gap, 0, 1), draws)
        yield f"mean difference of {n}, one in ten +- uniform", holds(found, 0.0)


def areas(rng: np.random.Generator, trial: int) -> Hits:
    """AUC of normal scores, of one or two right and one or two flawed items a problem, and differences."""
    from scipy.stats import norm

    for n, shift in ((25, 1.2), (50, 2.5), (50, 3.5), (200, 2.5)):
        ids = np.repeat(np.arange(n), 2).tolist()
        labels = np.tile([True, False], n)
        one, two, both = rng.normal(size=(3, 2 * n))
        hard = np.repeat(rng.normal(size=n), 2)
        draws = Resamples.of(ids, seed=trial, resamples=500)
        first = shift * labels + one
        truth = float(norm.cdf(shift / np.sqrt(2)))
        yield f"AUC {truth:.3f}, {n} problems", holds(auc_interval(labels, first, draws), truth)
        shared = shift * labels + 0.8 * one + 0.6 * hard
        yield (f"AUC {truth:.3f}, {n} problems of their own level", holds(auc_interval(labels, shared, draws), truth))
        second, third = shift * labels + both + 0.3 * one, shift * labels + both + 0.3 * two
        gap = auc_difference(labels, second, third, draws)
        yield f"AUC difference at {truth:.3f}, {n} problems", holds(gap, 0.0)


def counts(rng: np.random.Generator, trial: int) -> Hits:
    """PRM-Score and its parts: problems of 4 right and 1 flawed step, mostly judged rightly."""
    for n in (30, 100):
        for right, flawed in ((0.9, 0.7), (0.98, 0.95)):
            level = rng.beta(20 * right, 20 * (1 - right), (n, 1))
            tp = (rng.random((n, 4)) < level).sum(axis=1)
            tn = rng.random(n) < flawed
            table = np.stack([tp, 1 - tn, tn, 4 - tp], axis=1).astype(float)
            found = measure_intervals(table, Resamples.of(range(n), seed=trial))
            truth = measure([4 * right, 1 - flawed, flawed, 4 * (1 - right)])
            for name in ("precision", "recall", "negative_precision", "negative_f1", "prm_score"):
                row = f"{name} at {right} / {flawed}, {n} problems"
                yield row, holds(found[name], float(truth[name]))


def bins(rng: np.random.Generator, trial: int) -> Hits:
    """Calibration of 50 and 200 problems of five steps, true probabilities and some .1 too high."""
    for n in (50, 200):
        for off in (0.0, 0.1):
            reward = np.clip(rng.beta(3, 1, (n, 1)) + rng.normal(0, 0.1, (n, 5)), 0, 1 - 1e-9)
            chance = np.clip(reward - off * (reward > 0.5), 0, 1)
            first = rng.random((n, 5)) >= chance
            firsts = np.where(first.any(axis=1), first.argmax(axis=1), -1)
            found = calibration(reward.tolist(), firsts.tolist(), range(n), seed=trial)
            assert found is not None
            truth = CALIBRATION.setdefault(off, calibration_truth(off))
            row = f"{n} problems, off by {off}"
            yield f"calibration error, {row}", holds(found.error, truth["error"])
            yield f"Brier, {row}", holds(found.brier, truth["brier"])
            for b in found.bins:
                place = min(int(b.reward * 10), 9)
                if place in (6, 7, 8, 9):
                    yield f"bin {place} of 0 to 9, {row}", holds(b.right, truth[str(place)])


def calibration_truth(off: float, n: int = 100_000) -> dict[str, float]:
    """What infinitely many problems of `bins` would show."""
    rng = np.random.default_rng(99)
    reward = np.clip(rng.beta(3, 1, (n, 1)) + rng.normal(0, 0.1, (n, 5)), 0, 1 - 1e-9)
    chance = np.clip(reward - off * (reward > 0.5), 0, 1)
    # a step counts where all before it are right
    weight = np.cumprod(np.concatenate([np.ones((n, 1)), chance[:, :-1]], axis=1), axis=1)
    square = (1 - reward) ** 2 * chance + reward**2 * (1 - chance)
    found = {"brier": float((weight * square).sum() / weight.sum()), "error": 0.0}
    place = (reward * 10).astype(int)
    for b in range(10):
        inside = weight * (place == b)
        found[str(b)] = float((inside * chance).sum() / inside.sum())
        found["error"] += float(abs((inside * (reward - chance)).sum()) / weight.sum())
    return found


CALIBRATION: dict[float, dict[str, float]] = {}


ROWS: dict[str, Callable[[np.random.Generator, int], Hits]] = {f.__name__: f for f in (fractions, areas, counts, bins)}
