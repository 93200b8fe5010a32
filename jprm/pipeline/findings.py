"""What a sweep shows: the comparisons it was made for, each paired and with its interval, the fits, best-of-N."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import (
    BestOfN,
    Difference,
    Paired,
    SeedSpread,
    compare,
    score,
    seed_spread,
    trivial_baselines,
)
from jprm.pipeline.benchmark import Benchmark, load_items
from jprm.pipeline.lab import Lab
from jprm.pipeline.laws import Law, error_law, loss_law, vote_laws
from jprm.pipeline.spending import Spent, Stopped, stopped_early
from jprm.pipeline.table import Measured
from jprm.records import Solution
from jprm.scaling import Fit, fit_power_law, fit_votes

QUESTIONS = {
    "invented": "executed code instead of invented output",
    "code": "analysis and code instead of code alone",
    "analysis": "analysis and code instead of analysis alone",
    "direct": "a rationale instead of a direct Yes or No",
    "hard": "relative progress instead of hard labels",
    "difference": "relative progress instead of differences",
    "unfiltered": "the consensus filter instead of none",
    "fork": "chain instead of fork",
}


# Ways to choose among solutions: their names for readers, and in `jprm.evaluate.best_of_n`.
METHODS = {
    "pass@k": "pass",
    "verifier": "best",
    "weighted vote": "weighted",
    "majority": "majority",
}


@dataclass(frozen=True)
class Comparison:
    """F1 of the main cell minus that of the cell with one thing changed, on the same solutions.

    `spread` of several seeds: the difference is then their mean, with an interval over seeds and problems.
    """

    question: str
    votes: int
    benchmark: str
    difference: Difference
    paired: Paired | None = None
    spread: SeedSpread | None = None

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.difference.low > 0:
            return "helps"
        return "harms" if self.difference.high < 0 else "not told apart"

    @property
    def finding(self) -> str:
        """The verdict; where nothing was found, what could have been."""
        if self.verdict == "not told apart" and self.paired and self.paired.detectable > 0:
            return f"{self.verdict} (detectable: {self.paired.detectable:.3f})"
        return self.verdict

    def __str__(self) -> str:
        d = self.difference
        text = f"{self.question}, {self.votes} votes on {self.benchmark}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        if self.paired and not math.isnan(self.paired.permutation_p):
            text += f", permutation {p_value(self.paired.permutation_p)}"
        if self.spread:
            text += f", {seeds_and_problems(self.spread)}"
        return f"{text}: {self.finding}"


class CoverageNotes:
    """The measured coverage of intervals, said once for all that share it: marked (a), (b), ... where they stand."""

    def __init__(self):
        self._said: dict[str, str] = {}

    def mark(self, coverage: str) -> str:
        """What stands behind an interval; nothing where there is none."""
        if not coverage:
            return ""
        return f" ({self._said.setdefault(coverage, chr(ord('a') + len(self._said)))})"

    def lines(self) -> list[str]:
        """What the marks say."""
        return [f"({mark}) measured: {coverage}" for coverage, mark in self._said.items()]


@dataclass(frozen=True)
class Findings:
    """Everything below the table. `baselines` are F1 by benchmark of predictors that read nothing."""

    comparisons: tuple[Comparison, ...]
    vote_fits: tuple[tuple[str, Fit], ...]
    data_fit: Fit | None
    size_fit: Fit | None
    best_of_n: BestOfN | None
    baselines: dict[str, dict[str, float]]
    laws: tuple[Law, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    spent: Spent | None = None

    def lines(self) -> list[str]:
        """The findings as lines of text."""
        lines = []
        for benchmark, scores in self.baselines.items():
            shown = ", ".join(f"{name} {f1:.3f}" for name, f1 in scores.items())
            lines.append(f"F1 on {benchmark} without reading: {shown}")
        lines += map(str, self.comparisons)
        lines += map(str, self.stopped)
        notes = CoverageNotes()
        lines += [f"{name}: {fit}{notes.mark(fit.measured_coverage)}" for name, fit in self.vote_fits]
        lines += [
            f"{name}, {fit}{notes.mark(fit.measured_coverage)}" for name, fit in self.axis_fits()
        ]
        lines += [f"{law}{notes.mark(law.coverage)}" for law in self.laws]
        lines += notes.lines()
        if self.best_of_n:
            lines += best_of_n_lines(self.best_of_n)
        if self.spent:
            lines += self.spent.lines()
        return lines

    def axis_fits(self) -> list[tuple[str, Fit]]:
        """The laws of held-out loss in one axis, as far as it varies."""
        fits = (
            ("held-out loss against training examples", self.data_fit),
            ("held-out loss against parameters", self.size_fit),
        )
        return [(name, fit) for name, fit in fits if fit]


def find(
    lab: Lab, measured: list[Measured], best: BestOfN | None, spent: Spent | None = None
) -> Findings:
    """Compares, fits, sums up."""
    grid = [m for m in measured if not m.cell.variant]
    k = lab.config.verify.n_votes
    main = {
        m.cell.votes.benchmark: m for m in reversed(grid)
    }  # the main cell of a seed is its first
    comparisons = []
    for benchmark, m in reversed(main.items()):
        question = f"{k} votes instead of one (seed {benchmark.seed})"
        comparisons.append(_compared(question, m, m, k, 1))
    comparisons += _along_the_grid(lab, grid, k)
    for m in measured:
        if m.cell.variant:
            compared = main[m.cell.votes.benchmark]
            comparisons.append(_compared(QUESTIONS[m.cell.variant], compared, m, k, k))
    return Findings(
        tuple(comparisons),
        tuple((m.cell.name, fit_votes(m.curve.ks, _f1s(m), m.curve.samples())) for m in grid),
        _fit(grid, "train_examples_kept"),
        _fit(grid, "model_params"),
        best,
        _baselines(lab, main),
        tuple(_laws(grid, list(reversed(main.values())))),
        tuple(row for m in reversed(main.values()) for row in stopped_early(lab, m)),
        spent,
    )


def paired_gain(second: Measured, first: Measured, k: int, first_k: int) -> Paired:
    """F1 of `second` at `k` votes minus that of `first` at `first_k`; both judged the same solutions.

    All nan where the solutions are of one class, of which there is no F1.
    """
    curve = second.curve
    if len(set((curve.labels >= 0).tolist())) < 2:
        return Paired(Difference(*[math.nan] * 4), math.nan, None, math.nan)
    ids = curve.resamples.group.tolist()
    return compare(first.curve.at(first_k), curve.at(k), ids, labels=curve.labels)


def linearised(labels: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Values [n] of the items whose mean is their first-error F1, and whose spread is, to first order, that of F1.

    F1 = 2ab / (a + b) of the accuracies a on items with an error and b on those without has the derivatives
    2b^2 / (a + b)^2 and 2a^2 / (a + b)^2; an item moves its accuracy by its distance from it over the share of its kind.
    """
    at = score(labels, correct)
    a, b = at.error_acc, at.correct_acc
    is_error = np.asarray(labels) >= 0
    both = (a + b) ** 2 or 1.0
    share = is_error.mean()
    slope = np.where(is_error, 2 * b * b / both / share, 2 * a * a / both / (1 - share))
    return at.f1 + slope * (correct - np.where(is_error, a, b))


