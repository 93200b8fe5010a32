"""Supervised training: masked loss on packed rows, Muon or AdamW, exact resuming.

Enter by `fit(model, params, documents, TrainConfig(...), seed, directory)`; keep the result with
`save_params`. `jprm.train.run.run_training(RunConfig(...))` is the command `train`: the same loop from
a file of conversations, on one process or many.

What needs JAX is imported when it is first used: configurations hold a `TrainConfig`, and a typo in
one must be answered before JAX has loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jprm.train.config import TrainConfig

if TYPE_CHECKING:
    from jprm.train.forward import held_out_loss, label_probabilities
    from jprm.train.loop import FitResult, fit
    from jprm.train.weights import load_params, save_params

_LATE = {
    **dict.fromkeys(("held_out_loss", "label_probabilities"), "forward"),
    **dict.fromkeys(("FitResult", "fit"), "loop"),
    **dict.fromkeys(("load_params", "save_params"), "weights"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
