"""The figures of a sweep: what F1 costs, what training brings, what P(Yes) means."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jprm.evaluate import Interval, calibration, over_seeds
from jprm.experiments.sweep.equal_compute import Spent
from jprm.experiments.sweep.findings import METHODS, Findings
from jprm.experiments.sweep.table import Measured
from jprm.scaling import Figure, Fit, Series, bar_figure, line_figure, series_of
from jprm.tasks.benchmark import load_items
from jprm.tasks.vote_store import step_rewards
from jprm.tasks.votes import load_rationales

MOST_LINES = 8  # colours of the palette


def sweep_figures(measured: list[Measured], findings: Findings) -> dict[str, Figure]:
    """Figures by the names of their files; those for which there is no data are left out."""
    grid = [m for m in measured if not m.cell.variant]
    figures = {
        "f1_against_votes": Figure(
            line_figure(
                [series_of(label(m), m.curve.ks, [m.curve.f1(k) for k in m.curve.ks]) for m in grid[:MOST_LINES]],
                x_label="votes per step",
                y_label="first-error F1",
            ),
            "First-error F1 against the number of votes, from one stored set of votes; bands are 95 % over problems.",
        )
    }
    costs = {
        "tokens": ("tokens of all votes", "Tokens that the votes cost, forced ones included."),
        "flops": ("FLOPs of all votes", "The same votes by the FLOPs of writing them."),
        "seconds": ("seconds", "The same by time on this machine, for what it is worth elsewhere."),
    }
    for name, (x_label, caption) in costs.items():
        series = [_against(m, lambda row, name=name: row[name]) for m in grid[:MOST_LINES]]
        svg = line_figure(series, x_label=x_label, y_label="first-error F1", log_x=10)
        figures[f"f1_against_{name}"] = Figure(svg, caption)
    figures["f1_against_compute"] = _frontier(grid)
    figures |= _losses(grid, findings) | _calibration(grid)
    if findings.comparisons:
        several = len({c.benchmark for c in findings.comparisons}) > 1
        names = [f"{c.question} ({c.benchmark})" if several else c.question for c in findings.comparisons]
        bars = [("difference", [c.difference for c in findings.comparisons])]
        figures["comparisons"] = Figure(
            bar_figure(names, bars, x_label="difference in F1 (95 %, paired)"),
            "What each part is worth: F1 of the main cell minus F1 with that part changed.",
        )
    best = findings.best_of_n
    if best:
        series = [
            series_of(name, best.ks, [best.interval(method, k) for k in best.ks]) for name, method in METHODS.items()
        ]
        figures["best_of_n"] = Figure(
            line_figure(series, x_label="solutions per problem", y_label="accuracy"),
            "Accuracy of the solution that is chosen among N samples of the policy.",
        )
    if findings.spent:
        figures["solutions_or_votes"] = _equal_compute(findings.spent)
    return figures


def _equal_compute(spent: Spent) -> Figure:
    """Both methods over budgets, at their best points within each."""
    paid = [at for at in spent.frontier if at.verifier is not None]
    series = [
        series_of(
            "self-consistency", [at.budget for at in spent.frontier], [at.self_consistency for at in spent.frontier]
        ),
        series_of("verifier", [at.budget for at in paid], [at.verifier for at in paid if at.verifier]),
    ]
    svg = line_figure(series[: 1 + bool(paid)], x_label="compute, in solutions", y_label="accuracy", log_x=None)
    return Figure(
        svg,
        "The same compute spent on solutions alone, their majority deciding, or on fewer solutions with votes on each. "
        f"A vote costs {spent.table.ratio:.2f} solutions.",
    )


def label(m: Measured) -> str:
    """A short name of a cell of the grid."""
    verifier, benchmark = m.cell.verifier, m.cell.votes.benchmark
    name = f"{verifier.size}, {verifier.examples} examples"
    name += f", seed {verifier.seed}" if verifier.seed else ""
    return name if benchmark.name == "policy" else f"{name}, {benchmark.name}"


def _against(m: Measured, cost: Callable[[dict], float]) -> Series:
    """F1 of a cell against what its votes cost."""
    points = [m.curve.f1(row["n_votes"]) for row in m.rows]
    return series_of(label(m), [cost(row) for row in m.rows], points)


def _frontier(grid: list[Measured]) -> Figure:
    """F1 against the FLOPs of fine-tuning and judging together, and the best to be had for them."""
    series = [_against(m, lambda row: row["train_flops"] + row["flops"]) for m in grid[:MOST_LINES]]
    points = sorted((x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y))
    x, best = [], []
    for cost, f1 in points:
        if not best or f1 > best[-1]:
            x, best = [*x, cost], [*best, f1]
    frontier = [Series("best", x, best, is_fit=True)] if len(x) > 1 else []
    return Figure(
        line_figure(series + frontier, x_label="FLOPs of fine-tuning and judging", y_label="first-error F1", log_x=10),
        "Each line is a verifier under more and more votes. Dotted: the best F1 for its compute, "
        "chosen on these solutions and so a little too good.",
    )


def _losses(grid: list[Measured], findings: Findings) -> dict[str, Figure]:
    """Held-out loss against each axis of training that varies; other seeds make the bars."""
    rows = {m.cell.verifier: m.rows[0] for m in grid}.values()
    axes = {
        "train_examples_kept": ("train_examples", "model", "examples after the filter", "data_fit"),
        "model_params": ("model_params", "train_examples", "parameters", "size_fit"),
    }
    figures = {}
    for axis, (place, other, x_label, fit_name) in axes.items():
        if len({row[place] for row in rows}) < 2:
            continue
        series = []
        for group in dict.fromkeys(row[other] for row in rows):
            of_group = [row for row in rows if row[other] == group]
            places = sorted({row[place] for row in of_group})
            at = [[row for row in of_group if row[place] == p] for p in places]
            losses = [_geometric([row["held_out_loss"] for row in same]) for same in at]
            x = [float(np.mean([row[axis] for row in same])) for same in at]
            name = group if other == "model" else f"{group} examples"
            series.append(series_of(name, x, losses))
        fit: Fit | None = getattr(findings, fit_name)
        if fit is not None and fit.ok:
            ends = [x for s in series for x in s.x]
            smooth = np.geomspace(min(ends), max(ends), 60)
            series.append(Series("fit", smooth.tolist(), fit(smooth).tolist(), is_fit=True))
        svg = line_figure(
            series[:MOST_LINES],
            x_label=x_label,
            y_label="held-out loss, nats a token",
            log_x=10,
            log_y=True,
            bands=False,
        )
        figures[f"loss_against_{place}"] = Figure(
            svg, f"Held-out loss against {x_label}; of several seeds the geometric mean with 95 % bars."
        )
    return figures


def _geometric(losses: list[float]) -> Interval:
    """Mean over seeds on the logarithmic scale on which losses are drawn."""
    mean = over_seeds([math.log(loss) for loss in losses])
    return Interval(*(math.exp(x) for x in (mean.value, mean.low, mean.high)))


def _calibration(grid: list[Measured]) -> dict[str, Figure]:
    """Rewards of the main cells against the share of right steps."""
    series, said = [], []
    mains = {m.cell.votes.benchmark.name: m for m in reversed(grid)}
    for name, m in mains.items():
        votes, stages = m.cell.votes, m.stages
        rationales = load_rationales(stages[votes])
        items = [i for i in load_items(stages[votes.benchmark]) if i.solution.id in rationales]
        items = [item for item in items if item.solution.first_error is not None]
        found = calibration(
            [step_rewards(rationales[i.solution.id], votes.n_votes, votes.sampling.readout) for i in items],
            [i.solution.first_error for i in items],  # type: ignore[misc]
            [i.problem.id for i in items],
        )
        if found is None:
            continue
        points: list[Interval] = [b.right for b in found.bins]
        series.append(series_of(name, [b.reward for b in found.bins], points))
        said.append(f"{name}: expected calibration error {found.error}, Brier score {found.brier}")
    if not series:
        return {}
    series.append(Series("ideal", [0.0, 1.0], [0.0, 1.0], is_fit=True))
    svg = line_figure(
        series, x_label="mean P(Yes) of the votes", y_label="share of right steps", log_x=None, bands=False
    )
    text = f"What a reward means: steps up to the first error in bins of P(Yes). {'; '.join(said)}."
    return {"calibration": Figure(svg, text)}
