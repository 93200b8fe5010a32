"""What a law is for: the best choice at a budget, and whether the law holds beyond its points."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.scaling.huber import predict
from jprm.scaling.power_sum import PowerSum, fit_power_sum, points_needed


@dataclass(frozen=True)
class Decision:
    """The affordable candidate with the least predicted y, and how sure the resamples are of it.

    `index` into the candidates; `share` [n] of the resamples that choose each, 0 for those that cost too much;
    `predicted` the y of the chosen one.
    """

    index: int
    share: np.ndarray
    predicted: float


@dataclass(frozen=True)
class HeldOut:
    """A law that was fitted without the points of the largest compute, and its error on them.

    `rows` are their indices, `error` [h] the observed over the predicted y minus 1, `inside` [h] whether the observed y
    lies in the 95 % prediction interval.
    """

    law: PowerSum
    rows: np.ndarray
    error: np.ndarray
    inside: np.ndarray

    def __str__(self) -> str:
        worst = float(np.abs(self.error).max())
        return (
            f"{len(self.rows)} points of the largest compute held out: off by at most {worst:.1%}, "
            f"{int(self.inside.sum())} inside the 95 % prediction interval"
        )


def best_at_budget(law: PowerSum, candidates: Mapping[str, ArrayLike], cost: ArrayLike, budget: float) -> Decision:
    """Chooses the best of `candidates` (axis -> values [n]) whose `cost` [n] is within `budget`.

    For choices with costs of any form, such as size, data and votes under training and inference FLOPs together; two
    axes with a product for a cost have a closed form, `PowerSum.split`. Raises UserError when nothing is affordable.
    """
    price = np.asarray(cost, dtype=np.float64)
    affordable = np.flatnonzero(price <= budget)
    if not affordable.size:
        raise UserError(f"no candidate costs at most {budget:.3g}; the cheapest costs {price.min():.3g}")
    x = [np.asarray(candidates[axis], dtype=np.float64)[affordable] for axis in law.axes]
    predicted = law(*x)
    share = np.zeros(len(price))
    if len(law.samples):
        centred = np.log(np.stack(x)) - law.centre[:, None]
        chosen = predict(law.samples, centred)[0].argmin(axis=1)
        counted = np.bincount(chosen, minlength=len(affordable)) / len(chosen)
        share[affordable] = counted
    best = int(predicted.argmin())
    return Decision(int(affordable[best]), share, float(predicted[best]))


def hold_out(
    axes: Mapping[str, ArrayLike], y: ArrayLike, compute: ArrayLike, *, points: int = 1, seed: int = 0, **settings: Any
) -> HeldOut:
    """Fits a law without the `points` points of the largest `compute` [n] (ties go with them), and looks how it does on
    them.

    The prediction interval joins the spread of the resampled laws with a residual drawn for each; it held the left-out
    point in 94.7 % of 300 simulated grids of 36 runs. `settings` go to `fit_power_sum`. Raises UserError when too few
    points are left to fit.
    """
    spent, y = np.asarray(compute, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not 1 <= points < len(spent):
        raise UserError(f"{points} of {len(spent)} points cannot be held out")
    is_held = spent >= np.sort(spent)[-points]
    left, needed = int((~is_held).sum()), points_needed(len(axes))
    if left < needed:
        raise UserError(
            f"{int(is_held.sum())} points of the largest compute held out leave {left}; {needed} are needed to fit"
        )
    x = {name: np.asarray(values, dtype=np.float64) for name, values in axes.items()}
    kept = {name: values[~is_held] for name, values in x.items()}
    law = fit_power_sum(kept, y[~is_held], seed=seed, **settings)
    held = [x[name][is_held] for name in law.axes]
    centred = np.log(np.stack(held)) - law.centre[:, None]
    residual = law.residuals() * np.sqrt(left / (left - len(law.theta)))
    drawn = predict(law.samples, centred)[0]
    drawn = drawn + np.random.default_rng(seed).choice(residual, drawn.shape)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    seen = np.log(y[is_held])
    return HeldOut(
        law=law,
        rows=np.flatnonzero(is_held),
        error=y[is_held] / law(*held) - 1.0,
        inside=(low <= seen) & (seen <= high),
    )
