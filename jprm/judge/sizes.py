"""How large the engine is made: from the texts it has to hold, and the memory that is there.

The number of votes and of rows has no say: bits repeat for fixed sizes only, and votes that are
added later have to be those that would have come at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from jprm.errors import UserError
from jprm.judge.items import Item
from jprm.verify import GenPRM, TextCodec

if TYPE_CHECKING:
    from jprm.models import ModelConfig
    from jprm.sample import EngineConfig

STEP_TOKENS = 512  # of a rationale on average, with room: published tables have 345 to 503
ROUND_TOKENS = 256
MOST_BANK_LANES = {"cpu": 8}  # a decode step on a CPU is bound by the reading of keys and values
ACCELERATOR_BANK_LANES = 256
ATTEND_SPAN = {"cpu": 512}  # most contexts are mostly empty; on accelerators the loop was not measured
# How identity.json, which older runs have, names sizes of the engine that it does not name by their fields.
STORED_NAMES = {
    "slots": "lanes",
    "slot_groups": "banks",
    "decode_steps": "chunk_steps",
    "row_slots": "row_lanes",
    "max_logprob_ids": "max_watch",
}
MEMORY_SHARE = {"cpu": 0.4}  # of a CPU's, which others use too
ACCELERATOR_MEMORY_SHARE = 0.85


@dataclass(frozen=True)
class Sizes:
    """What the user asked for; None is chosen here."""

    lanes: int | None = None
    context: int | None = None
    prefix_rows: int | None = None
    tensor: int | None = None

    def __post_init__(self):
        """Raise UserError for a size below its least."""
        for field in fields(self):
            value, least = getattr(self, field.name), int(field.name != "prefix_rows")
            if value is not None and value < least:
                name = field.name.replace("_", "-")
                raise UserError(f"--{name} {value}: must be at least {least}")


def context_tokens(items: Sequence[Item], codec: TextCodec, protocol: GenPRM, style: str, longest: int | None) -> int:
    """Tokens that hold the longest conversation, by the mean length of a published rationale.

    What outgrows them all the same ends there, and is counted (see `jprm.verify.verify`).
    longest: what the model was made for, which is never exceeded; None where it does not say.
    """
    tags, budget = protocol.tags, protocol.budget
    around = len(codec.encode("".join(tags.model_dump().values()) + protocol.chat.assistant))
    a_step = min(STEP_TOKENS, budget.max_tokens) + around
    most = max(_tokens(item, codec, protocol, style) + len(item.solution.steps) * a_step for item in items)
    need = most + budget.max_tokens + budget.verdict_tokens
    rounded = -(-need // ROUND_TOKENS) * ROUND_TOKENS
    return rounded if longest is None else min(rounded, longest)


def _tokens(item: Item, codec: TextCodec, protocol: GenPRM, style: str) -> int:
    """Length of everything that is given: the chat with its problem and steps."""
    first, *later = item.solution.steps
    texts = [protocol.opening(item.problem.text, first, style)]
    texts += [protocol.chat.user + step for step in later]
    return sum(map(len, _encoded(codec, texts)))


def _encoded(codec: TextCodec, texts: Iterable[str]) -> Iterable[Sequence[int]]:
    for text in texts:
        try:
            yield codec.encode(text)
        except (UserError, ValueError):  # this item is lost later, with its reason
            yield ()


def choose(model: ModelConfig, itemsize: int, context: int, asked: Sizes) -> EngineConfig:
    """The engine's sizes for a model and a context on the local devices.

    One bank for each core of a CPU, one for each accelerator (or group of them); as many lanes as
    fit into the memory that is there, a power of two. Raises UserError where not one fits.
    """
    import jax

    from jprm.sample import EngineConfig
    from jprm.sample.memory import device_bytes, engine_memory

    devices = jax.local_devices()
    kind = devices[0].platform
    tensor = asked.tensor or 1
    banks = cores() if kind == "cpu" else max(1, len(devices) // tensor)
    rows = asked.prefix_rows or 0
    common: dict[str, Any] = dict(
        context_tokens=context,
        tensor=tensor,
        prefix_rows=-(-rows // banks) * banks,
        block_tokens=64 if kind == "cpu" else 256,
        decode_steps=8 if kind == "cpu" else 16,
        attend_span=ATTEND_SPAN.get(kind, 0),
    )
    if asked.lanes is not None:
        banks = min(banks, asked.lanes)
        lanes = -(-asked.lanes // banks) * banks
        return EngineConfig(slots=lanes, slot_groups=banks, **common)
    limit = device_bytes(devices[0]) * MEMORY_SHARE.get(kind, ACCELERATOR_MEMORY_SHARE)
    bank_lanes = MOST_BANK_LANES.get(kind, ACCELERATOR_BANK_LANES)
    while True:
        config = EngineConfig(slots=bank_lanes * banks, slot_groups=banks, **common)
        memory = engine_memory(model, config, itemsize, len(devices))
        if memory.total_bytes <= limit:
            return config
        if bank_lanes == 1:
            memory.check(int(limit), str(devices[0]))
        bank_lanes //= 2


def asked_over(stored: dict[str, Any], asked: Sizes) -> EngineConfig:
    """The sizes of an earlier sitting, with what the user asks for now laid over them.

    Raises UserError for a damaged table.
    """
    from jprm.sample import EngineConfig

    over = asdict(asked)
    over["context_tokens"], over["slots"] = over.pop("context"), over.pop("lanes")
    try:
        return EngineConfig(**stored | {k: v for k, v in over.items() if v is not None})
    except TypeError as error:
        raise UserError(f"identity.json: engine: {error}; give another --out") from None


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
