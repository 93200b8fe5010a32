"""The laws of a sweep: loss against size and data together, error against size, data and votes, voting without end.

A law is fitted to the grid's cells and comes back as what a reader needs of it: its exponents, the decision that it is
for, how well it fits, what it says about the largest compute when that is kept from it.

Invariant: a law that the grid cannot carry comes back with the reason, never with numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jprm.errors import UserError
from jprm.evaluate import Interval
from jprm.experiments.sweep.table import Measured
from jprm.report import short, shown
from jprm.scaling import STEEPEST, PowerSum, VoteLaw, best_at_budget, fit_power_sum, fit_vote_law, hold_out

BUDGETS = 3  # at which the best choice is told, above the cheapest that was measured up to the dearest
HELD_OUT_SHARE = 0.1
DATA_AXES = {"examples": "train_examples", "steps": "train.steps"}
VARIED = ("train.steps", "verify.n_votes")  # axes of a law; sizes, examples and seeds name cells
SHARED_VOTES = "the points of a cell share training and votes, which the intervals do not know, and so are too short"


@dataclass(frozen=True)
class Law:
    """A fitted law in words: `quantities` are (name, value), `coverage` that of their intervals.

    `refusal` says why there is none; `law` is the fit itself, for figures.
    """

    name: str
    quantities: tuple[tuple[str, str], ...] = ()
    coverage: str = ""
    refusal: str = ""
    note: str = ""
    law: PowerSum | None = None


def comparable(grid: Sequence[Measured]) -> list[Measured]:
    """The cells that differ from the first in size, amount of training and seed alone: the points of one law."""
    return [m for m in grid if _setting(m) == _setting(grid[0])]


def _setting(m: Measured) -> tuple:
    sampling, verifier = m.cell.sampling, m.cell.verifier
    others = [(key, value) for key, value in m.cell.values if key not in VARIED and not key.startswith("cell.")]
    recipe = verifier.rule, verifier.filtered, verifier.style
    return *recipe, sampling.execution, sampling.mode, others


def loss_law(grid: Sequence[Measured]) -> Law | None:
    """Held-out loss against parameters and the axes of training data that vary; None without two axes.

    Repetitions (seeds) share the mean number of examples kept, so that three seeds are not three amounts of data.
    """
    rows = [row for row in {m.cell.verifier: m.rows[0] for m in grid}.values() if row["held_out_loss"] is not None]
    axes = _training_axes(rows)
    if len(axes) < 2:
        return None
    loss = np.array([row["held_out_loss"] for row in rows], dtype=np.float64)
    spent = np.array([row["train_flops"] for row in rows], dtype=np.float64)
    return _fitted(f"held-out loss against {_listed(axes)}", axes, loss, [("training", spent, tuple(axes))])


def error_law(grid: Sequence[Measured], benchmark: str) -> Law | None:
    """1 - F1 on a benchmark against parameters, training data and votes together; None without two axes."""
    members = [m for m in grid if m.cell.votes.benchmark.name == benchmark]
    rows = [row for m in members for row in m.rows if row["f1"] is not None and row["f1"] < 1.0]
    axes = _training_axes(rows)
    if len({row["n_votes"] for row in rows}) > 1:
        axes["votes"] = np.array([row["n_votes"] for row in rows], dtype=np.float64)
    if len(axes) < 2:
        return None
    error = np.array([1.0 - row["f1"] for row in rows])
    judging = np.array([row["flops"] for row in rows], dtype=np.float64)
    training = np.array([row["train_flops"] for row in rows], dtype=np.float64)
    costs, of_judging = [("training and judging", training + judging, tuple(axes))], ("parameters", "votes")
    if {*of_judging} <= axes.keys():
        costs.append(("judging", judging, of_judging))
    found = _fitted(f"1 - F1 on {benchmark} against {_listed(axes)}", axes, error, costs)
    if found.law is None:
        return found
    quantities = found.quantities
    if len(costs) > 1:
        growth = shown(found.law.growth(*of_judging))
        quantities = *quantities, ("best parameters grow with FLOPs of judging to the power", growth)
    return replace(found, quantities=quantities, note=SHARED_VOTES)


def vote_laws(main: Measured) -> list[Law]:
    """The beta-binomial law of a cell's votes, apart for solutions with an error and without.

    A vote alone is right where the first error that it names is the label. The law gives what most of k such votes
    would name, beside the accuracy of the mean reward that was measured. A vote without a verdict is wrong, or none of
    the votes, by `evaluate.missing`.
    """
    curve, n_votes, (benchmark, seed) = main.curve, main.cell.votes.n_votes, main.cell.set_key
    first = curve.ks.index(1)
    right = np.rint(curve.right[:, first] * n_votes).astype(int)
    silent = np.rint(curve.missing[:, first] * n_votes).astype(int)
    votes = n_votes - (silent if curve.missing_as == "excluded" else 0 * silent)
    laws = []
    for kind, chosen in (("wrong", curve.labels >= 0), ("right", curve.labels < 0)):
        name = f"votes on {kind} solutions of {benchmark}, seed {seed}"
        chosen = chosen & (votes > 0)
        try:
            ids = curve.resamples.group[chosen].tolist()
            law = fit_vote_law(right[chosen], votes[chosen], ids)
        except UserError as error:
            laws.append(Law(name, refusal=str(error)))
            continue
        measured = float(curve.at(n_votes)[chosen].mean())
        laws.append(Law(name, tuple(_voted(law, n_votes, measured)), law.measured_coverage))
    return laws


def _voted(law: VoteLaw, n_votes: int, measured: float) -> list[tuple[str, str]]:
    misfit = float(np.abs(law.observed - law.predicted).max())
    return [
        ("a of the rate of right votes, Beta(a, b)", shown(law.a)),
        ("b", shown(law.b)),
        (f"accuracy of {n_votes} votes", f"{shown(law.majority_at(n_votes))}, measured {measured:.3f}"),
        ("accuracy of unlimited votes", shown(law.limit)),
        ("largest misfit of a share of solutions", f"{misfit:.3f}"),
    ]


def _fitted(
    name: str, axes: dict[str, np.ndarray], y: np.ndarray, costs: Sequence[tuple[str, np.ndarray, tuple[str, ...]]]
) -> Law:
    """The fit with exponents, residuals and decisions; with the reason where the grid cannot carry it.

    costs: what FLOPs are spent on, those of each point, and the axes that are chosen for them.
    """
    try:
        law = fit_power_sum(axes, y)
    except UserError as error:
        return Law(name, refusal=str(error))
    residual = np.abs(np.expm1(law.residuals()))
    quantities = [
        ("floor E", shown(law.floor)),
        *((f"exponent of {axis}", _exponent(law.exponent(axis))) for axis in law.axes),
        ("points", str(len(y))),
        ("root mean square residual", f"{float(np.sqrt((residual**2).mean())):.1%}"),
        ("largest residual", f"{float(residual.max()):.1%}"),
        ("largest compute held out", _held_out(axes, y)),
        *(decision for cost in costs for decision in _decisions(law, axes, *cost)),
    ]
    return Law(name, tuple(quantities), law.measured_coverage, law=law)


def _held_out(axes: dict[str, np.ndarray], y: np.ndarray) -> str:
    """How a law without the points of the largest product of all axes does on them."""
    product = np.prod(np.stack(list(axes.values())), axis=0)
    try:
        found = hold_out(axes, y, product, points=max(1, round(HELD_OUT_SHARE * len(y))))
    except UserError as error:
        return f"not done, {error}"
    inside, n = int(found.inside.sum()), len(found.rows)
    worst = float(np.abs(found.error).max())
    return f"off by at most {worst:.1%}, {inside} of {n} inside the 95 % prediction interval"


def _decisions(
    law: PowerSum, axes: dict[str, np.ndarray], spent_on: str, cost: np.ndarray, chosen: tuple[str, ...]
) -> list[tuple[str, str]]:
    """The best measured setting at budgets between the cheapest and the dearest, with its share of the resamples.

    `chosen`: the axes to choose on; the others are held at their largest.
    """
    held = [name for name in axes if name not in chosen]
    kept = np.all([axes[name] == axes[name].max() for name in held], axis=0) if held else slice(None)
    settings = np.stack([values[kept] for values in axes.values()], axis=1)
    candidates, of = np.unique(settings, axis=0, return_inverse=True)
    count = np.bincount(of.ravel())
    price = np.bincount(of.ravel(), cost[kept]) / count  # the mean over seeds
    found = []
    for budget in np.geomspace(price.min(), price.max(), BUDGETS + 1)[1:]:
        columns = dict(zip(axes, candidates.T, strict=True))
        best = best_at_budget(law, columns, price, budget * (1 + 1e-9))
        named = ", ".join(
            f"{short(value)} {axis}" for axis, value in zip(axes, candidates[best.index], strict=True) if axis in chosen
        )
        share = f"{float(best.share[best.index]):.0%} of the resamples"
        found.append((f"best for {short(budget)}FLOPs of {spent_on}", f"{named} ({share})"))
    return found


def _training_axes(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Parameters and data of each row, as far as they vary."""
    axes = {"parameters": np.array([row["model_params"] for row in rows], dtype=np.float64)}
    for name, key in DATA_AXES.items():
        if all(key in row for row in rows):
            axes[name] = np.array([row[key] for row in rows], dtype=np.float64)
    axes = {name: values for name, values in axes.items() if len(np.unique(values)) > 1}
    if "examples" in axes:  # what was kept of them, the mean over seeds
        kept = np.array([row["train_examples_kept"] for row in rows], dtype=np.float64)
        _, of = np.unique(axes["examples"], return_inverse=True)
        axes["examples"] = (np.bincount(of, kept) / np.bincount(of))[of]
    return axes


def _exponent(x: Interval) -> str:
    at_bound = x.high > STEEPEST - 1e-6
    return shown(x) + (f" (no steeper than {STEEPEST:g} is tried)" if at_bound else "")


def _listed(axes: dict[str, np.ndarray]) -> str:
    *first, last = axes
    return f"{', '.join(first)} and {last}"
