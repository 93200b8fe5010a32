"""What a sweep shows: the comparisons it was made for, each paired and with its interval, the fits, best-of-N."""

from dataclasses import dataclass

from jprm.evaluate import BestOfNAccuracy, trivial_baselines
from jprm.experiments.sweep.axis_comparisons import AxisComparisons, compare_along_axes
from jprm.experiments.sweep.cells import Cell, Sweep
from jprm.experiments.sweep.comparisons import Comparison, comparisons_of
from jprm.experiments.sweep.equal_compute import Spent, Stopped, candidates_at_equal_compute, stopped_early
from jprm.experiments.sweep.laws import Law, comparable, error_law, loss_law, vote_laws
from jprm.experiments.sweep.short_names import short_labels
from jprm.experiments.sweep.table import Measured, best_of_candidates
from jprm.jobs import Stages
from jprm.scaling import Fit, fit_power_law
from jprm.tasks.benchmark import is_by_answer, load_known


@dataclass(frozen=True)
class Findings:
    """Everything below the table.

    `vote_fits` are the laws of the grid's cells over votes, each under what differs between these cells.
    `choosing` holds best-of-N by cell, the main one first. `baselines` are F1 by benchmark of predictors that read
    nothing. `along_axes`: the points of the axes against one another.
    """

    comparisons: tuple[Comparison, ...]
    vote_fits: tuple[tuple[str, Fit], ...]
    data_fit: Fit | None
    size_fit: Fit | None
    choosing: tuple[tuple[Cell, BestOfNAccuracy], ...]
    baselines: dict[str, dict[str, float]]
    laws: tuple[Law, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    spent: Spent | None = None
    along_axes: AxisComparisons = AxisComparisons()

    @property
    def best_of_n(self) -> BestOfNAccuracy | None:
        """Choosing among candidates with the main verifier."""
        return self.choosing[0][1] if self.choosing else None

    def axis_fits(self) -> list[tuple[str, Fit]]:
        """The laws of held-out loss in one axis, as far as it varies."""
        fits = (
            ("held-out loss against training examples", self.data_fit),
            ("held-out loss against parameters", self.size_fit),
        )
        return [(name, fit) for name, fit in fits if fit]


def find(sweep: Sweep, stages: Stages, measured: list[Measured]) -> Findings:
    """Compares the measured cells, and fits the laws to them; reads what is finished of the votes on candidates."""
    grid = [m for m in measured if not m.cell.variant]
    main = {m.cell.set_key: m for m in reversed(grid)}  # the main cell of a seed is its first
    mains = list(reversed(main.values()))
    return Findings(
        tuple(comparisons_of(sweep, measured, mains)),
        tuple(zip(short_labels([m.cell for m in grid]), (m.fit for m in grid), strict=True)),
        _fit(grid, "train_examples_kept"),
        _fit(grid, "model_params"),
        tuple((cell, best) for cell in sweep.choosing if (best := best_of_candidates(stages, cell))),
        _baselines(mains),
        tuple(_laws(grid, mains)),
        tuple(row for m in mains if not is_by_answer(m.stages[m.cell.votes.benchmark]) for row in stopped_early(m)),
        candidates_at_equal_compute(stages, sweep.candidates),
        compare_along_axes(sweep.config.axes, measured),
    )


def _laws(grid: list[Measured], main: list[Measured]) -> list[Law]:
    """The laws over several axes, and those of the main cells' votes."""
    benchmarks = dict.fromkeys(m.cell.votes.benchmark.name for m in main)
    grid = comparable(grid)
    found = [loss_law(grid), *(error_law(grid, name) for name in benchmarks)]
    return [law for law in found if law] + [law for m in main for law in vote_laws(m)]


def _fit(grid: list[Measured], axis: str) -> Fit | None:
    """Held-out loss of the verifier against an axis, where it varies; the other axes at their largest."""
    rows = {m.cell.verifier: m.rows[0] for m in grid if m.rows[0]["held_out_loss"] is not None}
    if not rows:
        return None
    other = "model_params" if axis == "train_examples_kept" else "train_examples"
    most = max(row[other] for row in rows.values())
    points = [(row[axis], row["held_out_loss"]) for row in rows.values() if row[other] == most]
    if len({x for x, _ in points}) < 2:
        return None
    return fit_power_law([x for x, _ in points], [y for _, y in points])


def _baselines(mains: list[Measured]) -> dict[str, dict[str, float]]:
    scores = {}
    for m in reversed(mains):
        benchmark = m.cell.votes.benchmark
        if is_by_answer(m.stages[benchmark]):
            continue  # they name steps
        items, labels = load_known(m.stages[benchmark])
        trivial = trivial_baselines(labels, [len(item.solution.steps) for item in items])
        scores[f"{benchmark.name} (seed {benchmark.seed})"] = {name: score.f1 for name, score in trivial.items()}
    return scores
