"""Computes every number of the table, with its interval over problems, for every number of votes k.

At k < n a number is that of the expected judgement over all k-subsets of the n stored votes (drawn
ones where there are too many; see `jprm.evaluate.estimators`): accuracies are means of P(right),
counts of a confusion table are expected counts.

    error_acc, correct_acc, f1      first error: exact index, none said, their harmonic mean
    average_f1                      of the subsets' f1, each counted alike: ProcessBench's average
    solution_*                      is there an error at all? f1 has right solutions as positives,
                                    negative_f1 erroneous ones; macro_f1 their mean; accuracy
    step_*                          the same of steps whose truth is known, where all are judged
    prm_score                       PRMBench's: macro_f1 of steps (of a category: mean of its classes)
    solution_auc, step_auc          ranking by the least, by each step's mean reward; at k = n only

A step is judged wrong where its mean reward is below 1/2; where a scorer's votes elect the first error, the numbers of
first errors and of solutions go by what most votes name. A step that no vote judged is judged neither
way, and a solution whose verdict needs it has none: by `missing` they are wrong in every number, or
left out of every number (`jprm.evaluate.missing`). So it is with solutions that were lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import (
    NO_VERDICT,
    SOME_ERROR,
    Interval,
    Missing,
    Resamples,
    auc_interval,
    counted,
    f1_interval,
    interval,
    majority_shares,
    measure_intervals,
    prm_scores,
    ranked,
    score,
    share_interval,
    subsets,
    verdict_shares,
)
from jprm.evaluate.confusion import FN, FP, TN, TP
from jprm.experiments.benchmark.judged import JudgedRow
from jprm.score import Voting
from jprm.ties import below, mean
from jprm.verify import first_error

OVERALL = "overall"
OF_SOLUTIONS = ("f1", "negative_f1", "macro_f1", "accuracy")
OF_STEPS = (*OF_SOLUTIONS, "precision", "recall", "negative_precision", "negative_recall")


@dataclass(frozen=True)
class Score:
    """The numbers of one group of solutions at k votes.

    missing_share: of its solutions, those without a verdict; step_missing_share: of its steps of known
    truth those without a judgement, None where not all steps were judged.
    """

    group: str
    k: int
    n_items: int
    n_error: int
    n_problems: int
    missing_share: float
    step_missing_share: float | None
    measures: dict[str, Interval]


@dataclass(frozen=True)
class Arrays:
    """The expected judgements of n solutions at K numbers of votes.

    labels [n]; right, clean, flagged, missing [n, K]: P(the first error said is the true one, is none,
    is some step, there is no verdict), of which the last counts as `how` says.
    steps [n, K, 4], unjudged [n, K]: expected counts of steps, None where not all steps were judged.
    least [n], means: the lowest mean reward and all of them, for ranking; nan without a verdict.
    """

    how: Missing
    labels: np.ndarray
    right: np.ndarray
    clean: np.ndarray
    flagged: np.ndarray
    missing: np.ndarray
    steps: np.ndarray | None
    unjudged: np.ndarray
    least: np.ndarray
    means: tuple[np.ndarray, ...]


def arrays(
    solutions: Sequence[JudgedRow], ks: Sequence[int], steps: bool, how: Missing = "wrong", voting: Voting = "mean"
) -> Arrays:
    """Computes the expected judgements of all solutions; a lost solution has no verdict."""
    shares = {"mean": verdict_shares, "majority": majority_shares}[voting]
    labels = np.array([s.item.truth.first_error for s in solutions])
    right, clean, flagged, missing = np.zeros((4, len(solutions), len(ks)))
    counts, unjudged = np.zeros((len(solutions), len(ks), 4)), np.zeros((len(solutions), len(ks)))
    means, least = [], np.full(len(solutions), np.nan)
    for i, solution in enumerate(solutions):
        truth, rewards = solution.item.truth, solution.rewards
        if rewards is None:
            rewards = np.full((len(truth.steps), max(ks)), np.nan)
        outcomes = labels[i], -1, SOME_ERROR, NO_VERDICT
        right[i], clean[i], flagged[i], missing[i] = shares(rewards, outcomes, ks)[0]
        if steps:
            for column, k in enumerate(ks):
                table = _step_counts(rewards, truth.labels, k, how)
                counts[i, column], unjudged[i, column] = table[:4], table[4]
        means.append(_means(rewards))
        if first_error([None if np.isnan(m) else m for m in means[-1]]) is not None:
            least[i] = np.nanmin(means[-1])
    table = counts if steps else None
    return Arrays(how, labels, right, clean, flagged, missing, table, unjudged, least, tuple(means))


def _means(rewards: np.ndarray) -> np.ndarray:
    judged = (step[~np.isnan(step)] for step in rewards)
    return np.array([mean(step) if len(step) else np.nan for step in judged])


def _step_counts(rewards: np.ndarray, labels: Sequence[bool | None], k: int, how: Missing) -> np.ndarray:
    """Returns the expected (TP, FP, TN, FN, unjudged) [5] of the steps of one solution; `how` counts the last."""
    members, _ = subsets(rewards.shape[1], k)
    judged = ~np.isnan(rewards)
    sums = members @ np.where(judged, rewards, 0.0).T
    counts = members @ judged.T
    rejected = below(sums, 0.5 * counts)
    flawed, unjudged = rejected.mean(axis=0), (counts == 0).mean(axis=0)
    right = ((counts > 0) & ~rejected).mean(axis=0)
    wrong = unjudged * (how == "wrong")
    is_right = np.array([label is True for label in labels])
    is_flawed = np.array([label is False for label in labels])
    return np.array(
        [
            right[is_right].sum(),
            (right + wrong)[is_flawed].sum(),
            flawed[is_flawed].sum(),
            (flawed + wrong)[is_right].sum(),
            unjudged[is_right | is_flawed].sum(),
        ]
    )


def scores(
    solutions: Sequence[JudgedRow], n: int, full: bool, missing: Missing = "wrong", voting: Voting = "mean"
) -> list[Score]:
    """Scores all solutions, then each subset, then each category, in the file's order, at all k from 1 to n.

    full: every step is judged, so steps can be scored. missing: what no verdict counts. voting: how votes name a first
    error (see `jprm.score.Scorer`).
    """
    ks = range(1, n + 1)
    found = arrays(solutions, ks, full, missing, voting)
    subset = [s.item.truth.subset for s in solutions]
    names = [name for name in dict.fromkeys(subset) if name]
    groups = {OVERALL: np.arange(len(solutions))}
    if len(names) > 1 or names != [""]:
        groups |= {name: np.flatnonzero(np.array(subset) == name) for name in names}
    rows = [_score(solutions, found, rows_of, name, k, n) for name, rows_of in groups.items() for k in ks]
    if len(names) > 1:
        _add_average(rows, found, [groups[name] for name in names], solutions)
    categories = [s.item.truth.category for s in solutions]
    if full and any(categories):
        rows += _categories(solutions, found, subset, categories, n)
    return rows


def _problems(solutions: Sequence[JudgedRow], rows: np.ndarray) -> list[str]:
    return [solutions[i].item.problem.id for i in rows]


def _score(solutions: Sequence[JudgedRow], found: Arrays, rows: np.ndarray, name: str, k: int, n: int) -> Score:
    problems = _problems(solutions, rows)
    resamples = Resamples.of(problems)
    labels = found.labels[rows]
    right, judged = found.right[rows, k - 1], _judged(found, rows, k)
    measures = _first_error(labels, right, judged, resamples)
    counts = np.zeros((len(rows), 4))
    clean, flagged = found.clean[rows, k - 1], found.flagged[rows, k - 1]
    wrong, erroneous = found.missing[rows, k - 1] * (found.how == "wrong"), labels >= 0
    counts[:, TP], counts[:, FN] = ~erroneous * clean, ~erroneous * (flagged + wrong)
    counts[:, FP], counts[:, TN] = erroneous * (clean + wrong), erroneous * flagged
    measures |= _named("solution", measure_intervals(counts, resamples), OF_SOLUTIONS)
    if found.steps is not None:
        steps = measure_intervals(found.steps[rows, k - 1], resamples)
        measures |= _named("step", steps, OF_STEPS) | {"prm_score": steps["prm_score"]}
    if k == n:
        measures |= _areas(solutions, found, rows)
    shares = _missing_shares(solutions, found, rows, k)
    return Score(name, k, len(rows), int(erroneous.sum()), len(set(problems)), *shares, measures)


def _missing_shares(
    solutions: Sequence[JudgedRow], found: Arrays, rows: np.ndarray, k: int
) -> tuple[float, float | None]:
    """Returns the share of solutions without a verdict, and of steps of known truth without a judgement."""
    share = float(found.missing[rows, k - 1].mean())
    if found.steps is None:
        return share, None
    known = sum(x is not None for i in rows for x in solutions[i].item.truth.labels)
    return share, float(found.unjudged[rows, k - 1].sum()) / known if known else 0.0


def _correctness(found: Arrays, rows: np.ndarray, k: int) -> np.ndarray:
    right, missing = found.right[rows, k - 1], found.missing[rows, k - 1]
    return counted(right, missing, found.how, found.labels[rows])


def _judged(found: Arrays, rows: np.ndarray, k: int) -> np.ndarray | None:
    """Returns how much of each solution counts; None where all of them count in full."""
    missing = found.missing[rows, k - 1]
    return 1.0 - missing if found.how == "excluded" and missing.any() else None


def _first_error(
    labels: np.ndarray, right: np.ndarray, judged: np.ndarray | None, resamples: Resamples
) -> dict[str, Interval]:
    is_error, whole = labels >= 0, 1.0 if judged is None else judged
    return {
        "error_acc": share_interval(right * is_error, whole * is_error, resamples),
        "correct_acc": share_interval(right * ~is_error, whole * ~is_error, resamples),
        "f1": f1_interval(labels, right, resamples, judged=judged),
    }


def _named(prefix: str, found: dict[str, Interval], names: Sequence[str]) -> dict[str, Interval]:
    return {f"{prefix}_{name}": found[name] for name in names}


def _areas(solutions: Sequence[JudgedRow], found: Arrays, rows: np.ndarray) -> dict[str, Interval]:
    areas = {}
    clean, least, kept = ranked(found.labels[rows] < 0, found.least[rows], found.how)
    if kept.size:
        resamples = Resamples.of(_problems(solutions, rows[kept]))
        areas["solution_auc"] = auc_interval(clean, least, resamples)
    if found.steps is None:
        return areas
    triples = [
        (solutions[i].item.problem.id, label, reward)
        for i in rows
        for label, reward in zip(solutions[i].item.truth.labels, found.means[i], strict=True)
        if label is not None
    ]
    labels, means, kept = ranked([x[1] for x in triples], [x[2] for x in triples], found.how)
    if kept.size:
        resamples = Resamples.of([triples[i][0] for i in kept])
        areas["step_auc"] = auc_interval(labels, means, resamples)
    return areas


def _add_average(
    rows: list[Score], found: Arrays, groups: Sequence[np.ndarray], solutions: Sequence[JudgedRow]
) -> None:
    """Puts the unweighted mean of the subsets' F1 into the overall rows.

    Problems are resampled within each subset, with draws of its own.
    """
    parts = [(group, Resamples.of(_problems(solutions, group), seed=seed)) for seed, group in enumerate(groups)]
    for row in rows:
        if row.group != OVERALL:
            continue
        values, samples = [], []
        for group, resamples in parts:
            labels, right = found.labels[group], _correctness(found, group, row.k)
            values.append(score(labels, right).f1)
            judged = _judged(found, group, row.k)
            at = found.right[group, row.k - 1]
            samples.append(resamples.f1(labels, at, judged)[:, 0])
        average = interval(float(np.mean(values)), np.mean(samples, axis=0))
        row.measures["average_f1"] = average


def _categories(
    solutions: Sequence[JudgedRow], found: Arrays, classes: Sequence[str], categories: Sequence[str], n: int
) -> list[Score]:
    """Scores each category of PRMBench by its PRM-Score, the mean of its classes."""
    assert found.steps is not None
    resamples = Resamples.of(_problems(solutions, np.arange(len(solutions))))
    rows = []
    for k in range(1, n + 1):
        by_name = prm_scores(found.steps[:, k - 1], classes, categories, resamples)
        for category in dict.fromkeys(categories):
            members = np.flatnonzero(np.array(categories) == category)
            rows.append(
                Score(
                    f"category {category}",
                    k,
                    len(members),
                    int((found.labels[members] >= 0).sum()),
                    len(set(_problems(solutions, members))),
                    *_missing_shares(solutions, found, members, k),
                    {"prm_score": by_name[category]},
                )
            )
    return rows
