"""The policy: a base model that writes solutions."""

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.jobs import Stages
from jprm.label import Rollout, sample_solutions
from jprm.records import Problem
from jprm.seeds import seed_of
from jprm.tasks.base import Base, load_weights

CHUNK_PROBLEMS = 512


@dataclass(frozen=True)
class Policy:
    """A base model and how it is sampled; see `LabelSection` and `ModelSection` for the fields."""

    base: Base
    temperature: float
    max_tokens: int
    context_tokens: int
    slots: int

    def engine(self, stages: Stages):
        """An engine that writes solutions."""
        return self.base.world.engine(
            self.base.size,
            load_weights(stages, self.base),
            temperature=self.temperature,
            context_tokens=self.context_tokens,
            slots=self.slots,
        )

    def sample(
        self, stages: Stages, problems: Sequence[Problem], n: int, seed: int, purpose: str
    ) -> list[tuple[Rollout, ...]]:
        """`n` samples of each problem, in the order of the problems."""
        chunks = sample_solutions(
            problems,
            n,
            self.base.world.world,
            self.engine(stages),
            self.base.world.tokenizer,
            seed=seed_of(seed, purpose),
            max_tokens=self.max_tokens,
            chunk_problems=CHUNK_PROBLEMS,
        )
        return [record.samples for chunk in chunks for record in chunk]

    def flops(self, tokens: float) -> float:
        """The expected FLOPs of writing this many tokens."""
        return self.base.world.decode_flops(self.base.size, self.context_tokens, tokens)
