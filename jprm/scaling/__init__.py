"""Scaling laws: fits with their intervals, bootstraps, and the decisions that they are for.

Enter by `fit_votes`, `fit_power_law` (one axis), `fit_chinchilla`, `fit_power_sum` (any axes together) and
`fit_vote_law` for laws, by `fit_isoflop` and `fit_envelope` for best sizes, and by `best_at_budget` and `hold_out` for
what a law is good for. `laws` runs them on any table of runs. Reads plain data only and never imports JAX.
"""

from jprm.scaling.chinchilla import FLOPS_PER_PARAMETER_TOKEN, Chinchilla, fit_chinchilla, project_chinchilla
from jprm.scaling.decide import Decision, HeldOut, best_at_budget, hold_out
from jprm.scaling.fits import Fit, fit_power_law, fit_votes
from jprm.scaling.huber import STEEPEST
from jprm.scaling.isoflop import BestSizes, fit_envelope, fit_isoflop
from jprm.scaling.power_sum import Bootstrap, PowerSum, fit_power_sum, points_needed
from jprm.scaling.vote_law import VoteLaw, fit_vote_law
