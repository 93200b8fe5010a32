"""Profile intervals of y = c + a x^-b with c >= 0: all values that an F test does not reject.

A value of one parameter is kept while the other two can still bring the sum of squares down to (1 + F / (n - 3)) times
its least, F the quantile for 1 and n - 3 degrees of freedom. For a fixed exponent the law is linear, so what is kept of
c and of a there has a closed form, and an interval is the hull over the exponents.

That is exact for a straight law with normal errors. How near a curved one comes to it is measured by `python -m
tools.coverage power_law`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import LEVEL, Interval

LEAST, MOST = 0.02, 4.0  # exponents that are tried
_GRID = 400
_ZOOMS = 6  # each divides a bracket by ten
_ROUNDING = 1e-10  # of y: points without noise leave sums of squares of rounding errors


@dataclass(frozen=True)
class Profile:
    """The least-squares c, a and b with their intervals, and the root mean square residual."""

    c: Interval
    a: Interval
    b: Interval
    rms: float


def profile(x: np.ndarray, y: np.ndarray) -> Profile:
    """Fits c + a x^-b with c >= 0 to points [n] of at least three different x.

    Errors are taken as normal and alike. With three points none is left to estimate them from, and the ends are nan.
    """
    from scipy.stats import f as f_distribution

    grid = np.geomspace(LEAST, MOST, _GRID)

    def squares(b: np.ndarray) -> np.ndarray:
        return _Fixed(x, y, b).squares

    near = _neighbours(grid, int(squares(grid).argmin()))
    for _ in range(_ZOOMS):
        fine = np.linspace(*near, 21)
        near = _neighbours(fine, int(squares(fine).argmin()))
    best = _Fixed(x, y, fine[[squares(fine).argmin()]])
    least, spare = float(best.squares[0]), len(y) - 3
    b_ends = c_ends = a_ends = (np.nan, np.nan)
    if spare > 0:
        limit = least * (1 + float(f_distribution.ppf(LEVEL, 1, spare)) / spare)
        limit += len(y) * (_ROUNDING * float(np.abs(y).max())) ** 2
        grid = np.sort(np.append(grid, best.b))
        b_ends = _ends(grid, lambda b: squares(b) <= limit)
        kept = _Fixed(x, y, np.append(_dense_at_ends(*b_ends), best.b))
        c_ends, a_ends = kept.c_within(limit), kept.a_within(limit)
    return Profile(
        Interval(float(best.c[0]), *c_ends),
        Interval(float(best.a[0]), *a_ends),
        Interval(float(best.b[0]), *b_ends),
        float(np.sqrt(least / len(y))),
    )


class _Fixed:
    """The law at fixed exponents b [B]: least squares c >= 0 and a, and what is near them."""

    def __init__(self, x: np.ndarray, y: np.ndarray, b: np.ndarray):
        scale = np.exp(np.log(x).mean())  # z stays near 1 for all exponents
        z = (x / scale) ** -b[:, None]
        around = z - z.mean(axis=1, keepdims=True)
        self.b, self._unit = b, scale**b  # of a
        self._z_mean, self._y_mean, self._n = z.mean(axis=1), y.mean(), len(y)
        self._spread, self._power = (around**2).sum(axis=1), (z**2).sum(axis=1)
        self._a_free = around @ y / self._spread
        self._c_free = self._y_mean - self._a_free * self._z_mean
        self._a_alone = z @ y / self._power  # with c = 0
        free = y - self._c_free[:, None] - self._a_free[:, None] * z
        alone = y - self._a_alone[:, None] * z
        self._squares_free, self._squares_alone = (free**2).sum(axis=1), (alone**2).sum(axis=1)
        held = self._c_free < 0
        self.c = np.where(held, 0.0, self._c_free)
        self.a = np.where(held, self._a_alone, self._a_free) * self._unit
        self.squares = np.where(held, self._squares_alone, self._squares_free)

    def c_within(self, limit: float) -> tuple[float, float]:
        """Returns the hull of the c with a sum of squares up to `limit`, which is a parabola in c."""
        reach = _reach(limit - self._squares_free, self._n * self._spread / self._power)
        return _hull(np.maximum(self._c_free - reach, 0.0), self._c_free + reach)

    def a_within(self, limit: float) -> tuple[float, float]:
        """Returns the same hull of a: a parabola while the best c is above 0, and another at c = 0."""
        reach = _reach(limit - self._squares_free, self._spread)
        most = self._y_mean / self._z_mean  # where the best c is 0
        lows, highs = self._a_free - reach, np.minimum(self._a_free + reach, most)
        reach = _reach(limit - self._squares_alone, self._power)
        lows = np.concatenate([lows, self._a_alone - reach])
        highs = np.concatenate([highs, self._a_alone + reach])
        unit = np.tile(self._unit, 2)
        return _hull(lows * unit, highs * unit)


def _reach(room: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """How far from its bottom a parabola stays within `room`; nan where it starts above."""
    return np.sqrt(np.where(room >= 0, room, np.nan) / bend)


def _hull(lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
    real = lows <= highs
    return float(lows[real].min()), float(highs[real].max())


def _ends(grid: np.ndarray, inside: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """The outermost values that are inside, to a fraction of a step of the grid."""
    found = []
    for values in (grid, grid[::-1]):
        for _ in range(_ZOOMS):
            first = int(inside(values).argmax())
            if first == 0:
                break
            values = np.linspace(values[first - 1], values[first], 11)
        found.append(float(values[int(inside(values).argmax())]))
    return found[0], found[1]


def _dense_at_ends(low: float, high: float) -> np.ndarray:
    """Exponents from low to high, where the reach of c and a falls to 0 like a square root."""
    return low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, _GRID))) / 2


def _neighbours(grid: np.ndarray, i: int) -> tuple[float, float]:
    return float(grid[max(i - 1, 0)]), float(grid[min(i + 1, len(grid) - 1)])
