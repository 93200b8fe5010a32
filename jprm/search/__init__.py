"""The verifier at work: choosing among solutions, searching for better ones, mending them.

Enter by `run_search(problems, make_strategy("beam", width=4), generator, scorer, ...)`, which writes
one row per problem and goes on where it was stopped; by `summary` and `gain` for what came out; and
by `winners`, `accuracy` and `grid` to choose from stored step scores. A strategy, an aggregation or
a choice of one's own is a decorator: `@strategy("name")`, `@aggregation("name")`, `@choice("name")`;
`names()` of each lists them. The generator, the scorer and the refiner are protocols (`ports`);
`SampledSteps` is a generator over a sampling engine, `VotedBranches` a scorer over the verifier's
votes, which judges every beginning of solutions once, `VotedScorer` one that judges them as wholes.
No JAX.
"""

from jprm.search.beam import Beam
from jprm.search.best_of_n import BestOfN
from jprm.search.budget import Budget, Cost, ModelCost
from jprm.search.cascade import Cascade
from jprm.search.critic import Critic, Redraw, feedback
from jprm.search.diverse import Diverse
from jprm.search.driver import run_search
from jprm.search.files import print_grid
from jprm.search.gate import Gate, behind, fit_gate, open_turns
from jprm.search.lookahead import Lookahead
from jprm.search.mcts import Mcts
from jprm.search.plan import Found, Judged, Strategy, grow, judge, make_strategy, revise, strategy
from jprm.search.ports import (
    ROOT,
    Branch,
    Grading,
    Grow,
    Grown,
    Refiner,
    Revised,
    Revision,
    StepGenerator,
    StepRewards,
    StepScorer,
    forget,
)
from jprm.search.registry import Registry
from jprm.search.reversed import Mean, Reversed
from jprm.search.sampled import Layout, SampledSteps, boundary_ids
from jprm.search.selection import Candidate, accuracy, aggregate, aggregation, choice, grid, winners
from jprm.search.table import Choosing, candidates_of, correctness, gain, summary
from jprm.search.tree import estimates, tree_labels
from jprm.search.voted import VotedBranches, VotedScorer

__all__ = [
    "ROOT",
    "Beam",
    "BestOfN",
    "Branch",
    "Budget",
    "Candidate",
    "Cascade",
    "Choosing",
    "Cost",
    "Critic",
    "Diverse",
    "Found",
    "Gate",
    "Grading",
    "Grow",
    "Grown",
    "Judged",
    "Layout",
    "Lookahead",
    "Mcts",
    "Mean",
    "ModelCost",
    "Redraw",
    "Refiner",
    "Registry",
    "Reversed",
    "Revised",
    "Revision",
    "SampledSteps",
    "StepGenerator",
    "StepRewards",
    "StepScorer",
    "Strategy",
    "VotedBranches",
    "VotedScorer",
    "accuracy",
    "aggregate",
    "behind",
    "aggregation",
    "boundary_ids",
    "candidates_of",
    "choice",
    "correctness",
    "estimates",
    "feedback",
    "fit_gate",
    "forget",
    "gain",
    "grid",
    "grow",
    "judge",
    "make_strategy",
    "open_turns",
    "revise",
    "print_grid",
    "run_search",
    "strategy",
    "summary",
    "tree_labels",
    "winners",
]
