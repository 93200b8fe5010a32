"""Scores of verifiers and of solutions chosen with them, each with its uncertainty.

Enter by `first_error_f1(labels, predictions)` for the ProcessBench score, by `confusion` and
`prm_scores` for PRM-Score, macro and binary F1, by `auc` for rankings, by `calibration` for what a
reward means, by `f1_interval` and `f1_difference` over `Resamples.of(problem_ids)` for uncertainty,
and by `best_of_n` for choosing among candidates. `counted` says what a missing verdict counts.
`compare` tests two systems on the same problems, `seed_spread` sets seeds apart from problems,
`minimum_detectable_effect` says what could be seen.
The estimators (`pass_at_k`, `maj_at_k`, `best_of_k`, `weighted_vote_at_k`) reduce stored samples to
any smaller k. Plain numpy on plain lists: nothing here samples, trains or reads files.
"""

from jprm.evaluate.best_of_n import METHODS, BestOfNAccuracy, ScoredCandidate, best_of_n
from jprm.evaluate.calibration import Bin, Calibration, calibration
from jprm.evaluate.confusion import (
    binary_confusion,
    confusion,
    first_flaw_recall,
    measure,
    measure_intervals,
    prm_scores,
)
from jprm.evaluate.estimators import EXACT_LIMIT, best_of_k, maj_at_k, multisets, pass_at_k, subsets
from jprm.evaluate.f1 import FirstErrorScore, first_error_f1, harmonic_mean, score, trivial_baselines
from jprm.evaluate.missing import Missing, accuracy_interval, check_missing, counted, ranked
from jprm.evaluate.paired import McNemar, Paired, compare, mcnemar, permutation_test
from jprm.evaluate.power import clustered_standard_error, mcnemar_power, minimum_detectable_effect, problems_needed
from jprm.evaluate.ranking import auc, auc_difference, auc_interval, merge_pieces, verdicts
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.seed_spread import SeedSpread, seed_spread
from jprm.evaluate.uncertainty import (
    LEVEL,
    Difference,
    Interval,
    cluster_bootstrap,
    difference,
    f1_difference,
    f1_interval,
    finite,
    gap_samples,
    interval,
    mean_difference,
    mean_interval,
    over_seeds,
    ratio_interval,
    share_interval,
    wilson,
)
from jprm.evaluate.weighted_vote import weighted_vote_at_k

__all__ = [
    "EXACT_LIMIT",
    "LEVEL",
    "METHODS",
    "BestOfNAccuracy",
    "Bin",
    "Calibration",
    "Difference",
    "FirstErrorScore",
    "Interval",
    "McNemar",
    "Missing",
    "Paired",
    "Resamples",
    "ScoredCandidate",
    "SeedSpread",
    "accuracy_interval",
    "auc",
    "auc_difference",
    "auc_interval",
    "best_of_k",
    "best_of_n",
    "binary_confusion",
    "calibration",
    "check_missing",
    "cluster_bootstrap",
    "clustered_standard_error",
    "compare",
    "confusion",
    "counted",
    "difference",
    "f1_difference",
    "f1_interval",
    "finite",
    "first_error_f1",
    "first_flaw_recall",
    "gap_samples",
    "harmonic_mean",
    "interval",
    "maj_at_k",
    "mcnemar",
    "mcnemar_power",
    "mean_difference",
    "mean_interval",
    "measure",
    "measure_intervals",
    "merge_pieces",
    "minimum_detectable_effect",
    "multisets",
    "over_seeds",
    "pass_at_k",
    "permutation_test",
    "prm_scores",
    "problems_needed",
    "ranked",
    "ratio_interval",
    "score",
    "seed_spread",
    "share_interval",
    "subsets",
    "trivial_baselines",
    "verdicts",
    "weighted_vote_at_k",
    "wilson",
]
