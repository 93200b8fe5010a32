"""How fast a run trains, and what share of the devices that is: one dict for each line of the log.

MFU is the model's FLOPs (`jprm.models.costs`, from the (query, key) pairs that the segments really
have) over the peak of the devices. XLA's own count is not used: it counts the body of a scan once.
"""

import dataclasses
import functools
import resource
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from jprm.chips import chip_of
from jprm.models import Model
from jprm.models.attention import kernel_in_use
from jprm.models.costs import forward_flops
from jprm.train.config import TrainConfig

MEASURED_SIDE = 1024


@dataclasses.dataclass(frozen=True)
class Peak:
    """The FLOP/s of all devices of the run together, and where the number is from."""

    flops_per_s: float
    source: str


@functools.cache
def product_flops_per_s(side: int, dtype: Any) -> float:
    """Measures the FLOP/s of the fastest of five square matrix products on the default device; once in a process."""
    a = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def peak(devices: int) -> Peak:
    """Finds the peak of so many devices like the default one; measured by a matrix product where none is known.

    The devices of a CPU share its cores, so that a product on one of them has what all have.
    """
    kind = jax.devices()[0].device_kind
    if (chip := chip_of(kind)) is not None:
        return Peak(devices * chip.flops, f"{devices} x {kind}, bf16")
    on_cpu = jax.devices()[0].platform == "cpu"
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    rate = product_flops_per_s(MEASURED_SIDE, dtype) * (1 if on_cpu else devices)
    return Peak(rate, f"{kind}, measured by a product of {MEASURED_SIDE}^3 in {jnp.dtype(dtype)}")


def memory_bytes() -> tuple[int, str]:
    """Returns (peak bytes, "device") of the fullest local device, else (peak bytes, "host") of this process."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    used = [s["peak_bytes_in_use"] for s in stats if s and "peak_bytes_in_use" in s]
    if used:
        return max(used), "device"
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, and in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "host"


class Meter:
    """Counts what was trained since the last line, and says how fast that went."""

    def __init__(self, model: Model, config: TrainConfig):
        """Finds the peak of the devices of the mesh in force. Raises UserError for a kernel that cannot run."""
        mesh = jax.sharding.get_mesh()
        self.kernel = kernel_in_use(config.attention, config.compute_dtype, config.row_tokens)
        self.peak = peak(1 if mesh.empty else mesh.size)
        self._model, self._config = model, config
        self.restart()

    def restart(self) -> None:
        """Forgets what was counted; time starts now (after compilation, or a checkpoint)."""
        self._steps = self._tokens = self._pairs = self._trained = 0
        self._since = time.perf_counter()

    def add(self, tokens: int, pairs: int, trained: int) -> None:
        """Counts a step over so many tokens (no padding), (query, key) pairs, and tokens with a loss."""
        self._steps += 1
        self._tokens += tokens
        self._pairs += pairs
        self._trained += trained

    def line(self, step: int, metrics: dict[str, float]) -> dict[str, Any]:
        """Returns what the log says of the steps since the last line, as plain JSON values."""
        seconds = time.perf_counter() - self._since
        used, where = memory_bytes()
        flops = train_flops_of(self._model, self._config, self._tokens, self._pairs)
        line = {"step": step, **metrics} | {
            "step_s": seconds / max(1, self._steps),
            "tokens": self._tokens,
            "loss_tokens": self._trained,
            "tokens_per_s": self._tokens / seconds,
            "loss_tokens_per_s": self._trained / seconds,
            "mfu": flops / seconds / self.peak.flops_per_s,
            "peak_flops": self.peak.source,
            "memory_bytes": used,
            "memory_of": where,
            "attention": self.kernel,
        }
        self.restart()
        return line


def train_flops_of(model: Model, config: TrainConfig, tokens: int, pairs: int) -> float:
    """Counts the FLOPs of training on so many tokens and pairs, as this configuration does it.

    Backward costs twice what forward does: a product for the inputs and one for the weights. Beside
    adapters the products for the weights are left out; adapters themselves count for nothing.
    """
    logits = tokens if config.objective == "tokens" else 0
    flops = 3 * forward_flops(model.config, tokens, pairs, logits)
    if config.lora.rank:
        flops -= forward_flops(model.config, tokens, 0, logits)
    return flops
