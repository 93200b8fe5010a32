"""From stored votes and losses to curves, laws, figures and one page that shows them.

Enter by `vote_curve(rewards, labels, problem_ids)` for F1 against votes from one stored set,
by `fit_votes`, `fit_power_law`, `fit_chinchilla`, `fit_power_sum` (any axes together) and
`fit_vote_law` for laws, by `fit_isoflop` and `fit_envelope` for best sizes, by `replay_adaptive` and
`compute_matched` for votes better spent, and by `Report` with `write_report` for report.html;
`line_figure` and `bar_figure` draw its figures. `laws` is the command on any table of runs. Reads
plain data only and never imports JAX.
"""

from jprm.evaluate import best_of_k, maj_at_k, pass_at_k, weighted_vote_at_k
from jprm.scaling.adaptive import AdaptiveVoting, replay_adaptive, stopping_rule
from jprm.scaling.chinchilla import Chinchilla, fit_chinchilla, project_chinchilla
from jprm.scaling.compute_matched import ComputeMatched, Matched, VerifiedSolution, best_of_verified, compute_matched
from jprm.scaling.decide import Decision, HeldOut, best_at_budget, hold_out
from jprm.scaling.fits import Fit, fit_power_law, fit_votes
from jprm.scaling.isoflop import BestSizes, fit_envelope, fit_isoflop
from jprm.scaling.plots import Series, bar_figure, line_figure, series_of, short, shown
from jprm.scaling.power_sum import PowerSum, fit_power_sum, points_needed
from jprm.scaling.report import Facts, Figure, Headline, Report, Samples, Section, Table, Text, render, write_report
from jprm.scaling.samples import Sample, SampleStep, sample_of
from jprm.scaling.vote_curve import VoteCurve, vote_curve
from jprm.scaling.vote_law import VoteLaw, fit_vote_law

__all__ = [
    "AdaptiveVoting",
    "BestSizes",
    "Chinchilla",
    "ComputeMatched",
    "Decision",
    "Facts",
    "Figure",
    "Fit",
    "Headline",
    "HeldOut",
    "Matched",
    "PowerSum",
    "Report",
    "Sample",
    "SampleStep",
    "Samples",
    "Section",
    "Series",
    "Table",
    "Text",
    "VerifiedSolution",
    "VoteCurve",
    "VoteLaw",
    "bar_figure",
    "best_at_budget",
    "best_of_k",
    "best_of_verified",
    "compute_matched",
    "fit_chinchilla",
    "fit_envelope",
    "fit_isoflop",
    "fit_power_law",
    "fit_power_sum",
    "fit_vote_law",
    "fit_votes",
    "hold_out",
    "line_figure",
    "maj_at_k",
    "pass_at_k",
    "points_needed",
    "project_chinchilla",
    "render",
    "replay_adaptive",
    "sample_of",
    "series_of",
    "short",
    "shown",
    "stopping_rule",
    "vote_curve",
    "weighted_vote_at_k",
    "write_report",
]
