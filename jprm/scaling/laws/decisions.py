"""All that is found in a table of runs: the approaches, the best sizes at budgets, the largest compute held out."""

from __future__ import annotations

from dataclasses import dataclass

from jprm.errors import UserError
from jprm.scaling.decide import hold_out
from jprm.scaling.laws.approaches import Approach, fit_approaches
from jprm.scaling.laws.runs import Runs
from jprm.scaling.plots import short, shown
from jprm.scaling.power_sum import Bootstrap

BEYOND = 10.0  # the budget that is decided where none is asked for, in FLOPs of the largest run
COLUMNS = ("training FLOPs", "approach", "best parameters", "best tokens", "tokens per parameter")
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Decided:
    """The approaches on the runs; `budgets` in training FLOPs; `held_out` in words."""

    runs: Runs
    approaches: tuple[Approach, ...]
    budgets: tuple[float, ...]
    held_out: str

    @property
    def fitted(self) -> list[Approach]:
        """The approaches that could be fitted."""
        return [one for one in self.approaches if one.fit]

    def rows(self) -> list[list[str]]:
        """The best sizes under `COLUMNS`: a row for every budget and fitted approach."""
        rows = []
        for budget in self.budgets:
            for one in self.fitted:
                assert one.fit
                params, tokens = one.fit.optimal(budget)
                ratio = short(tokens.value / params.value)
                rows.append([short(budget), one.key, shown(params), shown(tokens), ratio])
        return rows

    def extrapolated(self) -> str:
        """How far the largest budget lies beyond the runs; empty where it does not."""
        most, largest = max(self.budgets), float(self.runs.flops.max())
        if most <= 1.001 * largest:
            return ""
        return f"{short(most)} FLOPs are {most / largest:.3g} times those of the largest run."

    def summary(self) -> str:
        """What runs these are."""
        sizes, flops = self.runs.params, self.runs.flops
        return (
            f"{len(self.runs)} runs of {short(sizes.min())} to {short(sizes.max())} parameters and "
            f"{short(flops.min())} to {short(flops.max())} training FLOPs"
        )


def decide(
    runs: Runs, budgets: tuple[float, ...] = (), *, resamples: int = 500, bootstrap: Bootstrap = "points", seed: int = 0
) -> Decided:
    """Fit all approaches and decide on `budgets`, on ten times the largest run without any."""
    return Decided(
        runs,
        tuple(fit_approaches(runs, resamples=resamples, bootstrap=bootstrap, seed=seed)),
        budgets or (BEYOND * float(runs.flops.max()),),
        _held_out(runs, resamples, seed),
    )


def _held_out(runs: Runs, resamples: int, seed: int) -> str:
    """How the law of approach 3 without the tenth of the runs of the largest compute does on them."""
    axes = {"params": runs.params, "tokens": runs.tokens}
    points = max(1, round(_HELD_OUT_SHARE * len(runs)))
    again = {"resamples": resamples, "seed": seed}
    try:
        return str(hold_out(axes, runs.losses, runs.flops, points=points, **again))
    except UserError as error:
        return f"the largest compute is not held out: {error}"
