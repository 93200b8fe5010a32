"""Coverage and width of intervals near 0 and 1 and at small n, as a table in Markdown.

    python -m tools.coverage grid --sets 2000   some three minutes on one core

A data set is a number of problems of every type (all right, one of two right, ...), so intervals
are kept by these numbers and every set costs a look-up. Beside the coverage at p stands that around
p, since the coverage of anything discrete jumps with p: logits are moved by up to .3 (Brown, Cai and
DasGupta 2001 average alike). Beside each stand percentiles of problems drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import Interval, Resamples, f1_difference, f1_interval, harmonic_mean, mean_difference, mean_interval

Item = tuple[int, float, float]  # first error, outcome of the first system, of the second
Shares = dict[tuple[Item, ...], float]  # how likely each type of problem is
AROUND = 0.3


@dataclass(frozen=True)
class Group:
    """`problems` of these types; the shares are those at a shift of all logits."""

    problems: int
    shares: Callable[[float], Shares]


@dataclass(frozen=True)
class Case:
    """Intervals of `statistic` on data sets of all groups together."""

    name: str
    statistic: str
    groups: tuple[Group, ...]

    def truth(self, shift: float) -> float:
        """The statistic of infinitely many problems of each group."""
        items = [
            (share, item) for group in self.groups for problem, share in group.shares(shift).items() for item in problem
        ]
        weight = np.array([share for share, _ in items])
        label, first, second = np.array([item for _, item in items]).T
        return float(_statistic(self.statistic, label, first, second, weight[None])[0])


@dataclass(frozen=True)
class Row:
    """Coverage at the point and around it, and mean width, of ours and of percentiles."""

    name: str
    at: float
    around: float
    width: float
    percentile_at: float
    percentile_width: float


def singles(p: float, label: int = 0) -> Callable[[float], Shares]:
    """One item a problem, right with probability p."""

    def shares(shift: float) -> Shares:
        q = _moved(p, shift)
        return {((label, 1.0, 0.0),): q, ((label, 0.0, 0.0),): 1 - q}

    return shares


def pairs(p: float, correlation: float) -> Callable[[float], Shares]:
    """Two items a problem, right with probability p, correlated."""

    def shares(shift: float) -> Shares:
        q = _moved(p, shift)
        both, one = q * q + correlation * q * (1 - q), 2 * (1 - correlation) * q * (1 - q)
        right, wrong = (0, 1.0, 0.0), (0, 0.0, 0.0)
        return {(right,) * 2: both, (right, wrong): one, (wrong,) * 2: 1 - both - one}

    return shares


def discordant(p: float, only_first: float, only_second: float, label: int = 0) -> Callable[[float], Shares]:
    """One item a problem, of which the first system has p right; two shares on which they differ."""

    def shares(shift: float) -> Shares:
        lost, won = _moved(only_first, shift), _moved(only_second, shift)
        found = {((label, 1.0, 0.0),): lost, ((label, 0.0, 1.0),): won}
        both = (1 - lost - won) * (p - only_first) / (1 - only_first - only_second)
        return found | {((label, 1.0, 1.0),): both, ((label, 0.0, 0.0),): 1 - both - lost - won}

    return shares


def cases() -> list[Case]:
    """The grid."""
    found = [
        Case(f"mean {p}, {n} problems", "mean", (Group(n, singles(p)),))
        for n in (25, 30, 50, 80, 200)
        for p in (0.5, 0.8, 0.9, 0.95, 0.97, 0.99)
    ]
    found += [
        Case(f"mean {p}, {n} problems x 2, correlation {r}", "mean", (Group(n, pairs(p, r)),))
        for n in (25, 100)
        for p in (0.8, 0.95, 0.99)
        for r in (0.0, 0.5, 1.0)
    ]
    found += [
        Case(f"F1 of {a} / {b}, {n} + {m} items", "F1", (Group(n, singles(a)), Group(m, singles(b, -1))))
        for n, m, a, b in (
            (25, 25, 0.9, 0.95),
            (25, 25, 0.95, 0.99),
            (80, 68, 0.9, 0.95),
            (80, 68, 0.98, 0.99),
            (10, 100, 0.9, 0.95),
            (100, 10, 0.6, 0.8),
            (200, 200, 0.95, 0.99),
        )
    ]
    found += [
        Case(f"mean {p} - {b} + {c}, {n} problems", "mean difference", (Group(n, share),))
        for n in (30, 50, 80, 200)
        for p, b, c in ((0.9, 0.02, 0.02), (0.95, 0.01, 0.04), (0.8, 0.05, 0.05), (0.6, 0.1, 0.2))
        for share in (discordant(p, b, c),)
    ]
    found += [
        Case(
            f"F1 of {a} / {b} - {less} + {more}, {n} + {m} items",
            "F1 difference",
            (Group(n, discordant(a, less, more)), Group(m, discordant(b, less, more, -1))),
        )
        for n, m, a, b, less, more in (
            (25, 25, 0.6, 0.8, 0.05, 0.1),
            (25, 25, 0.9, 0.95, 0.02, 0.03),
            (80, 68, 0.6, 0.8, 0.05, 0.1),
            (80, 68, 0.9, 0.95, 0.02, 0.03),
            (80, 68, 0.95, 0.98, 0.01, 0.01),
        )
    ]
    return found


def row(case: Case, sets: int, seed: int = 0) -> Row:
    """One line of the table, from `sets` data sets at the point and as many around it."""
    rng = np.random.default_rng(seed)
    ours: dict[tuple[int, ...], Interval] = {}
    theirs: dict[tuple[int, ...], Interval] = {}
    hits, width = {"at": 0, "around": 0, "theirs": 0}, [0.0, 0.0]
    for where in ("at", "around"):
        for _ in range(sets):
            shift = rng.uniform(-AROUND, AROUND) if where == "around" else 0.0
            counts, types = _drawn(case, shift, rng)
            if counts not in ours:
                ours[counts] = _ours(case.statistic, counts, types)
            truth = case.truth(shift)
            hits[where] += _holds(ours[counts], truth)
            if where == "at":
                if counts not in theirs:
                    theirs[counts] = _percentiles(case.statistic, counts, types)
                hits["theirs"] += _holds(theirs[counts], truth)
                width[0] += ours[counts].high - ours[counts].low
                width[1] += theirs[counts].high - theirs[counts].low
    at, around, percentile = (hits[name] / sets for name in ("at", "around", "theirs"))
    return Row(case.name, at, around, width[0] / sets, percentile, width[1] / sets)


def print_table(sets: int, seed: int = 0) -> None:
    """The grid in Markdown."""
    print("| interval | coverage | around | width | percentiles | width |")
    print("|---|--:|--:|--:|--:|--:|")
    for case in cases():
        r = row(case, sets, seed)
        ours = f"{r.at:.1%} | {r.around:.1%} | {r.width:.3f}"
        print(f"| {r.name} | {ours} | {r.percentile_at:.1%} | {r.percentile_width:.3f} |", flush=True)


def _moved(p: float, shift: float) -> float:
    return p / (p + (1 - p) * np.exp(-shift)) if p else 0.0


def _drawn(case: Case, shift: float, rng: np.random.Generator) -> tuple[tuple[int, ...], list[tuple[Item, ...]]]:
    counts: list[int] = []
    types: list[tuple[Item, ...]] = []
    for group in case.groups:
        shares = group.shares(shift)
        counts += rng.multinomial(group.problems, list(shares.values())).tolist()
        types += list(shares)
    return tuple(counts), types


def _holds(found: Interval, truth: float) -> bool:
    return found.low - 1e-9 <= truth <= found.high + 1e-9


def _table(counts: Sequence[int], types: Sequence[tuple[Item, ...]]) -> tuple[np.ndarray, list[int]]:
    """Items [n, 3] and the problem of each."""
    problems = [t for n, t in zip(counts, types, strict=True) for _ in range(n)]
    items = [item for problem in problems for item in problem]
    return np.array(items), [i for i, problem in enumerate(problems) for _ in problem]


def _ours(statistic: str, counts: Sequence[int], types: Sequence[tuple[Item, ...]]) -> Interval:
    (label, first, second), ids = (found := _table(counts, types))[0].T, found[1]
    draws = Resamples.of(ids)
    if statistic == "mean":
        return mean_interval(first, draws)
    if statistic == "F1":
        return f1_interval(label, first, draws)
    if statistic == "mean difference":
        return mean_difference(first, second, draws)
    return f1_difference(label, first, second, draws)


def _percentiles(statistic: str, counts: Sequence[int], types: Sequence[tuple[Item, ...]]) -> Interval:
    (label, first, second), ids = (found := _table(counts, types))[0].T, found[1]
    n = max(ids) + 1
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 2000)
    samples = _statistic(statistic, label, first, second, drawn[:, ids])
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return Interval(float("nan"), float(low), float(high))


def _statistic(name: str, label: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The statistic [R] of items [n] for weights [R, n]."""

    def of(outcome: np.ndarray) -> np.ndarray:
        if name.startswith("mean"):
            return weight @ outcome / weight.sum(axis=1)
        with np.errstate(invalid="ignore"):
            kinds = [(weight * kind) for kind in (label >= 0, label < 0)]
            return harmonic_mean(*(k @ outcome / k.sum(axis=1) for k in kinds))

    return of(second) - of(first) if name.endswith("difference") else of(first)
