"""Machines by name, so that a sweep can be planned for one that is not at hand: hours, and memory of a device.

Peaks are those of `jprm.chips`. How much of a peak is reached is an assumption that stands
here once for all machines; `--calibrate` measures a machine that is at hand.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jprm.chips import CHIPS
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
MEMORY_SHARE = 0.85  # of a device, for weights and caches
FEWEST_SLOTS = 8  # for which a model is spread over more devices


@dataclass(frozen=True)
class Machine:
    """So many equal devices: peak FLOPs and bytes of memory a second, and bytes of memory, of each."""

    name: str
    flops: float
    bandwidth: float
    memory_bytes: float
    devices: int = 1


MACHINES = {name: Machine(name, chip.flops, chip.bandwidth, chip.memory_bytes) for name, chip in CHIPS.items()}


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


@dataclass(frozen=True)
class Decoding:
    """How a model is sampled on a machine: `ways` devices share its weights, and hold so many slots together.

    device_bytes: of each device. flops: a second, of the whole machine.
    """

    ways: int
    slots: int
    device_bytes: float
    flops: float


def decoding(model: "ModelConfig", slots: int, context_tokens: int, machine: Machine) -> Decoding | None:
    """Spreads a model over as few devices as hold it with 8 slots, or as few as were asked for; None where none do.

    A decode step reads the weights once, and half a context of every slot.
    """
    from jprm.models import parameter_count

    weights = parameter_count(model) * BYTES
    context = context_tokens * 2 * model.n_layers * model.n_kv_heads * model.head_dim * BYTES
    ways = 1
    while ways <= machine.devices:
        held = min(slots, int((MEMORY_SHARE * machine.memory_bytes * ways - weights) // context))
        if held >= min(slots, FEWEST_SLOTS):
            read = weights + held * context / 2
            a_step = read / (DECODE_SHARE * machine.bandwidth * ways)
            bound = TRAIN_SHARE * machine.flops * ways
            flops = min(weights / BYTES * 2 * held / a_step, bound) * (machine.devices // ways)
            return Decoding(ways, held, (weights + held * context) / ways, flops)
        ways *= 2
    return None


@dataclass(frozen=True)
class MachinePlan:
    """What each model of a sweep takes of a machine, as rows of a table, and the speeds that the plan goes by."""

    rows: list[dict[str, object]]
    speed: Speed


def plan_for(config: "SweepConfig", models: dict[str, "ModelConfig"], machine: Machine) -> MachinePlan:
    """Plans the models of a grid for a machine. All decode at the speed of the slowest.

    Raises UserError where the machine holds one of them in no way.
    """
    rows, slowest = [], math.inf
    for name, model in models.items():
        train = training_bytes(model, config.train, machine.devices)
        found = decoding(model, config.model.slots, config.verify.context_tokens, machine)
        if found is None:
            raise UserError(
                f"{name}: {machine.devices} x {machine.name} do not hold it with a slot of "
                f"{config.verify.context_tokens} tokens; plan for more devices, or lower verify.context_tokens"
            )
        slowest = min(slowest, found.flops)
        on = f"{found.slots} slots, {found.ways} device{'s' if found.ways > 1 else ''}, {_gb(found.device_bytes)} each"
        verdict = "fits" if train <= machine.memory_bytes else "training does NOT fit: more devices, or train.lora"
        rows.append({"model": name, "training": _gb(train), "decoding": on, "verdict": verdict})
    return MachinePlan(rows, Speed(TRAIN_SHARE * machine.flops * machine.devices, slowest))


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
