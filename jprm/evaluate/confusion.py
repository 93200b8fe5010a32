"""Right and flawed judged against the truth: PRM-Score, macro F1 and binary F1.

One table serves three published measures. Over the steps of PRMBench the mean of F1 (right steps as positives) and
negative F1 (flawed ones) is the PRM-Score; over MR-MATH's steps or solutions it is the macro F1; over whole solutions
(has an error or not, wherever) the F1s are the binary ones that some papers print for ProcessBench beside or instead of
the first-error F1.

Invariant: a judgement of None is wrong, whatever the truth; steps of unknown truth count nowhere.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from jprm.errors import UserError
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.uncertainty import Interval, interval

Labels = Sequence[bool | None]
# The columns of a table of counts [..., 4]: a right step judged right, a flawed one judged right,
# a flawed one judged flawed, a right one judged flawed (PRMBench's naming; positive is right).
TP, FP, TN, FN = range(4)


def confusion(labels: Sequence[Labels], judgements: Sequence[Labels]) -> np.ndarray:
    """Counts (TP, FP, TN, FN) [n, 4] for each solution from the labels and the judgements of its steps.

    True is right, False flawed. Raises UserError where lengths differ.
    """
    if len(labels) != len(judgements):
        raise UserError(f"{len(labels)} solutions but {len(judgements)} judgements of solutions")
    counts = np.zeros((len(labels), 4))
    for index, (truth, judged) in enumerate(zip(labels, judgements, strict=True)):
        if len(truth) != len(judged):
            raise UserError(f"solution {index}: {len(truth)} steps but {len(judged)} judgements")
        for label, judgement in zip(truth, judged, strict=True):
            if label is True:
                counts[index, TP if judgement is True else FN] += 1
            elif label is False:
                counts[index, TN if judgement is False else FP] += 1
    return counts


def measure(counts: ArrayLike) -> dict[str, np.ndarray]:
    """Computes every measure by name, each [...], from counts [..., 4]; a measure is nan where it is undefined.

    precision, recall, f1: right as positives. negative_*: flawed as positives. accuracy: of all.
    macro_f1: mean of the two F1s. prm_score: the same, but f1 alone where nothing is flawed
    (PRMBench's multi_solutions). The official scorers write -1 where these are nan.
    """
    counts = np.asarray(counts, dtype=np.float64)
    tp, fp, tn, fn = (counts[..., column] for column in (TP, FP, TN, FN))
    with np.errstate(invalid="ignore"):
        found = {
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "negative_precision": tn / (tn + fn),
            "negative_recall": tn / (tn + fp),
            "negative_f1": 2 * tn / (2 * tn + fp + fn),
            "accuracy": (tp + tn) / (tp + fp + tn + fn),
        }
    found["macro_f1"] = (found["f1"] + found["negative_f1"]) / 2
    found["prm_score"] = np.where(fp + tn > 0, found["macro_f1"], found["f1"])
    return found


def measure_intervals(counts: ArrayLike, resamples: Resamples) -> dict[str, Interval]:
    """Computes every measure of counts [n, 4] with its interval over problems.

    A precision has none where there are no steps of the other kind, which alone could lower it.
    """
    counts = np.asarray(counts, dtype=np.float64)
    (sums,) = _resampled([counts], resamples)
    samples, at = measure(sums), measure(counts.sum(axis=0))
    lowers = {"precision": [FP, TN], "negative_precision": [TP, FN]}
    lone = {name for name, columns in lowers.items() if not counts[:, columns].any()}
    return {name: interval(float(at[name]), [] if name in lone else samples[name]) for name in at}


def prm_scores(
    counts: np.ndarray, classes: Sequence[str], categories: Sequence[str], resamples: Resamples
) -> dict[str, Interval]:
    """Computes the PRM-Score of all steps ("overall"), of each category and of each class, from counts [n, 4].

    Overall pools all steps; a category is the mean of its classes (ssmisya/PRMBench).
    """
    members: dict[str, list[str]] = {}
    for category, name in dict.fromkeys(zip(categories, classes, strict=True)):
        members.setdefault(category, []).append(name)
    tables = {name: counts * (np.array(classes) == name)[:, None] for name in dict.fromkeys(classes)}
    tables = {"overall": counts} | tables

    def scores(totals: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        of = {name: measure(t)["prm_score"] for name, t in zip(tables, totals, strict=True)}
        means = {c: np.mean([of[n] for n in names], axis=0) for c, names in members.items()}
        return {"overall": of.pop("overall")} | means | of

    at = scores([table.sum(axis=0) for table in tables.values()])
    samples = scores(_resampled(list(tables.values()), resamples))
    return {name: interval(float(at[name]), samples[name]) for name in at}


def _resampled(tables: Sequence[np.ndarray], resamples: Resamples) -> list[np.ndarray]:
    """Resamples counts [R, 4] of tables [n, 4]; one unseen problem has right steps, another one flawed steps."""
    kinds = [table[:, columns] for table in tables for columns in ([TP, FN], [TN, FP])]
    sums = iter(resamples.outcomes(*kinds))
    return [np.concatenate([r, f], axis=1)[:, [0, 3, 2, 1]] for r, f in zip(sums, sums, strict=True)]
