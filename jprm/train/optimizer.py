"""The optimizers: Muon for the layers' matrices with Adam for the rest, or AdamW for all.

Muon (Jordan et al. 2024) orthogonalises the momentum of each weight matrix. Parameters here are
stacked over layers and kept by head, so `MUON_AXES` says which axes of a leaf are a matrix's inputs
and outputs; what is left (the layer axis) is orthogonalised one by one.
"""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers

from jprm.train.config import TrainConfig

# Leaves of params["layers"], laid out as in models/transformer.py.
MUON_AXES = {
    "q": MuonDimensionNumbers((1,), (2, 3)),
    "k": MuonDimensionNumbers((1,), (2, 3)),
    "v": MuonDimensionNumbers((1,), (2, 3)),
    "o": MuonDimensionNumbers((1, 2), (3,)),
    "gate": MuonDimensionNumbers((1,), (2,)),
    "up": MuonDimensionNumbers((1,), (2,)),
    "down": MuonDimensionNumbers((1,), (2,)),
}


def muon_axes(params: dict) -> dict:
    """Returns a tree like `params` with the axes of each matrix that Muon trains, and None for what Adam trains."""
    tree = jax.tree.map(lambda _: None, params)
    tree["layers"] = {name: MUON_AXES.get(name) for name in params["layers"]}
    return tree


def schedule(config: TrainConfig, peak: float) -> optax.Schedule:
    """Raises the rate on a line to `peak` (step 0 moves already), then lowers it to `final_fraction` of that.

    "wsd" (warm-up, stable, decay: Hu et al. 2024, MiniCPM) stays at the peak in between, so that one
    run gives the start of a decay at every length.
    """
    rise = optax.linear_schedule(peak / (config.warmup_steps + 1), peak, config.warmup_steps)
    fall_steps = max(1, config.steps - config.warmup_steps)
    if config.schedule == "cosine":
        fall = optax.cosine_decay_schedule(peak, fall_steps, config.final_fraction)
        return optax.join_schedules([rise, fall], [config.warmup_steps])
    if config.schedule == "wsd":
        fall_steps = min(fall_steps, max(1, round(config.decay_fraction * config.steps)))
    fall = optax.linear_schedule(peak, peak * config.final_fraction, fall_steps)
    if config.schedule == "linear":
        return optax.join_schedules([rise, fall], [config.warmup_steps])
    starts = [config.warmup_steps, max(config.warmup_steps, config.steps - fall_steps)]
    return optax.join_schedules([rise, optax.constant_schedule(peak), fall], starts)


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Returns the optimizer that a configuration asks for, for the parameters of a `jprm.models.Model`."""
    if config.optimizer == "muon":
        axes: Any = muon_axes  # optax's annotation forgets that a function may be given
        return optax.contrib.muon(
            schedule(config, config.learning_rate),
            adam_learning_rate=schedule(config, config.learning_rate * config.adam_ratio),
            adam_b2=config.adam_b2,
            weight_decay=config.weight_decay,
            muon_weight_dimension_numbers=axes,
        )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule(config, config.learning_rate), b2=config.adam_b2, weight_decay=config.weight_decay, mask=_decayed
        ),
    )


def _decayed(params: dict) -> dict:
    """Says which leaves AdamW decays: matrices, embeddings and adapters, but neither biases nor norms."""
    tree = jax.tree.map(lambda _: True, params)
    if "norm" in params:
        tree["norm"] = False
    if "layers" in params:
        tree["layers"] = {name: name in MUON_AXES for name in params["layers"]}
    if "step_head" in params:
        tree["step_head"] = {"weight": True, "bias": False}
    return tree
