"""An estimate of the memory of a training step, made before the first: what takes it, and which setting to turn.

Estimates for one device under the mesh in force. They are within a factor of 1.5 of what XLA allocates,
on a CPU within 1.25 for models of millions of parameters (`tests/train/test_memory.py` compares), which
is enough to say before minutes of compilation that a run cannot fit, and which setting would make it.
On a CPU the program itself lies in the same memory.
"""

import dataclasses
import math
import os

import jax
import numpy as np
import optax

from jprm.errors import UserError
from jprm.models import Model
from jprm.models.attention import kernel_in_use
from jprm.train.config import TrainConfig
from jprm.train.lora import adapter_count

F32 = 4
INT32 = 4
SETTINGS = {
    "weights": "mesh.fsdp (shards weights), or a smaller model",
    "optimizer": "mesh.fsdp (shards the moments), or train.lora.rank (trains adapters only)",
    "gradients": "mesh.fsdp, train.compute_dtype = 'bfloat16', or train.lora.rank",
    "activations": "train.remat = 'layers', more train.microbatches, or a smaller train.row_tokens",
    "logits": "a smaller train.logits_mb",
    "batch": "a smaller train.batch_rows",
}
# On a CPU the program takes memory too: Python, JAX and the tokenizer's library (.25 GB), what XLA needs to compile
# a step, and what a checkpoint is packed in. Whole runs of 19 and 53 million parameters, on a row of 640 tokens, had
# .7 to 1.2 GB beyond a step's.
PROGRAM_BYTES = 1_000_000_000
# On a CPU XLA fuses less, and keeps more between the passes (measured from 5 to 135 million parameters).
CPU_ACTIVATIONS = 1.25


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Estimated bytes on one device, by what they are for; a `capacity` of 0 is unknown."""

    weights: int
    optimizer: int
    gradients: int
    activations: int
    logits: int
    batch: int
    program: int
    capacity: int

    @property
    def parts(self) -> dict[str, int]:
        """The bytes by the name of what they are for."""
        return {name: getattr(self, name) for name in (*SETTINGS, "program")}

    @property
    def total(self) -> int:
        """The bytes of all parts together."""
        return sum(self.parts.values())

    def check(self) -> None:
        """Raises UserError, naming the largest part and the setting that makes it smaller, where it does not fit."""
        if not self.capacity or self.total <= self.capacity:
            return
        largest = max(SETTINGS, key=lambda name: self.parts[name])
        raise UserError(
            f"memory: a step needs about {gb(self.total)} a device of {gb(self.capacity)} "
            f"({self}); most is {largest}: try {SETTINGS[largest]}"
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {gb(size)}" for name, size in self.parts.items())


def gb(size: int) -> str:
    """Writes a size as "1.2 GB" or "34 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def capacity_bytes() -> int:
    """Returns the bytes of one local device, 0 where unknown; a CPU's devices share the memory of the machine."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if device.platform != "cpu":
        return 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()


def step_memory(
    model: Model, config: TrainConfig, optimizer: optax.GradientTransformation, elsewhere: str = ""
) -> StepMemory:
    """Estimates what a step of this configuration takes on each device of the mesh in force.

    elsewhere: the platform of the mesh's devices where they are not here; their capacity is then unknown.
    """
    mesh = jax.sharding.get_mesh()
    tensor, ways = (1, 1) if mesh.empty else (mesh.shape["tensor"], mesh.shape["data"] * mesh.shape["fsdp"])
    on_cpu = (elsewhere or jax.local_devices()[0].platform) == "cpu"
    # 1. Weights, moments and gradients; a device has its shard of the weights, and adapters whole.
    spec = model.spec()
    shard = F32 * sum(math.prod(_shard_shape(leaf)) for leaf in jax.tree.leaves(spec))
    in_passes = shard // F32 * np.dtype(config.compute_dtype).itemsize
    if config.lora.rank:
        trained = F32 * adapter_count(model, config.lora)
        weights, moments, gradients = in_passes + trained, 2 * trained, trained  # the moments are AdamW's
    else:
        trained = weights = shard
        share = shard / (F32 * sum(leaf.size for leaf in jax.tree.leaves(spec)))
        states = jax.tree.leaves(jax.eval_shape(optimizer.init, spec))  # laid out as the weights
        moments = int(share * sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in states))
        gradients = in_passes
        if config.compute_dtype != "float32":
            gradients *= 2  # there is a copy of the weights in the type of the passes, too
        if config.microbatches > 1:
            gradients += shard  # their sum over the microbatches is f32
    # 2. The passes over one microbatch.
    rows = max(1, config.batch_rows // config.microbatches // ways)
    logits = 0
    if config.objective == "tokens":
        whole = rows * config.row_tokens * (model.config.vocab_size // tensor) * F32
        logits = 2 * min(config.logits_mb << 20, whole)  # the logits and their gradient
        if (
            ways > 1 and tensor == 1
        ):  # every device gathers the head (loss.py), and sums its gradient, in the passes' type
            head = model.config.vocab_size * model.config.embed * np.dtype(config.compute_dtype).itemsize
            logits += head if config.lora.rank else 2 * head
    activations = _activation_bytes(model, config, rows, tensor, logits, on_cpu)
    return StepMemory(
        weights=weights,
        optimizer=moments,
        # When the passes are over, the optimizer's updates lie beside the gradients.
        gradients=gradients + max(0, trained - activations - logits),
        activations=activations,
        logits=logits,
        batch=config.batch_rows // ways * config.row_tokens * (3 * INT32 + F32),
        program=PROGRAM_BYTES // jax.local_device_count() if on_cpu else 0,
        capacity=0 if elsewhere else capacity_bytes(),
    )


def _activation_bytes(model: Model, config: TrainConfig, rows: int, tensor: int, logits: int, on_cpu: bool) -> int:
    """Returns the bytes that the forward pass keeps for the backward one, and those of the layer that is worked on.

    That layer takes the place of the logits, which are gone by then, and what it needs beyond them.
    """
    c, tokens = model.config, rows * config.row_tokens
    # The bytes of one number for each token; CPUs compute in f32 whatever is asked for.
    entry = tokens * (F32 if on_cpu else np.dtype(config.compute_dtype).itemsize)
    heads = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    # The outputs of the products with weights: q, k, v, o; gate, up, down.
    products = entry * ((heads + 2 * c.mlp) // tensor + 2 * c.embed)
    # The normalised and rotated inputs of the products, silu, and its product with up.
    between = entry * (4 * c.embed + (heads + c.n_heads * c.head_dim + 3 * c.mlp) // tensor)
    scores = 0
    if kernel_in_use(config.attention, config.compute_dtype, config.row_tokens) not in ("cudnn", "splash"):
        # Three quarters of the square (models/attention.py), f32; their exponentials are kept.
        scores = F32 * rows * (c.n_heads // tensor) * config.row_tokens**2 * 3 // 4
    layer = products + between + scores
    stream = entry * c.embed
    kept = {"none": layer, "dots": stream + products, "layers": stream}[config.remat]
    activations = c.n_layers * kept + max(0, layer + scores - logits)
    return int(CPU_ACTIVATIONS * activations) if on_cpu else activations


def _shard_shape(leaf: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    return leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
