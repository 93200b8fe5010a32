"""Runs model-written Python where it can hurt nobody, as fast as a device asks for it.

Enter by `Pool`: it hands out a `Session` per vote and answers every snippet with an `Outcome` whose
`text` is what the model reads. `open_place` runs code elsewhere behind the same interface: `on_ray`,
or at a SandboxFusion service (`fusion`). Standard library and libseccomp only; nothing imports JAX.

    pool             sessions, limits, and the thread that owns all processes
    sessions         histories, the memo of outcomes, counts
    running          one snippet from its turn to its outcome
    fork_servers     the programs that fork sessions: start, hear, replace (`server` is the program)
    processes        the live sessions, and the memory that is left for them
    preload          which modules a session can import
    runner           one snippet, with the texts of the reference's executor
    jail             what a session process puts on; `bubblewrap` is around it, `probe` tries it here
"""

from jprm.execute.fork_servers import ServerStartError
from jprm.execute.outcome import Outcome, OutcomeKind
from jprm.execute.place import CodePlace, PoolFailure, Session
from jprm.execute.places import open_place
from jprm.execute.pool import Pool
from jprm.execute.preload import PreloadLevel
from jprm.execute.probe import survey
from jprm.execute.sessions import PoolStats
