"""Scorers: what judges the steps of a solution, by name.

Enter by `scorer(name)`, the decorator that makes a class or a function one, `find_scorer(name)`, and
`known_scorers()`. Each file of `jprm/score/scorers/` holds one; others come from installed packages
(entry points of the group "jprm.scorers") and from a file (`load_plugin`).

Whatever a scorer is, what it says is a `Rationale` per (solution, step, vote), so that all of them
are stored, resumed and measured alike.
"""

from jprm.score.base import Ended, Generator, Scorer, Setup, StepScorer
from jprm.score.registry import find_scorer, known_scorers, load_plugin, scorer

__all__ = [
    "Ended",
    "Generator",
    "Scorer",
    "Setup",
    "StepScorer",
    "find_scorer",
    "known_scorers",
    "load_plugin",
    "scorer",
]
