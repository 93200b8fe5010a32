"""What a search spent: tokens and FLOPs of the generator and of the verifier, kept apart.

Strategies are comparable only at equal compute, and the verifier's share is often the larger one
("When to solve, when to verify", arXiv 2504.01005), so every row of a search carries both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens that a model read and wrote, and the FLOPs of both.

    reread_tokens, reread_flops: the part of `prompt_tokens` and `flops` that went into reading again
    what the same search had read or written before; where prefixes stay cached, it is not spent.
    """

    prompt_tokens: int = 0
    generated_tokens: int = 0
    flops: float = 0.0
    reread_tokens: int = 0
    reread_flops: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.flops + other.flops,
            self.reread_tokens + other.reread_tokens,
            self.reread_flops + other.reread_flops,
        )

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.generated_tokens


@dataclass(frozen=True, slots=True)
class SearchCost:
    """What the search of one problem has cost."""

    generator: Cost = field(default_factory=Cost)
    verifier: Cost = field(default_factory=Cost)

    def __add__(self, other: SearchCost) -> SearchCost:
        return SearchCost(self.generator + other.generator, self.verifier + other.verifier)

    @property
    def flops(self) -> float:
        """FLOPs of both models, by which searches are compared."""
        return self.generator.flops + self.verifier.flops

    @property
    def cached_flops(self) -> float:
        """FLOPs where prefixes stay cached: without what was read again."""
        return self.flops - self.generator.reread_flops - self.verifier.reread_flops


@dataclass(frozen=True, slots=True)
class ModelCost:
    """FLOPs of a model in three numbers; `jprm.models.costs.forward_flops` is linear in their counts.

    per_token: FLOPs of one token through the layers. per_pair: of one (query, key) pair. per_logits: of
    one row of logits. `ModelCost()` counts no FLOPs.
    """

    per_token: float = 0.0
    per_pair: float = 0.0
    per_logits: float = 0.0

    def cost(self, context: int, prompt: int, generated: int = 0) -> Cost:
        """The cost of reading `prompt` tokens behind `context` known ones, then writing `generated`."""
        read = prompt * context + prompt * (prompt + 1) / 2
        behind = context + prompt
        written = generated * behind + generated * (generated + 1) / 2
        flops = (
            self.per_token * (prompt + generated)
            + self.per_pair * (read + written)
            + self.per_logits * (generated + (prompt > 0))
        )
        return Cost(prompt, generated, flops)

    def reread(self, tokens: int) -> Cost:
        """The cost of reading a text of `tokens` from its beginning that has been read or written before."""
        cost = self.cost(0, tokens)
        return replace(cost, reread_tokens=tokens, reread_flops=cost.flops)