def p_value(p: float) -> str:
    """A p-value for readers."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def seeds_and_problems(spread: SeedSpread) -> str:
    """Both sources of the spread of a mean over seeds, apart."""
    sd = spread.seed_sd
    return (
        f"seeds differ by sd {sd.value:.3f} [{sd.low:.3f}, {sd.high:.3f}], problems alone by se "
        f"{spread.problem_se:.3f}"
    )


def _compared(question: str, second: Measured, first: Measured, k: int, first_k: int) -> Comparison:
    paired = paired_gain(second, first, k, first_k)
    return Comparison(question, k, second.cell.votes.benchmark.name, paired.difference, paired)


def _over_seeds(
    lab: Lab, question: str, pairs: list[tuple[Measured, Measured]], k: int
) -> Comparison:
    """The mean over the seeds of the gain of each second over its first."""
    gains, ids = [], []
    for second, first in pairs:
        labels = second.curve.labels
        gain = linearised(labels, second.curve.at(k)) - linearised(labels, first.curve.at(k))
        gains.append(gain)
        ids.append([problem for problem, _ in _known(lab, second.cell.votes.benchmark)])
    spread = seed_spread(gains, ids)
    mean = spread.mean
    whole = Difference(mean.value, mean.low, mean.high, math.nan)
    name = pairs[0][0].cell.votes.benchmark.name
    return Comparison(question, k, name, whole, spread=spread)


def _laws(grid: list[Measured], main: list[Measured]) -> list[Law]:
    """The laws over several axes, and those of the main cells' votes."""
    benchmarks = dict.fromkeys(m.cell.votes.benchmark.name for m in main)
    found = [loss_law(grid), *(error_law(grid, name) for name in benchmarks)]
    return [law for law in found if law] + [law for m in main for law in vote_laws(m)]


