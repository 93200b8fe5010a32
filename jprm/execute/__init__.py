"""Runs model-written Python where it can hurt nobody, as fast as a device asks for it.

Enter by `Pool`: it hands out a `Session` per vote and answers every snippet with an `Outcome` whose
`text` is what the model reads. Behind it, the thread of `dispatcher` gives snippets their turn and
`running` takes each to its outcome, with fork servers (`server`, started by `fleet` and heard through
`fork_server`) that have their modules loaded (`tiers`), and the sessions forked from them (`guest`,
asked by `process`, kept within the memory that is left by `processes`), which put on a jail (`jail`,
`seccomp`, `outer`) that `probe` has tried on this machine. `open_place` runs code elsewhere behind the
same interface. Standard library and libseccomp only; nothing here imports JAX.
"""

from jprm.execute.fork_server import ServerStartError
from jprm.execute.ledger import Stats
from jprm.execute.outcome import Outcome, OutcomeKind
from jprm.execute.place import Place, PoolFailure, Session
from jprm.execute.places import open_place
from jprm.execute.pool import Pool
from jprm.execute.probe import survey
from jprm.execute.tiers import Tier

__all__ = [
    "Outcome",
    "OutcomeKind",
    "Place",
    "Pool",
    "PoolFailure",
    "ServerStartError",
    "Session",
    "Stats",
    "Tier",
    "open_place",
    "survey",
]
