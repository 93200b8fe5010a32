"""How to sample, and how large the engine is.

Both are static: another value is another compiled program.
"""

import dataclasses

from jprm.errors import UserError


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """Temperature, then top-k, then top-p: vLLM's order.

    Temperature 0 is greedy. top_k 0 and top_p 1 cut nothing.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        """Raise UserError for values outside their ranges."""
        if not 0 <= self.temperature < float("inf"):
            raise UserError(
                f"sampling: temperature = {self.temperature} must be finite and at least 0"
            )
        if self.top_k < 0:
            raise UserError(f"sampling: top_k = {self.top_k} must be at least 0 (0 cuts nothing)")
        if not 0 < self.top_p <= 1:
            raise UserError(
                f"sampling: top_p = {self.top_p} must be above 0 and at most 1 (1 cuts nothing)"
            )


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine.

    lanes: sequences held and decoded side by side, over all banks.
    banks: groups of lanes with a cache and a host thread each. The host works on one while another
        computes. On a CPU one for each core: a decode step is too small to be split between cores.
    context_tokens: the longest sequence, prompt, generated and forced tokens together. Every step
        reads all its slots, so what is not needed costs time.
    chunk_steps: decode steps between two visits of the host. A lane that stops inside a chunk
        idles to its end, so this wants to be well below the length of a stretch.
    block_tokens: prompts and long forced texts are fed in blocks of this many tokens.
    max_stops, max_watch: the most stop ids and watched ids that a request may name.
    """

    lanes: int = 128
    banks: int = 2
    context_tokens: int = 256
    chunk_steps: int = 8
    block_tokens: int = 16
    max_stops: int = 8
    max_watch: int = 2

    def __post_init__(self):
        """Raise UserError for sizes below 1, or lanes that do not divide over the banks."""
        for field in dataclasses.fields(self):
            size = getattr(self, field.name)
            if size < 1:
                raise UserError(f"sample: {field.name} = {size} must be at least 1")
        if self.lanes % self.banks:
            raise UserError(
                f"sample: lanes = {self.lanes} must be a multiple of banks = {self.banks}"
            )

    @property
    def bank_lanes(self) -> int:
        """Lanes of one bank: the batch of a decode step."""
        return self.lanes // self.banks

    @property
    def slots(self) -> int:
        """Key/value slots of a lane: the context in whole blocks."""
        return -(-self.context_tokens // self.block_tokens) * self.block_tokens
