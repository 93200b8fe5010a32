"""The comparisons that a sweep was made for: F1 of two cells on the same solutions, with interval, test and power."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import (
    Difference,
    Interval,
    Paired,
    Resamples,
    SeedSpread,
    compare,
    gap_samples,
    interval,
    score,
    seed_spread,
)
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.config import name_of_set
from jprm.experiments.sweep.table import Measured
from jprm.jobs import Stage
from jprm.tasks.benchmark import load_known
from jprm.tasks.votes import Votes

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


@dataclass(frozen=True)
class Comparison:
    """F1 of one cell minus that of another, such as the main cell and its variant, on the same solutions.

    `spread` of several seeds: the difference is then their mean, with an interval over seeds and problems. `sides`:
    what the two cells are called, where neither is the main one.
    """

    question: str
    votes: int
    benchmark: str
    difference: Difference
    paired: Paired | None = None
    spread: SeedSpread | None = None
    sides: tuple[str, str] | None = None

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if self.sides and self.is_told_apart:
            side = self.sides[self.difference.high < 0]
            return f"{side} {'are' if side.endswith('votes') else 'is'} better"
        if self.difference.low > 0:
            return "helps"
        return "harms" if self.difference.high < 0 else "not told apart"


def comparisons_of(sweep: Sweep, measured: list[Measured], mains: list[Measured]) -> list[Comparison]:
    """Votes against one vote, the ends of the grid against each other, the main cell against its variants.

    `mains` are the main cell of each seed and benchmark.
    """
    grid = [m for m in measured if not m.cell.variant]
    comparisons = []
    for m in mains:
        votes = m.cell.votes_asked
        if votes > 1:
            question = f"{votes} votes instead of one (seed {m.cell.verifier.seed})"
            comparisons.append(compared(question, m, m, votes, 1))
    if not sweep.config.axes:  # across points, other things than these differ, too
        comparisons += _along_the_grid(sweep, grid, sweep.main.votes_asked)
    by_votes = {m.cell.votes: m for m in grid}
    for m in measured:
        if m.cell.variant and (main := _main_of(sweep, m, by_votes)):
            k = m.cell.votes_asked
            comparisons.append(compared(QUESTIONS[m.cell.variant], main, m, k, k))
    return comparisons


def _main_of(sweep: Sweep, variant: Measured, by_votes: dict[Votes, Measured]) -> Measured | None:
    """The measured cell that a variant is compared with; None where that one failed."""
    mains = (cell.votes for cell in sweep.main_cells(variant.cell.config))
    return next((by_votes.get(v) for v in mains if v.benchmark == variant.cell.votes.benchmark), None)


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
    2b^2 / (a + b)^2 and 2a^2 / (a + b)^2; an item moves its accuracy by
    its distance from it over the share of its kind.
    """
    at = score(labels, correct)
    a, b = at.error_acc, at.correct_acc
    is_error = np.asarray(labels) >= 0
    both = (a + b) ** 2 or 1.0
    share = is_error.mean()
    slope = np.where(is_error, 2 * b * b / both / share, 2 * a * a / both / (1 - share))
    return at.f1 + slope * (correct - np.where(is_error, a, b))


def p_value(p: float) -> str:
    """A p-value for readers: "< 0.001", "0.508"; "-" of what cannot be tested."""
    if math.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seeds_and_problems(spread: SeedSpread) -> str:
    """Both sources of the spread of a mean over seeds, apart."""
    sd = spread.seed_sd
    return f"seeds differ by sd {sd}, problems alone by se {spread.problem_se:.3f}"


def compared(question: str, second: Measured, first: Measured, k: int, first_k: int) -> Comparison:
    """F1 of `second` at `k` votes against that of `first` at `first_k`, which judged the same solutions."""
    paired = paired_gain(second, first, k, first_k)
    return Comparison(question, k, second.cell.votes.benchmark.name, paired.difference, paired)


def compared_over_seeds(question: str, pairs: list[tuple[Measured, Measured]], k: int, first_k: int) -> Comparison:
    """The mean over the seeds of the gain of each second, at `k` votes, over its first, at `first_k`."""
    gains, ids = [], []
    for second, first in pairs:
        labels = second.curve.labels
        gain = linearised(labels, second.curve.at(k)) - linearised(labels, first.curve.at(first_k))
        gains.append(gain)
        ids.append(_problem_ids(second.stages[second.cell.votes.benchmark]))
    spread = seed_spread(gains, ids)
    mean, problems = spread.mean, _over_problems(pairs, k, first_k, spread)
    low, high = np.fmin(mean.low, problems.low), np.fmax(mean.high, problems.high)
    whole = Difference(mean.value, float(low), float(high), math.nan)
    name = pairs[0][0].cell.votes.benchmark.name
    return Comparison(question, k, name, whole, spread=spread)


@functools.lru_cache(maxsize=32)
def _problem_ids(stage: Stage) -> list[str]:
    """The problem of each solution of a finished set; read once for all comparisons on it."""
    items, _ = load_known(stage)
    return [item.problem.id for item in items]


def _over_problems(pairs: list[tuple[Measured, Measured]], k: int, first_k: int, spread: SeedSpread) -> Interval:
    """The same mean with the problems as the only source of chance: what new seeds can but widen.

    Seeds that hardly differ, as where all is right, have a variance that tells nothing of this. Seeds
    with problems of their own have resamples of their own.
    """
    samples = []
    for seed, (second, first) in enumerate(pairs):
        ids = second.curve.resamples.group.tolist()
        resamples = Resamples.of(ids, seed=0 if spread.crossed else seed)
        one, two = first.curve.at(first_k), second.curve.at(k)
        samples.append(gap_samples(one, two, resamples, second.curve.labels))
    return interval(spread.mean.value, np.mean(samples, axis=0))


def _along_the_grid(sweep: Sweep, grid: list[Measured], k: int) -> list[Comparison]:
    """The main cell against the other end of the sizes, and of the examples: per seed, and over the seeds."""
    config = sweep.config.grid
    by_place = {(m.cell.verifier.size, m.cell.verifier.examples, *m.cell.set_key): m for m in grid}
    (main_size, main_examples), (size, examples), axes = config.main, config.other_end, []
    if size != main_size:
        axes.append((f"{main_size} instead of {size}", (size, main_examples), config.main))
    if examples != main_examples:
        axes.append((f"{main_examples} examples instead of {examples}", (main_size, examples), config.main))
    comparisons = []
    for question, first, second in axes:
        for name in map(name_of_set, sweep.config.evaluate.benchmarks):
            pairs: list[tuple[Measured, Measured]] = []
            for seed in config.seeds:
                if any((*end, name, seed) not in by_place for end in (first, second)):
                    continue  # one of the two failed
                pairs.append((by_place[*second, name, seed], by_place[*first, name, seed]))
                comparisons.append(compared(f"{question} (seed {seed})", *pairs[-1], k, k))
            if len(pairs) > 1:
                seeds = f"{question} ({len(pairs)} seeds)"
                comparisons.append(compared_over_seeds(seeds, pairs, k, k))
    return comparisons
