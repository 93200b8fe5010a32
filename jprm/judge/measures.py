"""Every number of the table, with its interval over problems, for every number of votes k.

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

A step is judged wrong where its mean reward is below 1/2. A solution without any judgement is wrong
in every number but the areas, which leave it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jprm.evaluate import (
    Interval,
    Resamples,
    auc_interval,
    f1_interval,
    interval,
    measure_intervals,
    prm_scores,
    score,
    share_interval,
    subsets,
)
from jprm.evaluate.confusion import FN, FP, TN, TP
from jprm.judge.judged import Judged
from jprm.scaling.vote_curve import expected_correct

OVERALL = "overall"
OF_SOLUTIONS = ("f1", "negative_f1", "macro_f1", "accuracy")
OF_STEPS = (*OF_SOLUTIONS, "precision", "recall", "negative_precision", "negative_recall")


@dataclass(frozen=True)
class Score:
    """The numbers of one group of solutions at k votes."""

    group: str
    k: int
    n_items: int
    n_error: int
    n_problems: int
    measures: dict[str, Interval]


@dataclass(frozen=True)
class Arrays:
    """Expected judgements of n solutions at K numbers of votes.

    labels [n]; right, clean [n, K]: P(the first error said is the true one, is none).
    steps [n, K, 4]: expected counts of steps, None where not all steps were judged.
    least [n], rewards: the lowest mean reward and all of them, for ranking; nan without any.
    """

    labels: np.ndarray
    right: np.ndarray
    clean: np.ndarray
    steps: np.ndarray | None
    least: np.ndarray
    means: tuple[np.ndarray, ...]


def arrays(solutions: Sequence[Judged], ks: Sequence[int], steps: bool) -> Arrays:
    """The expected judgements of all solutions. A lost solution is right with probability 0."""
    labels = np.array([s.item.truth.first_error for s in solutions])
    right, clean = np.zeros((2, len(solutions), len(ks)))
    counts = np.zeros((len(solutions), len(ks), 4))
    means = []
    for i, solution in enumerate(solutions):
        truth = solution.item.truth
        if solution.rewards is None:
            clean[i] = labels[i] >= 0  # not right, in either class
            counts[i, :, FN] = sum(label is True for label in truth.labels)
            counts[i, :, FP] = sum(label is False for label in truth.labels)
            means.append(np.full(len(truth.steps), np.nan))
            continue
        right[i] = expected_correct(solution.rewards, labels[i], ks)[0]
        clean[i] = right[i] if labels[i] < 0 else expected_correct(solution.rewards, -1, ks)[0]
        if steps:
            counts[i] = [_step_counts(solution.rewards, truth.labels, k) for k in ks]
        means.append(_means(solution.rewards))
    least = np.array([np.nan if np.isnan(m).all() else np.nanmin(m) for m in means])
    return Arrays(labels, right, clean, counts if steps else None, least, tuple(means))


def _means(rewards: np.ndarray) -> np.ndarray:
    judged = ~np.isnan(rewards)
    sums, counts = np.where(judged, rewards, 0.0).sum(axis=1), judged.sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _step_counts(rewards: np.ndarray, labels: Sequence[bool | None], k: int) -> np.ndarray:
    """Expected (TP, FP, TN, FN) of the steps of one solution; a step that nobody judged is wrong."""
    members, _ = subsets(rewards.shape[1], k)
    judged = ~np.isnan(rewards)
    sums = members @ np.where(judged, rewards, 0.0).T
    counts = members @ judged.T
    flawed = (sums < 0.5 * counts).mean(axis=0)
    right = ((sums >= 0.5 * counts) & (counts > 0)).mean(axis=0)
    is_right = np.array([label is True for label in labels])
    is_flawed = np.array([label is False for label in labels])
    found = np.zeros(4)
    found[TP], found[FN] = right[is_right].sum(), (1 - right[is_right]).sum()
    found[TN], found[FP] = flawed[is_flawed].sum(), (1 - flawed[is_flawed]).sum()
    return found


def scores(solutions: Sequence[Judged], n: int, full: bool) -> list[Score]:
    """All groups at all k from 1 to n: overall, then subsets, then categories, in the file's order.

    full: every step is judged, so steps can be scored.
    """
    ks = range(1, n + 1)
    found = arrays(solutions, ks, full)
    subset = [s.item.truth.subset for s in solutions]
    names = [name for name in dict.fromkeys(subset) if name]
    groups = {OVERALL: np.arange(len(solutions))}
    if len(names) > 1 or names != [""]:
        groups |= {name: np.flatnonzero(np.array(subset) == name) for name in names}
    rows = [
        _score(solutions, found, rows_of, name, k, n)
        for name, rows_of in groups.items()
        for k in ks
    ]
    if len(names) > 1:
        _add_average(rows, found, [groups[name] for name in names], solutions)
    categories = [s.item.truth.category for s in solutions]
    if full and any(categories):
        rows += _categories(solutions, found, subset, categories, n)
    return rows


def _problems(solutions: Sequence[Judged], rows: np.ndarray) -> list[str]:
    return [solutions[i].item.problem.id for i in rows]


def _score(
    solutions: Sequence[Judged], found: Arrays, rows: np.ndarray, name: str, k: int, n: int
) -> Score:
    problems = _problems(solutions, rows)
    resamples = Resamples.of(problems)
    labels, right = found.labels[rows], found.right[rows, k - 1]
    measures = _first_error(labels, right, resamples)
    counts = np.zeros((len(rows), 4))
    clean, erroneous = found.clean[rows, k - 1], labels >= 0
    counts[:, TP], counts[:, FN] = ~erroneous * clean, ~erroneous * (1 - clean)
    counts[:, FP], counts[:, TN] = erroneous * clean, erroneous * (1 - clean)
    measures |= _named("solution", measure_intervals(counts, resamples), OF_SOLUTIONS)
    if found.steps is not None:
        steps = measure_intervals(found.steps[rows, k - 1], resamples)
        measures |= _named("step", steps, OF_STEPS) | {"prm_score": steps["prm_score"]}
    if k == n:
        measures |= _areas(solutions, found, rows)
    return Score(name, k, len(rows), int(erroneous.sum()), len(set(problems)), measures)


def _first_error(
    labels: np.ndarray, right: np.ndarray, resamples: Resamples
) -> dict[str, Interval]:
    is_error = labels >= 0
    return {
        "error_acc": share_interval(right * is_error, is_error, resamples),
        "correct_acc": share_interval(right * ~is_error, ~is_error, resamples),
        "f1": f1_interval(labels, right, resamples),
    }


def _named(prefix: str, found: dict[str, Interval], names: Sequence[str]) -> dict[str, Interval]:
    return {f"{prefix}_{name}": found[name] for name in names}


def _areas(solutions: Sequence[Judged], found: Arrays, rows: np.ndarray) -> dict[str, Interval]:
    areas = {}
    ranked = [i for i in rows if not np.isnan(found.least[i])]
    if ranked:
        resamples = Resamples.of(_problems(solutions, np.array(ranked)))
        clean = found.labels[ranked] < 0
        areas["solution_auc"] = auc_interval(clean, found.least[ranked], resamples)
    if found.steps is None:
        return areas
    triples = [
        (solutions[i].item.problem.id, label, mean)
        for i in rows
        for label, mean in zip(solutions[i].item.truth.labels, found.means[i], strict=True)
        if label is not None and not np.isnan(mean)
    ]
    if triples:
        problems, labels, means = zip(*triples, strict=True)
        areas["step_auc"] = auc_interval(labels, means, Resamples.of(problems))
    return areas


def _add_average(
    rows: list[Score], found: Arrays, groups: Sequence[np.ndarray], solutions: Sequence[Judged]
) -> None:
    """Puts the unweighted mean of the subsets' F1 into the overall rows.

    Problems are resampled within each subset, with draws of its own.
    """
    parts = [
        (group, Resamples.of(_problems(solutions, group), seed=seed))
        for seed, group in enumerate(groups)
    ]
    for row in rows:
        if row.group != OVERALL:
            continue
        values, samples = [], []
        for group, resamples in parts:
            labels, right = found.labels[group], found.right[group, row.k - 1]
            values.append(score(labels, right).f1)
            samples.append(resamples.f1(labels, right)[:, 0])
        average = interval(float(np.mean(values)), np.mean(samples, axis=0))
        row.measures["average_f1"] = average


def _categories(
    solutions: Sequence[Judged],
    found: Arrays,
    classes: Sequence[str],
    categories: Sequence[str],
    n: int,
) -> list[Score]:
    """PRM-Score of each category of PRMBench: the mean of its classes."""
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
                    {"prm_score": by_name[category]},
                )
            )
    return rows
