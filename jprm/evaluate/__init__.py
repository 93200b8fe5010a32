"""Scores of verifiers and of solutions chosen with them, each with its uncertainty.

Enter by `first_error_f1(labels, predictions)` for the ProcessBench score, by `confusion` and
`prm_scores` for PRM-Score, macro and binary F1, by `auc` for rankings, by `f1_interval` and
`f1_difference` over `Resamples.of(problem_ids)` for uncertainty, and by `best_of_n` for choosing
among candidates. The estimators (`pass_at_k`, `maj_at_k`, `best_of_k`) reduce stored samples to any
smaller k. Plain numpy on plain lists: nothing here samples, trains or reads files.
"""

from jprm.evaluate.best_of_n import METHODS, BestOfN, Candidate, best_of_n
from jprm.evaluate.confusion import (
    binary_confusion,
    confusion,
    first_flaw_recall,
    measure,
    measure_intervals,
    prm_scores,
)
from jprm.evaluate.estimators import (
    EXACT_LIMIT,
    best_of_k,
    maj_at_k,
    multisets,
    pass_at_k,
    subsets,
)
from jprm.evaluate.f1 import (
    FirstErrorScore,
    first_error_f1,
    harmonic_mean,
    score,
    trivial_baselines,
)
from jprm.evaluate.ranking import auc, auc_interval, merge_pieces, verdicts
from jprm.evaluate.uncertainty import (
    Difference,
    Interval,
    Resamples,
    difference,
    f1_difference,
    f1_interval,
    interval,
    mean_difference,
    mean_interval,
    over_seeds,
    wilson,
)

__all__ = [
    "EXACT_LIMIT",
    "METHODS",
    "BestOfN",
    "Candidate",
    "Difference",
    "FirstErrorScore",
    "Interval",
    "Resamples",
    "auc",
    "auc_interval",
    "best_of_k",
    "best_of_n",
    "binary_confusion",
    "confusion",
    "difference",
    "f1_difference",
    "f1_interval",
    "first_error_f1",
    "first_flaw_recall",
    "harmonic_mean",
    "interval",
    "maj_at_k",
    "mean_difference",
    "mean_interval",
    "measure",
    "measure_intervals",
    "merge_pieces",
    "multisets",
    "over_seeds",
    "pass_at_k",
    "prm_scores",
    "score",
    "subsets",
    "trivial_baselines",
    "verdicts",
    "wilson",
]
