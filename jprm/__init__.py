"""jprm: GenPRM, the generative process reward model, in JAX.

A verifier reads a solution step by step, writes an analysis and code, reads what the code printed, and judges the step;
more votes judge better. Every room is entered by its own `__init__`, and imports point down only:

    cli                         commands: words and defaults
    api                         the same from Python: the names that this package hands out
    experiments                 the sweep, the benchmarks, the applications, the laws
    tasks                       what experiments are made of: one file for each kind of work
    search, rl, report          better solutions by rewards; rewards as credit of tokens; tables, figures, pages
    scaling, evaluate           laws of size, data and votes; scores with their intervals
    label, score                Monte-Carlo labels, rationales, the consensus filter; scorers by name
    verify                      the rationale protocols, their driver, the votes
    train, sample, openai       fitting a model, sampling from it, here or from a server
    worlds, models, data        problems with exact truth; the Transformer; packed documents
    grade, doctor               equal answers; what this machine has and lacks
    jobs, execute               stages of work that may be killed; generated code in a jail
    chat, formats               a checkpoint's tokenizer and chat template; the layouts of public files
    sampling, records, config   and the other files beside this one: the vocabulary that all rooms share

From Python, `jprm.open_run`, `jprm.Verifier`, `jprm.evaluate_checkpoint` and `jprm.sweep` do what the commands do and
return what they computed; the decorators (`jprm.scorer`, `jprm.world`, ...) register what is chosen by name.

Invariant: importing this package imports nothing else, so that a mistake in a command line is answered at once. The
names below are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jprm.api import (
        CellRow,
        Run,
        RunCell,
        ScoredSolution,
        ScoredStep,
        Verifier,
        evaluate_checkpoint,
        open_run,
        sweep,
    )
    from jprm.errors import UserError
    from jprm.formats import benchmark
    from jprm.label import label_rule
    from jprm.rl import row
    from jprm.score import scorer
    from jprm.search import aggregation, choice, strategy
    from jprm.verify import protocol
    from jprm.worlds import world

__version__ = "0.1.0"

_HOMES = {
    "CellRow": "jprm.api",
    "Run": "jprm.api",
    "RunCell": "jprm.api",
    "ScoredSolution": "jprm.api",
    "ScoredStep": "jprm.api",
    "UserError": "jprm.errors",
    "Verifier": "jprm.api",
    "aggregation": "jprm.search",
    "benchmark": "jprm.formats",
    "choice": "jprm.search",
    "evaluate_checkpoint": "jprm.api",
    "label_rule": "jprm.label",
    "open_run": "jprm.api",
    "row": "jprm.rl",
    "protocol": "jprm.verify",
    "scorer": "jprm.score",
    "strategy": "jprm.search",
    "sweep": "jprm.api",
    "world": "jprm.worlds",
}
_ROOMS = ("evaluate", "execute", "formats", "label", "rl", "scaling", "score", "search", "verify", "worlds")

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "__version__",
    *_HOMES,
    *_ROOMS,
]


def __getattr__(name: str) -> Any:
    """Imports one of the names above, or a room, at its first use."""
    if name in _HOMES:
        found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return found
    if name in _ROOMS:
        return importlib.import_module(f"jprm.{name}")
    raise AttributeError(f"module 'jprm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
