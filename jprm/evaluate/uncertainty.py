"""Intervals and paired differences over problems, from small sets and near 0 and 1 as well.

The resamples (resamples.py) weigh problems at random and hold one more of unknown outcome; an interval goes from rank
to rank of the resampled statistic. Measured at a nominal 95 % (`python -m tools.coverage grid`, 2000 simulated sets,
averaged around each p): means of .5 to .99 over 25 to 200 problems 94.3-98.5 %, with two items a problem 93.9-98.3 %,
F1 of 10 to 200 items of a kind 94.9-97.5 %. The values above 97 % are those where the rarest outcome is hardly ever
seen. Percentiles of problems drawn with replacement had 22.6 % for a mean of .99 at 25 problems.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.f1 import harmonic_mean, score
from jprm.evaluate.resamples import Resamples

LEVEL = 0.95
_ROUNDING = 1e-9  # expected outcomes are sums, which may end a little beyond 0 and 1


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval; both ends are nan where none could be had.

    That is so where nothing was measured, and where a proportion rests on the items of one problem.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return format(self)

    def __format__(self, spec: str) -> str:
        """The value and both ends, each as `spec` says."""
        spec = spec or ".3f"
        known = f"[{self.low:{spec}}, {self.high:{spec}}]"
        return f"{self.value:{spec}} {'(no interval)' if math.isnan(self.low) else known}"


@dataclass(frozen=True, slots=True)
class Difference(Interval):
    """A paired difference (second minus first) with its two-sided bootstrap p-value."""

    p: float


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None in place of nan, such as the ends of an interval that cannot be had."""
    return float(value) if math.isfinite(value) else None


def interval_row(name: str, at: Interval | None) -> dict[str, float | None]:
    """Turns an interval into the columns of a row, `name`, `name_low` and `name_high`; None stands for what is not
    defined.
    """
    values = (math.nan,) * 3 if at is None else (at.value, at.low, at.high)
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: finite(value) for key, value in zip(keys, values, strict=True)}


def interval_of(row: Mapping[str, Any], name: str) -> Interval | None:
    """Reads the interval `name` of a row (see `interval_row`). Its ends are nan where they are missing; it is None
    without a value.
    """
    if row.get(name) is None:
        return None
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return Interval(row[name], math.nan if low is None else low, math.nan if high is None else high)


