"""What a sweep shows: the comparisons it was made for, each paired and with its interval, the fits, best-of-N."""

from dataclasses import dataclass

from jprm.evaluate import BestOfNAccuracy, trivial_baselines
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.comparisons import Comparison, comparisons_of
from jprm.experiments.sweep.equal_compute import Spent, Stopped, stopped_early
from jprm.experiments.sweep.laws import Law, comparable, error_law, loss_law, vote_laws
from jprm.experiments.sweep.table import Measured
from jprm.scaling import Fit, fit_power_law
from jprm.tasks.benchmark import load_known

# Ways to choose among solutions: their names for readers, and in `jprm.evaluate.best_of_n`.
METHODS = {"pass@k": "pass", "verifier": "best", "weighted vote": "weighted", "majority": "majority"}


@dataclass(frozen=True)
class Findings:
    """Everything below the table.

    `baselines` are F1 by benchmark of predictors that read nothing; `main_names` those of the main cells, whose vote
    laws are printed.
    """

    comparisons: tuple[Comparison, ...]
    vote_fits: tuple[tuple[str, Fit], ...]
    data_fit: Fit | None
    size_fit: Fit | None
    best_of_n: BestOfNAccuracy | None
    baselines: dict[str, dict[str, float]]
    main_names: frozenset[str] = frozenset()
    laws: tuple[Law, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    spent: Spent | None = None

    def axis_fits(self) -> list[tuple[str, Fit]]:
        """The laws of held-out loss in one axis, as far as it varies."""
        fits = (
            ("held-out loss against training examples", self.data_fit),
            ("held-out loss against parameters", self.size_fit),
        )
        return [(name, fit) for name, fit in fits if fit]


def find(sweep: Sweep, measured: list[Measured], best: BestOfNAccuracy | None, spent: Spent | None = None) -> Findings:
    """Compares the measured cells, and fits the laws to them. `best` and `spent` are about the candidates."""
    grid = [m for m in measured if not m.cell.variant]
    main = {m.cell.set_key: m for m in reversed(grid)}  # the main cell of a seed is its first
    mains = list(reversed(main.values()))
    return Findings(
        tuple(comparisons_of(sweep, measured, mains)),
        tuple((m.cell.name, m.fit) for m in grid),
        _fit(grid, "train_examples_kept"),
        _fit(grid, "model_params"),
        best,
        _baselines(mains),
        frozenset(m.cell.name for m in mains),
        tuple(_laws(grid, mains)),
        tuple(row for m in mains for row in stopped_early(m)),
        spent,
    )


def _laws(grid: list[Measured], main: list[Measured]) -> list[Law]:
    """The laws over several axes, and those of the main cells' votes."""
    benchmarks = dict.fromkeys(m.cell.votes.benchmark.name for m in main)
    grid = comparable(grid)
    found = [loss_law(grid), *(error_law(grid, name) for name in benchmarks)]
    return [law for law in found if law] + [law for m in main for law in vote_laws(m)]


def _fit(grid: list[Measured], axis: str) -> Fit | None:
    """Held-out loss of the verifier against an axis, where it varies; the other axes at their largest."""
    rows = {m.cell.verifier: m.rows[0] for m in grid}
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
        items, labels = load_known(m.stages[benchmark])
        trivial = trivial_baselines(labels, [len(item.solution.steps) for item in items])
        scores[f"{benchmark.name} (seed {benchmark.seed})"] = {name: score.f1 for name, score in trivial.items()}
    return scores
