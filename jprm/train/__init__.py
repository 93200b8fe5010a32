"""Supervised training: masked loss on packed rows, Muon or AdamW, exact resuming.

Enter by `fit(model, params, documents, TrainConfig(...), seed, directory)`; keep the result with
`save_params`. `jprm.train.run.run_training(RunConfig(...))` is the command `train`: the same loop from
a file of conversations, on one process or many.

What needs JAX is imported when it is first used: configurations hold a `TrainConfig`, and a typo in
one must be answered before JAX has loaded.
"""

from typing import TYPE_CHECKING, Any

from jprm.train.config import TrainConfig

if TYPE_CHECKING:
    from jprm.train.held_out import held_out_loss
    from jprm.train.loop import FitResult, fit
    from jprm.train.weights import load_params, save_params

__all__ = ["FitResult", "TrainConfig", "fit", "held_out_loss", "load_params", "save_params"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jprm.train import held_out, loop, weights

    rooms = {"held_out_loss": held_out, "load_params": weights, "save_params": weights}
    return getattr(rooms.get(name, loop), name)
