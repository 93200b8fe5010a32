"""The approaches of Chinchilla on one set of runs, side by side, and how their law does on the largest compute.

Invariant: an approach that the runs cannot carry is there with the reason, never with numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import Interval, finite
from jprm.scaling.chinchilla import Chinchilla, fit_chinchilla, project_chinchilla
from jprm.scaling.decide import hold_out
from jprm.scaling.isoflop import BestSizes, fit_envelope, fit_isoflop
from jprm.scaling.laws.runs import Runs
from jprm.scaling.power_sum import Bootstrap

APPROACHES = {
    "3": "summed Huber loss of ln L",
    "3'": "least squares",
    "2": "isoFLOP parabolas",
    "1": "envelope of curves",
}
_BEYOND = 10.0  # where no budget is asked for, the one that is decided, in FLOPs of the largest run
_ENVELOPE_BUDGETS = 30
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Approach:
    """A fitted approach, or the reason why there is none; `key` of `APPROACHES`, `basis` what it was fitted to."""

    key: str
    fit: Chinchilla | BestSizes | None
    basis: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Its name for readers."""
        return f"{self.key}: {APPROACHES[self.key]}"

    @property
    def coverage(self) -> str:
        """How often such intervals held the truth in simulations."""
        return self.fit.measured_coverage if self.fit else ""

    @property
    def warning(self) -> str:
        """What the runs do not settle."""
        return self.fit.warning if isinstance(self.fit, Chinchilla) else ""

    def rows(self, budgets: Sequence[float]) -> list[dict[str, Any]]:
        """What it found as plain rows: one for a quantity, and one for each best size at a budget in FLOPs."""
        said = {"approach": self.key, "method": APPROACHES[self.key]}
        if not self.fit:
            return [said | {"reason": self.reason}]
        found = [said | _row(name, x, None) for name, x in self.fit.intervals.items()]
        for budget in budgets:
            for name, x in zip(("best_params", "best_tokens"), self.fit.optimal(budget), strict=True):
                found.append(said | _row(name, x, budget))
        about = {"basis": self.basis, "warning": self.warning, "measured_coverage": self.coverage}
        return [row | about for row in found]


@dataclass(frozen=True)
class Decided:
    """The approaches on the runs; `budgets` in training FLOPs; `held_out` says how well the law extrapolates."""

    runs: Runs
    approaches: tuple[Approach, ...]
    budgets: tuple[float, ...]
    held_out: str

    @property
    def fitted(self) -> list[Approach]:
        """The approaches that could be fitted."""
        return [one for one in self.approaches if one.fit]


def decide(
    runs: Runs, budgets: tuple[float, ...] = (), *, resamples: int = 500, bootstrap: Bootstrap = "points", seed: int = 0
) -> Decided:
    """Fits all approaches, to decide on `budgets`; without any, on ten times the compute of the largest run.

    `bootstrap` is that of approach 3.
    """
    axes = runs.params, runs.tokens, runs.losses
    again = {"resamples": resamples, "seed": seed}
    basis = f"{len(runs)} runs"
    approaches = (
        _tried("3", lambda: fit_chinchilla(*axes, bootstrap=bootstrap, **again), lambda _: basis),
        _tried("3'", lambda: project_chinchilla(*axes, **again), lambda _: basis),
        _tried("2", lambda: fit_isoflop(runs.flops, runs.params, runs.losses, **again), _budgets),
        _tried("1", lambda: _envelope(runs, again), _budgets),
    )
    return Decided(runs, approaches, budgets or (_BEYOND * float(runs.flops.max()),), _held_out(runs, again))


def _tried(key: str, fit: Callable[[], Any], basis: Callable[[Any], str]) -> Approach:
    try:
        found = fit()
    except UserError as error:
        return Approach(key, None, reason=str(error))
    return Approach(key, found, basis(found))


def _budgets(found: BestSizes) -> str:
    dropped = f", {len(found.dropped)} left out" if found.dropped else ""
    return f"{len(found.budgets)} budgets{dropped}"


def _envelope(runs: Runs, again: dict[str, int]) -> BestSizes:
    if not runs.curves:
        raise UserError("there are no training curves: rows of one run at several amounts of compute (--run)")
    reached = np.concatenate([curve.flops for curve in runs.curves])
    budgets = np.geomspace(reached.min(), reached.max(), _ENVELOPE_BUDGETS)
    curves = [(curve.params, curve.flops, curve.losses) for curve in runs.curves]
    return fit_envelope(curves, budgets, **again)


def _held_out(runs: Runs, again: dict[str, Any]) -> str:
    """How the law of approach 3, fitted without the tenth of the runs of the largest compute, does on them."""
    axes = {"params": runs.params, "tokens": runs.tokens}
    points = max(1, round(_HELD_OUT_SHARE * len(runs)))
    try:
        return str(hold_out(axes, runs.losses, runs.flops, points=points, **again))
    except UserError as error:
        return f"the largest compute is not held out: {error}"


def _row(name: str, x: Interval, budget: float | None) -> dict[str, Any]:
    ends = {"value": finite(x.value), "low": finite(x.low), "high": finite(x.high)}
    return {"quantity": name, "flops": budget} | ends
