"""What an engine needs in memory, before anything is allocated.

Counted on each device: weights, the keys and values of lanes and of prefix rows, and the largest
arrays of a decode step (f32 logits, a copy of them, and attention scores).
"""

import dataclasses
import os
from typing import Any

import jax

from jprm.errors import UserError
from jprm.models import ModelConfig, parameter_count
from jprm.sample.config import EngineConfig


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the fullest device. `lane_bytes` and `row_bytes` are those of one lane, one row."""

    weights_bytes: int
    lanes: int
    lane_bytes: int
    rows: int
    row_bytes: int
    step_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        caches = self.lanes * self.lane_bytes + self.rows * self.row_bytes
        return self.weights_bytes + caches + self.step_bytes

    def check(self, limit_bytes: int, device: str) -> None:
        """Raise UserError, with the knob to turn, when this does not fit into a device."""
        if self.total_bytes <= limit_bytes:
            return
        lanes, rows = self.lanes * self.lane_bytes, self.rows * self.row_bytes
        rest = limit_bytes - self.weights_bytes - rows
        fitting = rest * self.lanes // (lanes + self.step_bytes)
        if limit_bytes < self.weights_bytes:
            advice = "spread the weights over several devices with `tensor`"
        elif fitting >= 1 and lanes + self.step_bytes >= rows:
            advice = f"lower lanes (about {fitting} of {self.lanes} fit) or the tokens of a lane"
        else:
            advice = "lower prefix_rows or prefix_tokens"
        raise UserError(
            f"sample: {_gb(self.total_bytes)} do not fit into the {_gb(limit_bytes)} of {device}: "
            f"weights {_gb(self.weights_bytes)}, {self.lanes} lanes {_gb(lanes)}, {self.rows} prefix "
            f"rows {_gb(rows)}, a step {_gb(self.step_bytes)}; {advice}"
        )


def memory_plan(model: ModelConfig, config: EngineConfig, itemsize: int, devices: int) -> MemoryPlan:
    """The plan for weights and caches of `itemsize` bytes an entry, over so many local devices."""
    ways = config.tensor
    groups = max(1, devices // ways)
    banks = -(-config.banks // groups)  # on the device that has the most
    token_bytes = 2 * model.n_layers * model.n_kv_heads * model.head_dim * itemsize // ways
    lanes = config.bank_lanes
    scores = lanes * config.slots
    prefix_slots = config.most_prompt_tokens if config.prefix_rows else 0
    scores += config.bank_rows * config.row_lanes * prefix_slots
    step_bytes = 4 * (2 * lanes * model.vocab_size + 2 * scores * model.n_heads) // ways
    return MemoryPlan(
        weights_bytes=parameter_count(model) * itemsize // ways,
        lanes=banks * lanes,
        lane_bytes=config.slots * token_bytes,
        rows=banks * config.bank_rows,
        row_bytes=prefix_slots * token_bytes,
        step_bytes=banks * step_bytes,
    )


def device_bytes(device: Any) -> int:
    """What a device offers: its own limit, or the physical memory of a CPU over its devices."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return physical // len(jax.local_devices(backend=device.platform))


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
