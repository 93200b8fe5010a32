"""Runs model-written Python in separate worker programs.

Enter by `Pool`: it starts the workers, hands out a `Session` per vote, and answers every snippet
with an `Outcome` whose `text` is what the model reads. Standard library only; neither this room
nor its worker program imports JAX.
"""

from jprm.execute.outcome import Outcome, OutcomeKind
from jprm.execute.pool import Pool, Session, Stats

__all__ = ["Outcome", "OutcomeKind", "Pool", "Session", "Stats"]