def _along_the_grid(lab: Lab, grid: list[Measured], k: int) -> list[Comparison]:
    """The largest model against the smallest, most examples against fewest: per seed, and over the seeds."""
    config = lab.config.grid
    by_place = {}
    for m in grid:
        verifier = m.cell.votes.verifier
        by_place[verifier.size, verifier.examples, m.cell.votes.benchmark] = m
    sizes, counts = list(config.sizes), list(config.train_examples)
    axes = []
    if len(sizes) > 1:
        ends = (sizes[0], counts[-1]), (sizes[-1], counts[-1])
        axes.append((f"{sizes[-1]} instead of {sizes[0]}", *ends))
    if len(counts) > 1:
        ends = (sizes[-1], counts[0]), (sizes[-1], counts[-1])
        axes.append((f"{counts[-1]} examples instead of {counts[0]}", *ends))
    comparisons = []
    for question, first, second in axes:
        for name in lab.config.evaluate.benchmarks:
            pairs = []
            for seed in config.seeds:
                at = Benchmark(name, seed)
                pairs.append((by_place[*second, at], by_place[*first, at]))
                comparisons.append(_compared(f"{question} (seed {seed})", *pairs[-1], k, k))
            if len(pairs) > 1:
                seeds = f"{question} ({len(pairs)} seeds)"
                comparisons.append(_over_seeds(lab, seeds, pairs, k))
    return comparisons


def best_of_n_lines(best: BestOfN) -> list[str]:
    """Accuracy of the chosen solution by method, and whether the verifier beats the majority."""
    lines = []
    for k in best.ks:
        shown = ", ".join(f"{name} {best.interval(method, k)}" for name, method in METHODS.items())
        lines.append(f"best of {k}: {shown}")
    k = best.ks[-1]
    gain = best.gain("best", "majority", k)
    verdict = (
        "beats" if gain.low > 0 else "loses against" if gain.high < 0 else "is not told apart from"
    )
    lines.append(
        f"best of {k}: the verifier {verdict} the majority vote: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    )
    return lines


def _f1s(m: Measured) -> list[float]:
    return [m.curve.score(k).f1 for k in m.curve.ks]


def _fit(grid: list[Measured], axis: str) -> Fit | None:
    """Held-out loss of the verifier against an axis, where it varies; the other axes at their largest."""
    rows = {m.cell.votes.verifier: m.rows[0] for m in grid}
    other = "model_params" if axis == "train_examples_kept" else "train_examples"
    most = max(row[other] for row in rows.values())
    points = [(row[axis], row["held_out_loss"]) for row in rows.values() if row[other] == most]
    if len({x for x, _ in points}) < 2:
        return None
    return fit_power_law([x for x, _ in points], [y for _, y in points])


def _baselines(lab: Lab, main) -> dict[str, dict[str, float]]:
    scores = {}
    for benchmark in main:
        solutions = [solution for _, solution in _known(lab, benchmark)]
        trivial = trivial_baselines(
            [s.first_error for s in solutions],  # type: ignore[misc]
            [len(s.steps) for s in solutions],
        )
        scores[f"{benchmark.name} (seed {benchmark.seed})"] = {
            name: score.f1 for name, score in trivial.items()
        }
    return scores


def _known(lab: Lab, benchmark: Benchmark) -> list[tuple[str, Solution]]:
    """The solutions whose first error is known, with the id of their problem, in the order of all curves."""
    items = load_items(lab.stage(benchmark))
    return [(i.problem.id, i.solution) for i in items if i.solution.first_error is not None]
