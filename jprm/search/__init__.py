"""The verifier at work: choosing among solutions, searching for better ones, mending them.

Enter by `run_search(problems, make_strategy("beam", width=4), generator, reward_model, ...)`, which
writes one row per problem and goes on where it was stopped; by `summary` for what came out;
and by `winners`, `accuracy` and `grid` to choose from stored step scores. A strategy, an aggregation
or a choice of one's own is a decorator: `@strategy("name")`, `@aggregation("name")`, `@choice("name")`;
`names()` of each lists them. What a search needs from others is declared in `ports`: `SampledSteps` is
the generator over a sampling engine, `VoteRewards` the reward model over a scorer's votes. No JAX.
"""

from jprm.search.base import Found, JudgedBranch, Strategy, grow, judge, make_strategy, revise, strategy
from jprm.search.beam import BestOfN, Lookahead
from jprm.search.budget import Cost, ModelCost
from jprm.search.choose import grid, print_grid
from jprm.search.critic import Critic, Redraw, feedback
from jprm.search.driver import ROW, run_identity, run_search
from jprm.search.gate import Gate, behind, fit_gate, open_turns
from jprm.search.mcts import Mcts
from jprm.search.ports import (
    ROOT,
    Branch,
    Grow,
    Grown,
    Revised,
    Revision,
    RewardModel,
    StepGenerator,
    StepRewards,
    Steps,
)
from jprm.search.rewards import Cascade, VoteRewards, mean_rewards
from jprm.search.sampled import Layout, SampledSteps, boundary_ids
from jprm.search.selection import Candidate, accuracy, aggregate, aggregation, choice, winners
from jprm.search.table import Choosing, accuracy_of, budget_of, candidates_of, correctness, missing_share, summary
