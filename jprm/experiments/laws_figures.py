"""The figures of a table of runs: losses, parabolas, the compute-optimal frontier, residuals."""

from collections.abc import Sequence

import numpy as np

from jprm.report.figures import LineFigure, Series, series_of
from jprm.report.tables import short
from jprm.scaling import FLOPS_PER_PARAMETER_TOKEN, BestSizes, Chinchilla
from jprm.scaling.laws import Decided, Runs

_BANDS = 5  # of compute, each a colour
_MOST_BUDGETS = 6
_STEPS = 60  # of a smooth line
_AXES = {"params": "parameters", "tokens": "training tokens"}


def laws_figures(found: Decided) -> list[LineFigure]:
    """All that the runs and the fitted approaches can show."""
    runs, by_key = found.runs, {one.key: one.fit for one in found.fitted if one.fit}
    laws = {key: fit for key, fit in by_key.items() if isinstance(fit, Chinchilla)}
    law = next(iter(laws.values()), None)
    figures = [_against(runs, law, axis) for axis in _AXES]
    if isinstance(parabolas := by_key.get("2"), BestSizes):
        figures.append(_parabolas(runs, parabolas))
    if runs.curves:
        figures.append(_training_curves(runs))
    compute = np.geomspace(runs.flops.min(), max([runs.flops.max(), *found.budgets]), _STEPS)
    if by_key:
        figures += [_frontier(by_key, compute, which, name) for which, name in enumerate(_AXES.values())]
    if law:
        figures += [_best_loss(runs, law, compute), _residuals(runs, laws)]
    return figures


def _against(runs: Runs, law: Chinchilla | None, axis: str) -> LineFigure:
    """Loss against one axis, in bands of compute; the law at the middle of each band."""
    along, series = getattr(runs, axis), []
    for low, high, rows in _bands_of(runs.flops):
        series.append(_scatter(f"{short(low)} to {short(high)}", along[rows], runs.losses[rows]))
        if law and np.ptp(along[rows]) > 0:
            x = np.geomspace(along[rows].min(), along[rows].max(), _STEPS)
            other = float(np.exp(np.log(runs.params[rows] * runs.tokens[rows]).mean())) / x
            series.append(_smooth(f"{axis} {low}", x, law(x, other) if axis == "params" else law(other, x)))
    dotted = " Dotted: the fitted law at the middle of each." if law else ""
    caption = f"Loss against {_AXES[axis]}. Colours are ranges of training FLOPs.{dotted}"
    return LineFigure(caption, _AXES[axis], "loss", series, log_x=10)


def _parabolas(runs: Runs, found: BestSizes) -> LineFigure:
    few, counted = _few(found.parabolas, "")
    series = []
    for parabola in few:
        name, sizes = short(parabola.flops), runs.params[parabola.runs]
        x = np.geomspace(sizes.min(), sizes.max(), _STEPS)
        series += [_scatter(name, sizes, runs.losses[parabola.runs]), _smooth(f"fit {name}", x, parabola(x))]
    caption = f"Approach 2: loss of runs of equal training FLOPs, and a parabola through each.{counted}"
    return LineFigure(caption, "parameters", "loss", series, log_x=10)


def _training_curves(runs: Runs) -> LineFigure:
    few, counted = _few(sorted(runs.curves, key=lambda curve: curve.params), " runs")
    series = [Series(f"{short(c.params)} parameters", c.flops.tolist(), c.losses.tolist()) for c in few]
    caption = f"Approach 1: loss along training; the lowest curve at a budget is its best size.{counted}"
    return LineFigure(caption, "training FLOPs", "loss", series, log_x=10)


def _frontier(fits: dict[str, Chinchilla | BestSizes], compute: np.ndarray, which: int, name: str) -> LineFigure:
    """Best parameters (0) or tokens (1) against compute, by every approach."""
    series = [
        series_of(f"approach {key}", compute.tolist(), [fit.optimal(c)[which] for c in compute])
        for key, fit in fits.items()
    ]
    caption = f"Compute-optimal {name} by approach, with 95 % bands."
    return LineFigure(caption, "training FLOPs", f"best {name}", series, log_x=10, log_y=True)


def _best_loss(runs: Runs, law: Chinchilla, compute: np.ndarray) -> LineFigure:
    params = np.array([law.optimal(c)[0].value for c in compute])
    tokens = compute / FLOPS_PER_PARAMETER_TOKEN / params
    low, high = law.law.between(params, tokens)
    best = Series("least loss", compute.tolist(), law(params, tokens).tolist(), low.tolist(), high.tolist())
    caption = "The loss of the best split of compute by the fitted law, with its 95 % band, and the runs."
    return LineFigure(caption, "training FLOPs", "loss", [_scatter("runs", runs.flops, runs.losses), best], log_x=10)


def _residuals(runs: Runs, laws: dict[str, Chinchilla]) -> LineFigure:
    series = [_scatter(f"approach {key}", runs.flops, 100 * fit.law.residuals()) for key, fit in laws.items()]
    series.append(_smooth("none", np.array([runs.flops.min(), runs.flops.max()]), np.zeros(2)))
    caption = "How far each run lies above the law: a trend is what the law does not know."
    return LineFigure(caption, "training FLOPs", "residual of ln L, %", series, log_x=10)


def _few(items: Sequence, what: str) -> tuple[list, str]:
    """Some of many, evenly from the first to the last, and words that say so."""
    chosen = np.unique(np.linspace(0, len(items) - 1, _MOST_BUDGETS).round().astype(int))
    said = "" if len(chosen) == len(items) else f" {len(chosen)} of {len(items)}{what}."
    return [items[i] for i in chosen], said


def _bands_of(flops: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """Up to five ranges of compute with about as many runs each, none without a run."""
    edges = np.unique(np.quantile(flops, np.linspace(0, 1, _BANDS + 1)))
    band = np.searchsorted(edges[1:-1], flops, side="left")
    rows = [np.flatnonzero(band == i) for i in np.unique(band)]
    return [(float(flops[r].min()), float(flops[r].max()), r) for r in rows]


def _scatter(name: str, x: np.ndarray, y: np.ndarray) -> Series:
    return Series(name, x.tolist(), y.tolist(), is_scatter=True)


def _smooth(name: str, x: np.ndarray, y: np.ndarray) -> Series:
    return Series(name, x.tolist(), y.tolist(), is_fit=True)
