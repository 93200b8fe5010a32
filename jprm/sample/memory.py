"""What an engine needs in memory, before anything is allocated.

Counted on each device: weights, the keys and values of slots and of prefix rows, and the largest
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
class EngineMemory:
    """Bytes on the fullest device. `slot_bytes` and `row_bytes` are those of one slot, one row."""

    weights_bytes: int
    slots: int
    slot_bytes: int
    rows: int
    row_bytes: int
    step_bytes: int

    @property
    def total_bytes(self) -> int:
        """Weights, caches and the arrays of a step together."""
        return self.weights_bytes + self.slots * self.slot_bytes + self.rows * self.row_bytes + self.step_bytes

    def __str__(self) -> str:
        caches = self.slots * self.slot_bytes + self.rows * self.row_bytes
        return f"weights {_gb(self.weights_bytes)}, caches {_gb(caches)} at most"

    def check(self, limit_bytes: int, device: str) -> None:
        """Raise UserError, with the knob to turn, when this does not fit into a device."""
        if self.total_bytes <= limit_bytes:
            return
        slots, rows = self.slots * self.slot_bytes, self.rows * self.row_bytes
        rest = limit_bytes - self.weights_bytes - rows
        fitting = rest * self.slots // (slots + self.step_bytes)
        if limit_bytes < self.weights_bytes:
            advice = "spread the weights over several devices with `tensor`"
        elif fitting >= 1 and slots + self.step_bytes >= rows:
            advice = f"lower slots (about {fitting} of {self.slots} fit) or the tokens of a slot"
        else:
            advice = "lower prefix_rows or prefix_tokens"
        raise UserError(
            f"sample: {_gb(self.total_bytes)} do not fit into the {_gb(limit_bytes)} of {device}: "
            f"weights {_gb(self.weights_bytes)}, {self.slots} slots {_gb(slots)}, {self.rows} prefix "
            f"rows {_gb(rows)}, a step {_gb(self.step_bytes)}; {advice}"
        )


def engine_memory(model: ModelConfig, config: EngineConfig, itemsize: int, devices: int) -> EngineMemory:
    """The need of an engine with weights and caches of `itemsize` bytes an entry, on so many local devices."""
    ways, slots = config.tensor, config.group_slots
    groups = -(-config.slot_groups // max(1, devices // ways))  # on the device that has the most
    token_bytes = 2 * model.n_layers * model.n_kv_heads * model.head_dim * itemsize // ways
    row_entries = config.most_prompt_tokens if config.prefix_rows else 0
    scores = slots * config.slot_entries + config.group_rows * config.row_slots * row_entries
    step_bytes = 4 * (2 * slots * model.vocab_size + 2 * scores * model.n_heads) // ways
    return EngineMemory(
        weights_bytes=parameter_count(model) * itemsize // ways,
        slots=groups * slots,
        slot_bytes=config.slot_entries * token_bytes,
        rows=groups * config.group_rows,
        row_bytes=row_entries * token_bytes,
        step_bytes=groups * step_bytes,
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
