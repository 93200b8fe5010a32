"""What a sweep shows: the comparisons it was made for, each paired and with its interval, the fits, best-of-N."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jprm.evaluate import BestOfN, Difference, over_seeds, trivial_baselines
from jprm.pipeline.benchmark import Benchmark, load_items
from jprm.pipeline.cells import main_cells
from jprm.pipeline.lab import Lab
from jprm.pipeline.table import Measured
from jprm.scaling import Fit, fit_power_law

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
    """F1 of the main cell minus that of the cell with one thing changed, on the same solutions."""

    question: str
    votes: int
    benchmark: str
    difference: Difference

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.difference.low > 0:
            return "helps"
        return "harms" if self.difference.high < 0 else "not told apart"


@dataclass(frozen=True)
class Findings:
    """Everything below the table. `baselines` are F1 by benchmark of predictors that read nothing."""

    comparisons: tuple[Comparison, ...]
    vote_fits: tuple[tuple[str, Fit], ...]
    data_fit: Fit | None
    size_fit: Fit | None
    best_of_n: BestOfN | None
    baselines: dict[str, dict[str, float]]

    def lines(self) -> list[str]:
        """The findings as lines of text."""
        lines = []
        for benchmark, scores in self.baselines.items():
            shown = ", ".join(f"{name} {f1:.3f}" for name, f1 in scores.items())
            lines.append(f"F1 on {benchmark} without reading: {shown}")
        for c in self.comparisons:
            d = c.difference
            text = f"{c.question}, {c.votes} votes on {c.benchmark}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            p = "" if math.isnan(d.p) else f", p = {d.p:.3f}"
            lines.append(f"{text}{p}: {c.verdict}")
        for name, fit in self.vote_fits:
            lines.append(f"{name}: {fit}")
        lines += (
            [f"held-out loss against training examples, {self.data_fit}"] if self.data_fit else []
        )
        lines += [f"held-out loss against parameters, {self.size_fit}"] if self.size_fit else []
        if self.best_of_n:
            lines += best_of_n_lines(self.best_of_n)
        return lines


def find(lab: Lab, measured: list[Measured], best: BestOfN | None) -> Findings:
    """Compares, fits, sums up."""
    grid = [m for m in measured if not m.cell.variant]
    main = {
        m.cell.votes.benchmark: m for m in reversed(grid)
    }  # the main cell of a seed is its first
    comparisons = []
    for benchmark, m in reversed(main.items()):
        k = m.cell.votes.n_votes
        gain = m.curve.gain(k)
        comparisons.append(
            Comparison(f"{k} votes instead of one (seed {benchmark.seed})", k, benchmark.name, gain)
        )
    if not lab.config.axes:  # across points, other things than these differ, too
        comparisons += _along_the_grid(lab, grid, lab.config.verify.n_votes)
    stages = {m.lab.stage(m.cell.votes).key: m for m in grid}
    for m in measured:
        if m.cell.variant and (compared := _main_of(m, stages)):
            name, k = m.cell.votes.benchmark.name, m.cell.votes.n_votes
            gain = compared.gain_over(m, k)
            comparisons.append(Comparison(QUESTIONS[m.cell.variant], k, name, gain))
    return Findings(
        tuple(comparisons),
        tuple((m.cell.name, m.fit) for m in grid),
        _fit(grid, "train_examples_kept"),
        _fit(grid, "model_params"),
        best,
        _baselines(main),
    )


def _main_of(variant: Measured, stages: dict[str, Measured]) -> Measured | None:
    """The measured cell that a variant is compared with; None where that one failed."""
    for cell in main_cells(variant.cell.config):
        if cell.votes.benchmark == variant.cell.votes.benchmark:
            return stages.get(variant.lab.stage(cell.votes).key)
    return None


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
            gains = []
            for seed in config.seeds:
                at = Benchmark(name, seed)
                if any((*end, at) not in by_place for end in (first, second)):
                    continue  # one of the two failed
                gains.append(by_place[*second, at].gain_over(by_place[*first, at], k))
                comparisons.append(Comparison(f"{question} (seed {seed})", k, name, gains[-1]))
            if len(gains) > 1:
                mean = over_seeds([gain.value for gain in gains])
                whole = Difference(mean.value, mean.low, mean.high, math.nan)
                comparisons.append(Comparison(f"{question} ({len(gains)} seeds)", k, name, whole))
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


def _fit(grid: list[Measured], axis: str) -> Fit | None:
    """Held-out loss of the verifier against an axis, where it varies; the other axes at their largest."""
    rows = {m.lab.stage(m.cell.votes.verifier).key: m.rows[0] for m in grid}
    if not rows:
        return None
    other = "model_params" if axis == "train_examples_kept" else "train_examples"
    most = max(row[other] for row in rows.values())
    points = [(row[axis], row["held_out_loss"]) for row in rows.values() if row[other] == most]
    if len({x for x, _ in points}) < 2:
        return None
    return fit_power_law([x for x, _ in points], [y for _, y in points])


def _baselines(main: dict[Benchmark, Measured]) -> dict[str, dict[str, float]]:
    scores = {}
    for benchmark, m in main.items():
        solutions = [item.solution for item in load_items(m.lab.stage(benchmark))]
        known = [(s.first_error, len(s.steps)) for s in solutions if s.first_error is not None]
        trivial = trivial_baselines([label for label, _ in known], [steps for _, steps in known])
        scores[f"{benchmark.name} (seed {benchmark.seed})"] = {
            name: score.f1 for name, score in trivial.items()
        }
    return scores
