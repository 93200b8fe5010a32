"""Machines by name, so that a sweep can be planned for one that is not at hand: hours, and memory of a device.

Peaks are those of the makers' data sheets (dense bfloat16). How much of a peak is reached is an assumption that stands
here once for all machines; `--calibrate` measures a machine that is at hand.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jprm.errors import UserError
from jprm.tasks.resources import Speed

if TYPE_CHECKING:  # loads JAX
    from jprm.experiments.sweep.config import SweepConfig
    from jprm.models import ModelConfig
    from jprm.train.config import TrainConfig

TRAIN_SHARE = 0.4  # of the peak FLOPs, in a training step with whole layers recomputed
DECODE_SHARE = 0.5  # of the memory's bandwidth, in a decode step
BYTES = 2  # of a bfloat16
TRAINED_BYTES = 4 + 8 + 4 + 2 * BYTES  # of a parameter: f32 weight, moments and gradient; copies for the passes
FROZEN_BYTES = BYTES  # of a parameter beside adapters


@dataclass(frozen=True)
class Machine:
    """So many equal devices: peak FLOPs and bytes of memory a second, and bytes of memory, of each."""

    name: str
    flops: float
    bandwidth: float
    memory_bytes: float
    devices: int = 1

    def speed(self, slots: int) -> Speed:
        """The speed in training, and in decoding with so many slots a device, which read the weights together."""
        decode = min(TRAIN_SHARE * self.flops, DECODE_SHARE * self.bandwidth * 2 / BYTES * slots)
        return Speed(TRAIN_SHARE * self.flops * self.devices, decode * self.devices)


MACHINES = {
    machine.name: machine
    for machine in (
        Machine("a100", 312e12, 2.0e12, 80e9),
        Machine("h100", 989e12, 3.35e12, 80e9),
        Machine("h200", 989e12, 4.8e12, 141e9),
        Machine("v5e", 197e12, 0.82e12, 16e9),
        Machine("v5p", 459e12, 2.77e12, 95e9),
        Machine("v6e", 918e12, 1.64e12, 32e9),
    )
}


def machine_named(name: str) -> Machine:
    """Returns the machine called so: a device, or a number of them, such as "h100x8". Raises UserError for another."""
    found = re.fullmatch(r"([a-z0-9]+?)(?:x(\d+))?", name)
    if not found or found[1] not in MACHINES or found[2] == "0":
        raise UserError(
            f"--machine {name}: no such machine; name a device of {', '.join(MACHINES)}, or a number of them, as h100x8"
        )
    return dataclasses.replace(MACHINES[found[1]], devices=int(found[2] or 1))


def training_bytes(model: "ModelConfig", recipe: "TrainConfig", devices: int) -> float:
    """The memory of a device in training: weights and moments sharded over all devices, layers recomputed."""
    from jprm.models import parameter_count

    parameters = parameter_count(model)
    held = parameters * (FROZEN_BYTES if recipe.lora.rank else TRAINED_BYTES) / devices
    rows = math.ceil(recipe.batch_rows / recipe.microbatches / devices)
    tokens = rows * recipe.row_tokens
    stream = model.n_layers * tokens * model.embed * BYTES  # what is kept of each layer
    layer = tokens * BYTES * (8 * model.embed + 6 * model.mlp)  # the one that is worked on
    logits = 2 * min(recipe.logits_mb << 20, tokens * model.vocab_size * 4)
    return held + stream + layer + logits


def decoding_bytes(model: "ModelConfig", slots: int, context_tokens: int) -> float:
    """The memory of a device in decoding: the whole model, and a context for each slot."""
    from jprm.models import parameter_count

    entry = 2 * model.n_layers * model.n_kv_heads * model.head_dim * BYTES
    return parameter_count(model) * BYTES + slots * context_tokens * entry


def fits(config: "SweepConfig", models: dict[str, "ModelConfig"], machine: Machine) -> list[dict[str, object]]:
    """A row for each model of the grid: bytes of a device in training and in decoding, and whether both fit."""
    rows: list[dict[str, object]] = []
    for name, model in models.items():
        train = training_bytes(model, config.train, machine.devices)
        decode = decoding_bytes(model, config.model.slots, config.verify.context_tokens)
        verdict = "fits" if max(train, decode) <= machine.memory_bytes else "does NOT fit"
        rows.append({"model": name, "training": _gb(train), "decoding": _gb(decode), "verdict": verdict})
    return rows


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
