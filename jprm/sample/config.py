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
            raise UserError(f"sampling: temperature = {self.temperature} must be finite and at least 0")
        if self.top_k < 0:
            raise UserError(f"sampling: top_k = {self.top_k} must be at least 0 (0 cuts nothing)")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampling: top_p = {self.top_p} must be above 0 and at most 1 (1 cuts nothing)")


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine.

    lanes: sequences held and decoded side by side, over all banks.
    banks: groups of lanes with a cache and a host thread each, dealt out to the local devices in
        turn. The host works on one while another computes. On a CPU one for each core: a decode
        step is too small to be split between cores. On accelerators one for each device (or group
        of `tensor` devices): more would read the weights more often.
    context_tokens: the longest sequence, prompt, generated and forced tokens together. Every step
        reads all its slots, so what is not needed costs time.
    chunk_steps: decode steps between two visits of the host. A lane that stops inside a chunk
        idles to its end, so this wants to be well below the length of a stretch.
    block_tokens: prompts and long forced texts are fed in blocks of this many tokens.
    max_stops, max_watch: the most stop ids and watched ids that a request may name.
    tensor: devices that share the layers of one bank, for models that do not fit into one.
    attend_span: slots that attention reads at a time, up to the longest lane that runs; 0 reads all
        slots at once. On a CPU spans pay for contexts that are mostly empty. A lane's bits depend
        on the span, not on other lanes.
    in_flight: chunks of one bank that may be under way at once. With 2 the device never waits for
        the host, but a lane that stops idles for one more chunk.

    With prefix_rows = 0 every lane holds its whole sequence. With more, prompts are held in rows
    that all their samples read, and a lane holds only what it adds. That pays from prompts of some
    hundred tokens on; below, the second attention costs what the shorter lanes save.

    prefix_rows: rows of shared prompts, over all banks. Twice lanes / samples of a prompt is plenty.
    row_lanes: the most lanes that read one row. Groups beyond that take several rows.
    prefix_tokens: the longest prompt (0: context_tokens).
    own_tokens: the most tokens that a sample adds to its prompt, generated and forced together
        (0: context_tokens). Without rows neither has a meaning.
    """

    lanes: int = 128
    banks: int = 2
    context_tokens: int = 256
    chunk_steps: int = 8
    block_tokens: int = 16
    max_stops: int = 8
    max_watch: int = 2
    tensor: int = 1
    in_flight: int = 1
    attend_span: int = 0
    prefix_rows: int = 0
    row_lanes: int = 8
    prefix_tokens: int = 0
    own_tokens: int = 0

    def __post_init__(self):
        """Raise UserError for sizes below their least, or that do not divide over the banks."""
        least = dict(max_watch=0, max_stops=0, attend_span=0, prefix_rows=0, prefix_tokens=0, own_tokens=0)
        for field in dataclasses.fields(self):
            size, lowest = getattr(self, field.name), least.get(field.name, 1)
            if size < lowest:
                raise UserError(f"sample: {field.name} = {size} must be at least {lowest}")
        for name in ("lanes", "prefix_rows"):
            if getattr(self, name) % self.banks:
                raise UserError(f"sample: {name} = {getattr(self, name)} must be a multiple of banks = {self.banks}")

    @property
    def bank_lanes(self) -> int:
        """Lanes of one bank: the batch of a decode step."""
        return self.lanes // self.banks

    @property
    def bank_rows(self) -> int:
        """Prefix rows of one bank."""
        return self.prefix_rows // self.banks

    @property
    def most_prompt_tokens(self) -> int:
        """The longest prompt."""
        return (self.prefix_rows and self.prefix_tokens) or self.context_tokens

    @property
    def most_own_tokens(self) -> int:
        """The most tokens that may follow a prompt."""
        return (self.prefix_rows and self.own_tokens) or self.context_tokens

    @property
    def slots(self) -> int:
        """Key/value slots of a lane: the context in whole blocks, or what may follow a prompt."""
        if self.prefix_rows:
            return self.most_own_tokens
        return -(-self.context_tokens // self.block_tokens) * self.block_tokens
