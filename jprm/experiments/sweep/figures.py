"""The figures of a sweep: what F1 costs, what training brings, what P(Yes) means."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from jprm.evaluate import Interval, calibration, over_seeds
from jprm.experiments.sweep.equal_compute import Spent
from jprm.experiments.sweep.findings import Findings
from jprm.experiments.sweep.short_names import facts_of, in_groups, in_words, short_labels
from jprm.experiments.sweep.table import METHODS, Measured
from jprm.report import MOST_BANDS, MOST_LINES, BarFigure, LineFigure, Series, series_of
from jprm.scaling import Fit
from jprm.tasks.benchmark import is_by_answer, load_known
from jprm.tasks.vote_store import step_rewards
from jprm.tasks.votes import load_rationales

MOST_IN_A_PANEL = 10  # lines, where there are more than one panel's lines can be told apart
MOST_BARS = 24
MOST_DRAWN = 60  # lines of the vote curves; of the figures of costs, as many as one panel holds
F1 = "first-error F1"
COSTS = {  # column of `results.jsonl` -> label of the axis, caption
    "tokens": ("tokens of all votes", "Tokens that the votes cost, forced ones included."),
    "flops": ("FLOPs of all votes", "The same votes by the FLOPs of writing them."),
    "seconds": ("seconds", "The same by time on this machine, for what it is worth elsewhere."),
}
TRAINING_AXES = {  # column -> what names a line, label of the axis, the fit over it
    "train_examples": ("model", "examples after the filter", "data_fit"),
    "model_params": ("train_examples", "parameters", "size_fit"),
}


def sweep_figures(measured: list[Measured], findings: Findings) -> dict[str, LineFigure | BarFigure]:
    """Figures by the names of their files; those for which there is no data are left out."""
    grid = [m for m in measured if not m.cell.variant]
    bands = (
        "bands are 95 % over problems" if len(grid) <= MOST_BANDS else "the table has the 95 % intervals over problems"
    )
    caption = f"First-error F1 against the number of votes, from one stored set of votes; {bands}."
    figures: dict[str, LineFigure | BarFigure] = {
        "f1_against_votes": LineFigure(caption + _left_out(grid, MOST_DRAWN), "votes per step", F1, _curves(grid))
    }
    most = MOST_LINES if len(grid) <= MOST_LINES else MOST_IN_A_PANEL  # a legend of thirty would still lack the rest
    drawn = dict(zip(short_labels([m.cell for m in grid[:most]]), grid, strict=False))
    left_out = _left_out(grid, most)
    for cost, (x_label, caption) in COSTS.items():
        series = [_against(name, m, lambda row, cost=cost: row[cost]) for name, m in drawn.items()]
        figures[f"f1_against_{cost}"] = LineFigure(caption + left_out, x_label, F1, series, log_x=10)
    figures["f1_against_compute"] = _frontier(drawn, left_out)
    figures |= _losses(grid, findings) | _calibration(grid)
    if comparisons := findings.comparisons:
        several = len({c.benchmark for c in comparisons}) > 1
        names = [f"{c.question} ({c.benchmark})" if several else c.question for c in comparisons]
        figures["comparisons"] = BarFigure(
            "What each part is worth: F1 of the main cell minus F1 with that part changed.",
            names,
            [("difference", [c.difference for c in comparisons])],
            "difference in F1 (95 %, paired)",
        )
    if means := findings.along_axes.made[:MOST_BARS]:
        figures["along_axes"] = BarFigure(
            "Points of the axes against one another: F1 of the first that is named minus F1 of the other."
            + _left_out(findings.along_axes.made, MOST_BARS),
            [c.question for c in means],
            [("difference", [c.difference for c in means])],
            "difference in F1 (95 %, paired)",
        )
    if best := findings.best_of_n:
        figures["best_of_n"] = LineFigure(
            "Accuracy of the solution that is chosen among N samples of the policy.",
            "solutions per problem",
            "accuracy",
            [series_of(name, best.ks, [best.interval(method, k) for k in best.ks]) for name, method in METHODS.items()],
        )
    if findings.spent:
        figures["solutions_or_votes"] = _equal_compute(findings.spent)
    return figures


def _curves(grid: list[Measured]) -> list[Series]:
    """F1 against the votes, up to those that were asked for; of many cells in panels of what their lines share."""
    drawn = grid[:MOST_DRAWN]
    names, panels = short_labels([m.cell for m in drawn]), [""] * len(drawn)
    if len(drawn) > MOST_LINES:
        facts = [facts_of(m.cell) for m in drawn]
        by, left = in_groups(facts, MOST_IN_A_PANEL)
        names, panels = ([in_words(one, keys) for one in facts] for keys in (left, by))
    series = []
    for m, name, panel in zip(drawn, names, panels, strict=True):
        ks = [k for k in m.curve.ks if k <= m.cell.votes_asked]
        series.append(series_of(name, ks, [m.curve.f1(k) for k in ks], panel))
    return series


def _left_out(lines: Sequence[object], most: int) -> str:
    """A sentence for the caption where not all lines are drawn."""
    if len(lines) <= most:
        return ""
    return f" The first {most} of {len(lines)} lines are drawn; results.jsonl and the table below hold all of them."


def _equal_compute(spent: Spent) -> LineFigure:
    """Self-consistency and the verifier over budgets, each at its best point within the budget."""
    budgets = [at.budget for at in spent.frontier]
    series = [series_of("self-consistency", budgets, [at.self_consistency for at in spent.frontier])]
    if paid := [(at.budget, at.verifier) for at in spent.frontier if at.verifier]:
        series.append(series_of("verifier", [budget for budget, _ in paid], [at for _, at in paid]))
    return LineFigure(
        "The same compute spent on solutions alone, their majority deciding, or on fewer solutions with votes on each. "
        f"A vote costs {spent.table.ratio:.2f} solutions.",
        "compute, in solutions",
        "accuracy",
        series,
        log_x=None,
    )


def _against(name: str, m: Measured, cost: Callable[[dict], float]) -> Series:
    """F1 of a cell against what its votes cost."""
    return series_of(name, [cost(row) for row in m.rows], [m.curve.f1(row["n_votes"]) for row in m.rows])


def _frontier(drawn: dict[str, Measured], left_out: str) -> LineFigure:
    """F1 against the FLOPs of fine-tuning and judging together, and the best to be had for them."""
    series = [_against(name, m, lambda row: row["train_flops"] + row["flops"]) for name, m in drawn.items()]
    best: list[tuple[float, float]] = []
    for cost, f1 in sorted((x, y) for s in series for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)):
        if not best or f1 > best[-1][1]:
            best.append((cost, f1))
    if len(best) > 1:
        series.append(Series("best", *map(list, zip(*best, strict=True)), is_fit=True))  # type: ignore[arg-type]
    return LineFigure(
        "Each line is a verifier under more and more votes. Dotted: the best F1 for its compute, "
        f"chosen on these solutions and so a little too good.{left_out}",
        "FLOPs of fine-tuning and judging",
        F1,
        series,
        log_x=10,
    )


def _losses(grid: list[Measured], findings: Findings) -> dict[str, LineFigure]:
    """Held-out loss against each axis of training that varies; other seeds make the bars."""
    measured = {m.cell.verifier: m.rows[0] for m in grid}.values()
    rows = [row for row in measured if row["held_out_loss"] is not None]
    figures = {}
    for axis, (line, x_label, fit_name) in TRAINING_AXES.items():
        if len({row[axis] for row in rows}) < 2:
            continue
        series = []
        for group in dict.fromkeys(row[line] for row in rows):
            of_group = [row for row in rows if row[line] == group]
            at = [[row for row in of_group if row[axis] == p] for p in sorted({row[axis] for row in of_group})]
            losses = [_geometric([row["held_out_loss"] for row in same]) for same in at]
            kept = "train_examples_kept" if axis == "train_examples" else axis
            x = [float(np.mean([row[kept] for row in same])) for same in at]
            series.append(series_of(group if line == "model" else f"{group} examples", x, losses))
        caption = f"Held-out loss against {x_label}; of several seeds the geometric mean with 95 % bars."
        caption, series = caption + _left_out(series, MOST_LINES), series[:MOST_LINES]
        fit: Fit | None = getattr(findings, fit_name)
        if fit is not None and fit.ok:
            ends = [x for s in series for x in s.x]
            smooth = np.geomspace(min(ends), max(ends), 60)
            series.append(Series("fit", smooth.tolist(), fit(smooth).tolist(), is_fit=True))
        figures[f"loss_against_{axis}"] = LineFigure(
            caption, x_label, "held-out loss, nats a token", series, log_x=10, log_y=True, bands=False
        )
    return figures


def _geometric(losses: list[float]) -> Interval:
    """The mean over seeds on the logarithmic scale on which losses are drawn."""
    mean = over_seeds([math.log(loss) for loss in losses])
    return Interval(*(math.exp(x) for x in (mean.value, mean.low, mean.high)))


def _calibration(grid: list[Measured]) -> dict[str, LineFigure]:
    """Rewards of the main cells against the share of right steps."""
    series, said = [], []
    mains = {m.cell.votes.benchmark.name: m for m in reversed(grid)}
    for name, m in mains.items():
        votes, stages = m.cell.votes, m.stages
        if is_by_answer(stages[votes.benchmark]):
            continue  # which steps are right is not known
        rationales = load_rationales(stages[votes])
        items, labels = load_known(stages[votes.benchmark])
        found = calibration(
            [step_rewards(rationales[i.solution.id], votes.n_votes, votes.sampling.readout) for i in items],
            labels,
            [i.problem.id for i in items],
        )
        if found is None:
            continue
        series.append(series_of(name, [b.reward for b in found.bins], [b.right for b in found.bins]))
        of = f"{name}, mean of all {votes.n_votes} stored votes" if votes.n_votes > 1 else name
        said.append(f"{of}: expected calibration error {found.error}, Brier score {found.brier}")
    if not series:
        return {}
    series.append(Series("ideal", [0.0, 1.0], [0.0, 1.0], is_fit=True))
    caption = f"What a reward means: steps up to the first error in bins of P(Yes). {'; '.join(said)}."
    labels = "mean P(Yes) of the votes", "share of right steps"
    return {"calibration": LineFigure(caption, *labels, series, log_x=None, bands=False)}
