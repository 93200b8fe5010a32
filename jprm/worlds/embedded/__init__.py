"""The embedded world: small enough to learn in minutes on two CPU cores, exact in everything it
says.

A problem is a graph of quantities (`quantities`), a solution derives them step by step
(`solutions`), errors are planted (`errors`) or the policy's own, the annotator writes rationales
(`annotator`), and a pretraining mix teaches the skills (`drills`). Enter by `EmbeddedWorld`; the
rest is for tests and for reading.
"""

from jprm.worlds.embedded.drills import Mix
from jprm.worlds.embedded.errors import PLANTED_KINDS
from jprm.worlds.embedded.quantities import Difficulty, Graph, Quantity, parse_problem, render_problem
from jprm.worlds.embedded.solutions import ERROR_KINDS
from jprm.worlds.embedded.world import EmbeddedWorld

__all__ = [
    "ERROR_KINDS",
    "PLANTED_KINDS",
    "Difficulty",
    "EmbeddedWorld",
    "Graph",
    "Mix",
    "Quantity",
    "parse_problem",
    "render_problem",
]
