"""How large the engine is. It is static: another value is another compiled program."""

import dataclasses

from jprm.errors import UserError

# The sizes that are chosen where nobody asks for others: large blocks and long visits keep an accelerator busy.
CPU_BLOCK_TOKENS, BLOCK_TOKENS = 64, 256
CPU_DECODE_STEPS, DECODE_STEPS = 8, 16


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Sizes of the engine. Raises UserError for one below its least, or that does not divide over the groups.

    With prefix_rows = 0 every slot holds its whole sequence. With more, prompts are held in rows that
    all their samples read, and a slot holds only what it adds. That pays from prompts of some hundred
    tokens on; below, the second attention costs what the shorter slots save.
    """

    # Sequences held and decoded side by side, over all slot groups.
    slots: int = 128
    # Groups of slots with a cache and a host thread each, dealt out to the local devices in turn. The host works on one
    # while another computes. On a CPU one for each core: a decode step is too small to be split between cores. On
    # accelerators one for each device (or group of `tensor` devices): more would read the weights more often.
    slot_groups: int = 2
    # The longest sequence: prompt, generated and forced tokens together. Every step reads room for all
    # of them, so what is not needed costs time.
    context_tokens: int = 256
    # Decode steps between two visits of the host. A slot that stops inside idles to the end, so this
    # wants to be well below the number of tokens between two stops.
    decode_steps: int = 8
    # Prompts and long forced texts are fed in blocks of this many tokens.
    block_tokens: int = 16
    # The most stop ids that a request may name.
    max_stops: int = 8
    # The most token ids whose log-probabilities a request may ask for.
    max_logprob_ids: int = 2
    # Devices that share the layers of one slot group, for models that do not fit into one.
    tensor: int = 1
    # Visits of one slot group that may be under way at once. With 2 the device never waits for the
    # host, but a slot that stops idles for one more visit.
    in_flight: int = 1
    # Cache entries that attention reads at a time, up to the longest slot that runs; 0 reads all at once. On a CPU
    # spans pay for contexts that are mostly empty. A slot's bits depend on the span, not on other slots.
    attend_span: int = 0
    # Entries of a slot and of a row at first. They double when a sample needs more, which compiles anew and changes no
    # bit where spans are read. 0: all that may ever be needed.
    first_entries: int = 0
    # Rows of shared prompts, over all slot groups. Twice slots / samples of a prompt is plenty.
    prefix_rows: int = 0
    # The most slots that read one row. Samples beyond that take several rows.
    row_slots: int = 8
    # The longest prompt (0: context_tokens). Without rows it has no meaning.
    prefix_tokens: int = 0
    # The most tokens that a sample adds to its prompt, generated and forced together (0:
    # context_tokens). Without rows it has no meaning.
    own_tokens: int = 0

    def __post_init__(self):
        may_be_zero = {"max_logprob_ids", "max_stops", "attend_span", "first_entries"}
        may_be_zero |= {"prefix_rows", "prefix_tokens", "own_tokens"}
        for name, size in dataclasses.asdict(self).items():
            least = 0 if name in may_be_zero else 1
            if size < least:
                raise UserError(f"sample: {name} = {size} must be at least {least}")
        for name in ("slots", "prefix_rows"):
            if getattr(self, name) % self.slot_groups:
                raise UserError(
                    f"sample: {name} = {getattr(self, name)} must be a multiple of slot_groups = {self.slot_groups}"
                )

    @property
    def group_slots(self) -> int:
        """Slots of one group: the batch of a decode step."""
        return self.slots // self.slot_groups

    @property
    def group_rows(self) -> int:
        """Prefix rows of one group."""
        return self.prefix_rows // self.slot_groups

    @property
    def most_prompt_tokens(self) -> int:
        """The longest prompt."""
        return (self.prefix_rows and self.prefix_tokens) or self.context_tokens

    @property
    def most_own_tokens(self) -> int:
        """The most tokens that may follow a prompt."""
        return (self.prefix_rows and self.own_tokens) or self.context_tokens

    @property
    def slot_entries(self) -> int:
        """Tokens whose keys and values a slot may hold: the context in whole blocks, or what may follow a prompt."""
        if self.prefix_rows:
            return self.most_own_tokens
        return -(-self.context_tokens // self.block_tokens) * self.block_tokens

    def entries_for(self, needed: int, most: int, held: int = 0) -> int:
        """Entries of a line that has to hold `needed` of at most `most`: `held` as long as they are enough."""
        entries = held or min(self.first_entries or most, most)
        while entries < needed:
            entries = min(2 * entries, most)
        return entries
