"""The Chinchilla law L = E + A N^-alpha + B D^-beta, and its check by another route.

`fit_chinchilla` is approach 3 of Hoffmann et al. 2022, with the corrections of Besiroglu et al.
2024 (sum instead of mean, many starts, tight tolerance). `project_chinchilla` minimises squared
error by variable projection: for fixed exponents the law is linear, so only those are searched.
The two objectives weigh the points differently; where they disagree, the data do not settle the
exponents. Approaches 1 and 2 are in isoflop.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.evaluate import Interval
from jprm.scaling.huber import DELTA
from jprm.scaling.power_sum import Bootstrap, PowerSum, fit_power_sum

FLOPS_PER_PARAMETER_TOKEN = 6.0


@dataclass(frozen=True)
class Chinchilla:
    """A, B, E, alpha, beta; `law` has the intervals, residuals and predictions behind them."""

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    law: PowerSum

    def __call__(self, params: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        """The fitted loss."""
        return self.law(params, tokens)

    @property
    def intervals(self) -> dict[str, Interval]:
        """The five parameters with their intervals, and `a`, the power of compute in best N."""
        return {
            "A": self.law.scale("params"),
            "B": self.law.scale("tokens"),
            "E": self.law.floor,
            "alpha": self.law.exponent("params"),
            "beta": self.law.exponent("tokens"),
            "a": self.law.growth("params", "tokens"),
        }

    @property
    def standard_errors(self) -> dict[str, float]:
        """Bootstrap standard errors of E, alpha and beta."""
        samples = self.law.samples
        drawn = {"E": np.exp(samples[:, 0]), "alpha": samples[:, 3], "beta": samples[:, 4]}
        return {name: float(values.std(ddof=1)) for name, values in drawn.items()}

    def optimal(self, flops: float) -> tuple[Interval, Interval]:
        """Parameters and tokens of the least loss at a training budget of C = 6 N D FLOPs."""
        return self.law.split("params", "tokens", flops / FLOPS_PER_PARAMETER_TOKEN)


def fit_chinchilla(
    params: ArrayLike,
    tokens: ArrayLike,
    losses: ArrayLike,
    *,
    delta: float = DELTA,
    resamples: int = 200,
    bootstrap: Bootstrap = "points",
    seed: int = 0,
) -> Chinchilla:
    """Fit the law to runs: parameters, training tokens and final loss, each [n].

    Raises UserError for fewer than 10 runs or fewer than three sizes or token counts. The bootstrap
    is over runs, as published; see `fit_power_sum` for the other and for the coverage of both.
    """
    axes = {"params": params, "tokens": tokens}
    law = fit_power_sum(
        axes, losses, delta=delta, resamples=resamples, bootstrap=bootstrap, seed=seed
    )
    return Chinchilla(
        A=law.scale("params").value,
        B=law.scale("tokens").value,
        E=law.floor.value,
        alpha=law.exponent("params").value,
        beta=law.exponent("tokens").value,
        law=law,
    )


@dataclass(frozen=True, slots=True)
class Projected:
    """The law by least squares; `rms` is the root mean square residual, in the unit of the loss."""

    A: float
    B: float
    E: float
    alpha: float
    beta: float
    rms: float


def project_chinchilla(params: ArrayLike, tokens: ArrayLike, losses: ArrayLike) -> Projected:
    """Least squares by variable projection, the cross-check of `fit_chinchilla`.

    E, A and B are solved for at exponents of a grid, which is then refined around the best, eight
    times over; so there is no starting point. Negative terms are refused.
    """
    from scipy.optimize import nnls

    n, d = np.asarray(params, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    y = np.asarray(losses, dtype=np.float64)
    log_n, log_d = np.log(n), np.log(d)
    middle_n, middle_d = float(log_n.mean()), float(log_d.mean())

    def solve(alpha: float, beta: float) -> tuple[float, np.ndarray]:
        terms = [np.ones_like(y), np.exp(-alpha * (log_n - middle_n))]
        weights, norm = nnls(np.stack([*terms, np.exp(-beta * (log_d - middle_d))], axis=1), y)
        return float(norm), weights

    centre, width = np.array([1.0, 1.0]), 0.98
    for _ in range(9):
        grid = [np.clip(c + width * np.linspace(-1, 1, 15), 0.01, 5.0) for c in centre]
        tried = [(solve(a, b)[0], a, b) for a in grid[0] for b in grid[1]]
        centre, width = np.array(min(tried)[1:]), width / 5
    alpha, beta = (float(c) for c in centre)
    norm, (floor, size_term, data_term) = solve(alpha, beta)
    return Projected(
        A=float(size_term * np.exp(alpha * middle_n)),
        B=float(data_term * np.exp(beta * middle_d)),
        E=float(floor),
        alpha=alpha,
        beta=beta,
        rms=norm / np.sqrt(len(y)),
    )
