"""A `Program` can be compiled for a slice; `compiled` says what the compiler makes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jprm.aot.hlo import Traffic, traffic
from jprm.aot.slices import Slice
from jprm.errors import UserError


@dataclass(frozen=True)
class Program:
    """A program that can be compiled, and what is known of it before.

    `lower` traces it for the slice. A call computes `flops` on all devices together, and trains, feeds or decodes
    `tokens`; each device reads at least `read_bytes` from its memory. By our own plan it holds `planned_bytes`; the
    sentence `knob` says what makes that smaller.
    """

    name: str
    lower: Callable[[], Any]
    devices: int
    flops: float
    read_bytes: int
    tokens: int
    planned_bytes: int
    knob: str


@dataclass(frozen=True)
class Compiled:
    """This is what the compiler says of a program. Bytes are those of one device, seconds those of one call."""

    program: Program
    compile_s: float
    argument_bytes: int
    temporary_bytes: int
    peak_bytes: int
    traffic: Traffic
    products_s: float
    memory_s: float
    links_s: float
    text: str

    @property
    def bound_s(self) -> float:
        """Returns the least time of a call: at best its products, its reads and its transfers all overlap."""
        return max(self.products_s, self.memory_s, self.links_s)

    def to_json(self) -> dict[str, Any]:
        """Returns all figures as one JSON object."""
        program = self.program
        return {
            "program": program.name,
            "devices": program.devices,
            "compile_s": round(self.compile_s, 1),
            "argument_bytes": self.argument_bytes,
            "temporary_bytes": self.temporary_bytes,
            "peak_bytes": self.peak_bytes,
            "planned_bytes": program.planned_bytes,
            "collectives": self.traffic.calls,
            "sent_bytes": self.traffic.bytes,
            "flops": program.flops,
            "products_s": self.products_s,
            "memory_s": self.memory_s,
            "links_s": self.links_s,
            "bound_s": self.bound_s,
            "tokens_per_s_at_most": program.tokens / self.bound_s,
            "mfu_at_most": self.products_s / self.bound_s,
        }


def compiled(program: Program, on: Slice) -> Compiled:
    """Compiles a program. Raises UserError, naming the knob, where it does not fit into the memory of a chip."""
    import jax

    began = time.monotonic()
    try:
        result = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"{program.name}: it does not fit into the {on.chip.memory_bytes / 1e9:.1f} GB of a chip of {on.name} "
            f"({_need(str(error))}); {program.knob}"
        ) from None
    took_s = time.monotonic() - began
    memory, text = result.memory_analysis(), result.as_text()
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    sent = traffic(text)
    return Compiled(
        program,
        took_s,
        arguments,
        temporaries,
        getattr(memory, "peak_memory_in_bytes", 0) or arguments + temporaries + fresh,
        sent,
        program.flops / program.devices / on.chip.flops,
        program.read_bytes / on.chip.bandwidth,
        sent.total_bytes / on.chip.link_bandwidth,
        text,
    )


def _need(message: str) -> str:
    """Returns the line of the compiler's message that says how much memory the program needs."""
    lines = [line.strip() for line in message.splitlines() if "Used" in line or "exceeded" in line.lower()]
    return lines[0] if lines else message.splitlines()[0]
