"""The embedded world: small enough to learn in minutes on two CPU cores, exact in everything it says.

A problem is a graph of quantities (`problems`), a solution derives them step by step, right or with a planted error
(`solutions`, and `delayed_evidence` for errors that only later steps show), and rationales and pretraining documents
are written about them (`documents`). Enter by `EmbeddedWorld`; the rest is for tests and for reading.
"""

from jprm.worlds.embedded.documents import EmbeddedMix
from jprm.worlds.embedded.problems import Difficulty, parse_problem
from jprm.worlds.embedded.world import EmbeddedSettings, EmbeddedWorld
