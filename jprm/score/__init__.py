"""Scorers: what judges the steps of a solution, by name.

Enter by `scorer`, the registry: `@scorer("name")` makes a class or a function one, `find_scorer(name)`
returns it. Each file of `jprm/score/scorers/` holds one; others come from installed packages (entry
points of the group "jprm.plugins") and from a user's file (`jprm.registry.load_plugins`).

Whatever a scorer is, what it says is a `Rationale` per (solution, step, vote), so that all of them
are stored, resumed and measured alike. A benchmark asks the scorer itself; a search asks what
`Scorer.for_search` gives, by the same methods (`jprm.search.VoteRewards`).
"""

from jprm.score.base import (
    Ended,
    Generator,
    Heard,
    Item,
    Known,
    Scorer,
    Setup,
    SharedBeginnings,
    StepScorer,
    Voting,
    find_scorer,
    scorer,
)
