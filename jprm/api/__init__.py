"""What is called from Python: `jprm.open_run`, `jprm.Verifier`, `jprm.evaluate_checkpoint`, `jprm.sweep`.

    verifier      a verifier that is open, and what it says of a solution;  judges: the two kinds of it
    runs          a sweep's run directory as typed objects
    computing     evaluations and sweeps that return what they computed;  quiet: whether they say a word

Whatever a command can do is done by the rooms below; here it becomes a call that returns a value. `jprm` itself hands
these names out, and imports what they need when they are used.
"""

from jprm.api.computing import evaluate_checkpoint, sweep
from jprm.api.runs import CellRow, Run, RunCell, open_run
from jprm.api.verifier import ScoredSolution, ScoredStep, Verifier
