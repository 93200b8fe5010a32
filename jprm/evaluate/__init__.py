"""Scores of verifiers and of solutions chosen with them, each with its uncertainty.

Enter by `first_error_f1(labels, predictions)` for the ProcessBench score, by `vote_curve(rewards, labels, problem_ids)`
for F1 against the number of votes from one stored set, by `prm_scores`, `auc` and `calibration` for other measures, and
by `best_of_n` for choosing among candidates. `replay_adaptive` and `compute_matched` say what stopping early, or more
solutions instead of votes, would have brought. The estimators (`pass_at_k`, `maj_at_k`, `best_of_k`,
`weighted_vote_at_k`) reduce stored samples to any smaller k.

Uncertainty comes from `f1_interval`, `mean_interval` and their differences over `Resamples.of(problem_ids)`; `compare`
tests two systems on the same problems, `seed_spread` tells seeds apart from problems, and `counted` says what a missing
verdict counts. Plain numpy on plain lists: nothing here samples, trains or reads files.
"""

from jprm.evaluate.adaptive import AdaptiveVoting, replay_adaptive, stopping_rule
from jprm.evaluate.best_of_n import BestOfNAccuracy, ScoredCandidate, best_of_n
from jprm.evaluate.calibration import calibration
from jprm.evaluate.compute_matched import (
    ComputeMatched,
    Matched,
    VerifiedSolution,
    best_of_verified,
    compute_matched,
    none_verified,
)
from jprm.evaluate.confusion import confusion, measure, measure_intervals, prm_scores
from jprm.evaluate.estimators import best_of_k, maj_at_k, pass_at_k, subsets
from jprm.evaluate.f1 import first_error_f1, harmonic_mean, score, trivial_baselines
from jprm.evaluate.majority import majority_shares
from jprm.evaluate.missing import Missing, accuracy_interval, check_missing, counted, ranked
from jprm.evaluate.paired import Paired, compare, mcnemar, minimum_detectable_effect, permutation_test
from jprm.evaluate.ranking import auc, auc_difference, auc_interval
from jprm.evaluate.resamples import Resamples
from jprm.evaluate.seed_spread import SeedSpread, seed_spread
from jprm.evaluate.uncertainty import (
    LEVEL,
    Difference,
    Interval,
    difference,
    f1_difference,
    f1_interval,
    finite,
    gap_samples,
    interval,
    interval_of,
    interval_row,
    mean_difference,
    mean_interval,
    over_seeds,
    ratio_interval,
    share_interval,
)
from jprm.evaluate.vote_curve import NO_VERDICT, SOME_ERROR, VoteCurve, verdict_shares, vote_curve
from jprm.evaluate.weighted_vote import weighted_vote_at_k