def interval(value: float, samples: ArrayLike, level: float = LEVEL) -> Interval:
    """Makes an interval of resampled values [R]: the last rank below (R + 1) (1 - level) / 2, and its mirror.

    With these ranks (Davison and Hinkley 1997, section 5.2) the interval leaves 0 out exactly where `difference` has p
    < 1 - level. nan samples are left out; without a value there is no interval.
    """
    kept = np.asarray(samples, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if not kept.size or math.isnan(value):
        return Interval(value, math.nan, math.nan)
    below = math.ceil(round((kept.size + 1) * (1.0 - level) / 2.0, 9)) - 2
    first, last = max(0, below), kept.size - 1 - max(0, below)
    ordered = np.partition(kept, [first, last])
    return Interval(value, float(ordered[first]), float(ordered[last]))


def difference(value: float, samples: ArrayLike) -> Difference:
    """Makes the interval and the p-value of a difference from its resampled values [R].

    p is twice the smaller share of resamples on either side of zero, with one added to both counts, so that it is never
    below 2 / (R + 1).
    """
    kept = np.asarray(samples, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    around = interval(value, kept)
    beyond = min((kept <= 0.0).sum(), (kept >= 0.0).sum())
    p = min(1.0, 2.0 * (1.0 + float(beyond)) / (1.0 + kept.size))
    return Difference(around.value, around.low, around.high, p if kept.size else math.nan)


def share_interval(part: ArrayLike, whole: ArrayLike, resamples: Resamples, level: float = LEVEL) -> Interval:
    """Returns the sum of `part` [n] over the sum of `whole` [n], with its interval; 0 <= part <= whole for each item.

    For accuracies of one kind of item, bins, and shares of a budget. nan where `whole` is all 0. Raises UserError where
    a part is more than its whole, or negative.
    """
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    if not ((part >= -_ROUNDING) & (part <= whole + _ROUNDING)).all():
        raise UserError("outcomes lie between 0 and 1, and a part between 0 and its whole")
    part = np.clip(part, 0.0, whole)
    (sums,) = resamples.outcomes(np.stack([part, whole - part], axis=1))
    with np.errstate(invalid="ignore"):
        value = np.float64(part.sum()) / whole.sum()
        return interval(float(value), sums[:, 0] / sums.sum(axis=1), level)


def ratio_interval(part: ArrayLike, whole: ArrayLike, resamples: Resamples) -> Interval:
    """Returns the sum of `part` [n] over that of `whole` [n], where a part may be more than its whole, or lost.

    For what is kept of a gain or saved of a cost. The unseen problem may keep all of its whole, add as much to it, or
    lose it. nan where the wholes sum to 0.
    """
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    lost = whole - part
    rest = np.maximum(np.abs(whole) - np.abs(lost), 0.0)
    table = [rest, np.maximum(lost, 0.0), np.maximum(-lost, 0.0), np.zeros(len(rest))]
    (sums,) = resamples.outcomes(np.stack(table, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = 1.0 - (sums[:, 1] - sums[:, 2]) / resamples.sums(whole)[:, 0]
        value = float(np.float64(part.sum()) / whole.sum())
    return interval(value if math.isfinite(value) else math.nan, samples)


def mean_interval(values: ArrayLike, resamples: Resamples, level: float = LEVEL) -> Interval:
    """Returns the mean of item values [n] with its interval.

    Values in [0, 1] are outcomes. Where some lie beyond, as gains do, the unseen problem has the largest size seen, of
    either sign, or nothing. Raises UserError for values that are not finite.
    """
    value = np.asarray(values, dtype=np.float64)
    if not np.isfinite(value).all():
        raise UserError("a value is not finite; leave items without a value out")
    if _are_outcomes(value):
        return share_interval(value, np.ones(len(resamples.group)), resamples, level)
    return interval(float(value.mean()), _signed(value, resamples), level)


def f1_interval(
    labels: ArrayLike, correctness: ArrayLike, resamples: Resamples, judged: ArrayLike | None = None
) -> Interval:
    """Returns the first-error F1 of one system with its interval; arguments [n], correctness in [0, 1].

    judged: how much of each item counts; of items without a verdict nothing may.
    """
    right = _outcomes(correctness)
    samples = resamples.f1(labels, right, judged)[:, 0]
    if judged is None:
        return interval(score(labels, correctness).f1, samples)
    is_error, whole = np.asarray(labels) >= 0, np.asarray(judged, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        both = [right[kind].sum() / whole[kind].sum() for kind in (is_error, ~is_error)]
    return interval(float(harmonic_mean(*both)), samples)


def mean_difference(first: ArrayLike, second: ArrayLike, resamples: Resamples) -> Difference:
    """Returns the mean of `second` minus that of `first`, values [n] of the same items, which may lie beyond [0, 1]."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    value = float(np.mean(two - one))
    if np.isfinite(value) and not (_are_outcomes(one) and _are_outcomes(two)):
        return difference(value, _signed(two - one, resamples))
    return difference(value, gap_samples(one, two, resamples))


def f1_difference(labels: ArrayLike, first: ArrayLike, second: ArrayLike, resamples: Resamples) -> Difference:
    """Returns F1 of `second` minus F1 of `first`, from the expected correctness [n] on the same items."""
    value = score(labels, second).f1 - score(labels, first).f1
    return difference(value, gap_samples(first, second, resamples, labels))


def gap_samples(
    first: ArrayLike, second: ArrayLike, resamples: Resamples, labels: ArrayLike | None = None
) -> np.ndarray:
    """Resamples the difference [R] of means, or of first-error F1 where `labels` [n] are given.

    Values may lie beyond 0 and 1, as shares of verdicts do (`counted`); with a nan, nothing is known. Two systems that
    agree everywhere differ by 0, within an interval of about 2.3 / G to either side for G problems: a problem on which
    they disagree may not have come yet.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if np.isnan(one).any() or np.isnan(two).any():
        return np.full(len(resamples.weights), np.nan)
    low, high = _range(one, two)
    one, two = _outcomes((one - low) / (high - low)), _outcomes((two - low) / (high - low))
    if one.shape != two.shape:
        raise UserError(f"paired outcomes of shapes {one.shape} and {two.shape}; expected [n] each")
    table = both_outcomes(one, two)
    if labels is not None:
        is_error = np.asarray(labels)[:, None] >= 0
        kinds = resamples.outcomes(table * is_error, table * ~is_error)
        return _f1(kinds, [0, 2], low, high) - _f1(kinds, [0, 1], low, high)
    (sums,) = resamples.outcomes(table)
    return (high - low) * (sums[:, 2] - sums[:, 1]) / sums.sum(axis=1)


def both_outcomes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Says how much of each item both systems have right, only the first, only the second, and neither [n, 4]."""
    least, most = np.minimum(first, second), np.maximum(first, second)
    return np.stack([least, first - least, second - least, 1.0 - most], axis=1)


def over_seeds(values: Sequence[float]) -> Interval:
    """Returns the mean over training seeds with Student's t interval; its ends are nan without two seeds that differ.

    This spread says how much a repetition of the training moves the number. It is not contained in an interval over
    problems, and is reported beside it.
    """
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    mean, n = float(array.mean()), array.size
    if n < 2 or np.ptp(array) <= _ROUNDING * np.abs(array).max():
        return Interval(mean, math.nan, math.nan)
    half = float(t.ppf((1.0 + LEVEL) / 2.0, n - 1)) * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def _f1(kinds: Sequence[np.ndarray], right: Sequence[int], low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """F1 [R] of outcomes [R, C] with an error and without, of which the columns `right` are right, on a scale from
    `low` to `high`.
    """
    with np.errstate(invalid="ignore"):
        shares = (k[:, right].sum(axis=1) / k.sum(axis=1) for k in kinds)
        return harmonic_mean(*(np.clip(low + (high - low) * share, 0.0, 1.0) for share in shares))


def _range(*values: np.ndarray) -> tuple[float, float]:
    """0 and 1, or the ends beyond them of values that stand for shares of verdicts (`counted`)."""
    if all(map(_are_outcomes, values)):
        return 0.0, 1.0
    return min(0.0, *(float(v.min()) for v in values)), max(1.0, *(float(v.max()) for v in values))


def _outcomes(values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if not _are_outcomes(found):
        raise UserError("outcomes lie between 0 and 1")
    return np.clip(found, 0.0, 1.0)


def _are_outcomes(values: np.ndarray) -> bool:
    return bool(((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all())


def _signed(values: np.ndarray, resamples: Resamples) -> np.ndarray:
    """Resampled means [R] of values [n] of either sign."""
    most = np.abs(values).max()
    parts = [most - np.abs(values), np.maximum(-values, 0.0), np.maximum(values, 0.0)]
    (sums,) = resamples.outcomes(np.stack([*parts, np.zeros(len(values))], axis=1))
    return most * (sums[:, 2] - sums[:, 1]) / sums.sum(axis=1)
