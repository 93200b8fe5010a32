"""The Chinchilla law L = E + A N^-alpha + B D^-beta, and its check by another route.

`fit_chinchilla` is approach 3 of Hoffmann et al. 2022, with the corrections of Besiroglu et al. 2024 (sum instead of
mean, many starts, tight tolerance). `project_chinchilla` minimises squared error by variable projection: for fixed
exponents the law is linear, so only those are searched. The two objectives weigh the points differently; where they
disagree, the data do not settle the exponents. Approaches 1 and 2 are in isoflop.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jprm.evaluate import Interval
from jprm.scaling.huber import DELTA, STEEPEST, predict, resolve
from jprm.scaling.power_sum import Bootstrap, PowerSum, checked_points, fit_power_sum

FLOPS_PER_PARAMETER_TOKEN = 6.0
PROJECTED_COVERAGE = (  # python -m tools.coverage projection --sets 125, seeds 22 to 25 together
    "95 % intervals covered the truth in 93.8-95.4 % of 500 simulated grids of 25 or 48 runs with normal errors and "
    "in 93.6-95.6 % with heavy tails (t, 3 degrees)"
)
_SQUARES = 1e3  # a delta that no residual of a logarithm reaches
_ABOUT_ZERO = 1e-3
_NO_TERM = 1e-300  # a term that is solved to 0, whose logarithm theta holds


@dataclass(frozen=True)
class Chinchilla:
    """The law with its five numbers; `law` has the intervals, residuals and predictions behind them."""

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
    def measured_coverage(self) -> str:
        """How often intervals made this way held the truth in simulations."""
        return self.law.measured_coverage

    @property
    def warning(self) -> str:
        """What these runs do not settle; empty where every part of the law is told from its bounds."""
        weak = []
        for name in ("alpha", "beta"):
            x = self.intervals[name]
            if x.low < _ABOUT_ZERO:
                weak.append(f"{name} is not told from 0")
            if x.high > STEEPEST - _ABOUT_ZERO:
                weak.append(f"{name} may be steeper than {STEEPEST:g}, the most that is tried")
        if self.law.floor.low < _ABOUT_ZERO:
            weak.append("E is not told from 0")
        return "; ".join(weak)

    def optimal(self, flops: float) -> tuple[Interval, Interval]:
        """Returns the parameters and tokens of the least loss at a training budget of C = 6 N D FLOPs."""
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
    """Fits the law to runs: parameters, training tokens and final loss, each [n].

    Raises UserError for fewer than 10 runs or fewer than three sizes or token counts. The bootstrap is over runs, as
    published; see `fit_power_sum` for the other and for the coverage of both.
    """
    axes = {"params": params, "tokens": tokens}
    return _named(fit_power_sum(axes, losses, delta=delta, resamples=resamples, bootstrap=bootstrap, seed=seed))


def project_chinchilla(
    params: ArrayLike, tokens: ArrayLike, losses: ArrayLike, *, resamples: int = 500, seed: int = 0
) -> Chinchilla:
    """Fits the law by least squares with variable projection, as a cross-check of `fit_chinchilla`.

    E, A and B are solved for at exponents of a grid, which is then refined around the best, eight times over; so there
    is no starting point. Negative terms are refused. Intervals come from residuals of the logarithm drawn with
    replacement, enlarged by sqrt(n / (n - 5)), and the spread of the refits is widened as Student's t is wider than the
    normal. A resample is fitted from the estimate onwards by squares of the logarithm weighted by the squared loss,
    which is squared error to first order in the residuals. Raises UserError as `fit_chinchilla` does.
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    x, y = checked_points({"params": params, "tokens": tokens}, losses)
    centre = np.log(x).mean(axis=1)
    t = np.log(x) - centre[:, None]
    theta, squares = _project(t, y)
    fitted, n = predict(theta, t)[0], len(y)
    residual = (np.log(y) - fitted) * np.sqrt(n / (n - len(theta)))
    rng = np.random.default_rng(seed)
    drawn = fitted + rng.choice(residual - residual.mean(), (resamples, n))
    samples = resolve(theta, t, drawn, np.exp(2 * fitted), delta=_SQUARES)
    samples = theta + (samples - theta) * student.ppf(0.975, n - len(theta)) / norm.ppf(0.975)
    samples[:, 3:] = np.clip(samples[:, 3:], 0.0, STEEPEST)
    return _named(PowerSum(("params", "tokens"), theta, samples, centre, x, y, squares, None, PROJECTED_COVERAGE))


def _project(t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """theta [5] of least squares for centred ln x, t [2, n], and the sum of squares."""
    from scipy.optimize import nnls

    def solve(exponents: tuple[float, float]) -> tuple[float, np.ndarray]:
        terms = np.exp(-np.array([0.0, *exponents])[:, None] * np.stack([np.zeros_like(y), *t]))
        weights, norm = nnls(terms.T, y)
        return float(norm), weights

    centre, width = np.array([1.0, 1.0]), 0.98
    for _ in range(9):
        grid = [np.clip(c + width * np.linspace(-1, 1, 15), 0.01, STEEPEST) for c in centre]
        tried = [(solve((a, b))[0], a, b) for a in grid[0] for b in grid[1]]
        centre, width = np.array(min(tried)[1:]), width / 5
    norm, weights = solve((float(centre[0]), float(centre[1])))
    return np.concatenate([np.log(np.maximum(weights, _NO_TERM)), centre]), norm**2


def _named(law: PowerSum) -> Chinchilla:
    return Chinchilla(
        A=law.scale("params").value,
        B=law.scale("tokens").value,
        E=law.floor.value,
        alpha=law.exponent("params").value,
        beta=law.exponent("tokens").value,
        law=law,
    )
