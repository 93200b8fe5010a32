"""The figures of a table of runs: losses, parabolas, the compute-optimal frontier, residuals."""

from __future__ import annotations

import numpy as np

from jprm.scaling.chinchilla import FLOPS_PER_PARAMETER_TOKEN, Chinchilla
from jprm.scaling.isoflop import BestSizes
from jprm.scaling.laws.decisions import Decided
from jprm.scaling.laws.runs import Runs
from jprm.scaling.plots import Series, line_figure, series_of, short
from jprm.scaling.report import Figure

_BANDS = 5  # of compute, each a colour
_MOST_BUDGETS = 6
_STEPS = 60  # of a smooth line


def laws_figures(found: Decided) -> list[Figure]:
    """All that the runs and the fitted approaches can show."""
    runs, by_key = found.runs, {one.key: one.fit for one in found.fitted if one.fit}
    laws = {key: fit for key, fit in by_key.items() if isinstance(fit, Chinchilla)}
    law = next(iter(laws.values()), None)
    figures = [_against(runs, law, "params"), _against(runs, law, "tokens")]
    if isinstance(parabolas := by_key.get("2"), BestSizes):
        figures.append(_parabolas(runs, parabolas))
    if runs.curves:
        figures.append(_curves(runs))
    compute = np.geomspace(runs.flops.min(), max([runs.flops.max(), *found.budgets]), _STEPS)
    if by_key:
        figures += [_frontier(by_key, compute, which) for which in (0, 1)]
    if law:
        figures.append(_best_loss(runs, law, compute))
        figures.append(_residuals(runs, laws))
    return figures


def _against(runs: Runs, law: Chinchilla | None, axis: str) -> Figure:
    """Loss against one axis, in bands of compute; the law at the middle of each band."""
    along = getattr(runs, axis)
    series = []
    for low, high, rows in _bands_of(runs.flops):
        series.append(_scatter(f"{short(low)} to {short(high)}", along[rows], runs.losses[rows]))
        if law and np.ptp(along[rows]) > 0:
            x = np.geomspace(along[rows].min(), along[rows].max(), _STEPS)
            product = float(np.exp(np.log(runs.params[rows] * runs.tokens[rows]).mean()))
            other = product / x
            y = law(x, other) if axis == "params" else law(other, x)
            series.append(Series(f"{axis} {low}", list(x), list(y), is_fit=True))
    named = {"params": "parameters", "tokens": "training tokens"}[axis]
    svg = line_figure(series, x_label=named, y_label="loss", log_x=10)
    dotted = " Dotted: the fitted law at the middle of each." if law else ""
    return Figure(svg, f"Loss against {named}. Colours are ranges of training FLOPs.{dotted}")


def _parabolas(runs: Runs, found: BestSizes) -> Figure:
    few = np.unique(np.linspace(0, len(found.parabolas) - 1, _MOST_BUDGETS).round().astype(int))
    series = []
    for parabola in (found.parabolas[i] for i in few):
        name = short(parabola.flops)
        sizes = runs.params[parabola.runs]
        series.append(_scatter(name, sizes, runs.losses[parabola.runs]))
        x = np.geomspace(sizes.min(), sizes.max(), _STEPS)
        series.append(Series(f"fit {name}", list(x), list(parabola(x)), is_fit=True))
    shown = "" if len(few) == len(found.parabolas) else f" {len(few)} of {len(found.parabolas)}."
    return Figure(
        line_figure(series, x_label="parameters", y_label="loss", log_x=10),
        f"Approach 2: loss of runs of equal training FLOPs, and a parabola through each.{shown}",
    )


def _curves(runs: Runs) -> Figure:
    by_size = sorted(runs.curves, key=lambda curve: curve.params)
    few = np.unique(np.linspace(0, len(by_size) - 1, _MOST_BUDGETS).round().astype(int))
    series = [
        Series(f"{short(by_size[i].params)} parameters", list(by_size[i].flops), list(by_size[i].losses)) for i in few
    ]
    shown = "" if len(few) == len(by_size) else f" {len(few)} of {len(by_size)} runs."
    return Figure(
        line_figure(series, x_label="training FLOPs", y_label="loss", log_x=10),
        f"Approach 1: loss along training; the lowest curve at a budget is its best size.{shown}",
    )


def _frontier(fits: dict[str, Chinchilla | BestSizes], compute: np.ndarray, which: int) -> Figure:
    """Best parameters (0) or tokens (1) against compute, by every approach."""
    series = [
        series_of(f"approach {key}", list(compute), [fit.optimal(c)[which] for c in compute])
        for key, fit in fits.items()
    ]
    named = ("parameters", "training tokens")[which]
    return Figure(
        line_figure(series, x_label="training FLOPs", y_label=f"best {named}", log_x=10, log_y=True),
        f"Compute-optimal {named} by approach, with 95 % bands.",
    )


def _best_loss(runs: Runs, law: Chinchilla, compute: np.ndarray) -> Figure:
    params = np.array([law.optimal(c)[0].value for c in compute])
    tokens = compute / FLOPS_PER_PARAMETER_TOKEN / params
    low, high = law.law.between(params, tokens)
    best = Series("least loss", list(compute), list(law(params, tokens)), list(low), list(high))
    return Figure(
        line_figure(
            [_scatter("runs", runs.flops, runs.losses), best], x_label="training FLOPs", y_label="loss", log_x=10
        ),
        "The loss of the best split of compute by the fitted law, with its 95 % band, and the runs.",
    )


def _residuals(runs: Runs, laws: dict[str, Chinchilla]) -> Figure:
    series = [_scatter(f"approach {key}", runs.flops, 100 * fit.law.residuals()) for key, fit in laws.items()]
    ends = [float(runs.flops.min()), float(runs.flops.max())]
    series.append(Series("none", ends, [0.0, 0.0], is_fit=True))
    return Figure(
        line_figure(series, x_label="training FLOPs", y_label="residual of ln L, %", log_x=10),
        "How far each run lies above the law: a trend is what the law does not know.",
    )


def _bands_of(flops: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """Up to five ranges of compute with about as many runs each, none without a run."""
    edges = np.unique(np.quantile(flops, np.linspace(0, 1, _BANDS + 1)))
    band = np.searchsorted(edges[1:-1], flops, side="left")
    rows = [np.flatnonzero(band == i) for i in np.unique(band)]
    return [(float(flops[r].min()), float(flops[r].max()), r) for r in rows]


def _scatter(name: str, x: np.ndarray, y: np.ndarray) -> Series:
    return Series(name, x.tolist(), y.tolist(), is_scatter=True)
