"""The policy: a model that writes solutions, and how it is asked."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jprm.errors import UserError
from jprm.jobs import Stages
from jprm.label import LostProblem, WrittenSolution, sample_solutions
from jprm.prompt import BARE, PolicyPrompt
from jprm.quoting import TextCodec
from jprm.records import Problem
from jprm.sampling import Sampler, SamplingParams
from jprm.seeds import seed_of
from jprm.tasks.model_source import ModelSource, SamplerSizes, opened
from jprm.tasks.open_world import OpenWorld
from jprm.tasks.settings import PromptSection

CHUNK_PROBLEMS = 512


@dataclass(frozen=True)
class Policy:
    """A model and how it is sampled; see `LabelSection`, `ModelSection` and `PromptSection` for the fields.

    asking: None for a model that was trained on the world's documents, which is asked with the bare problem.
    """

    world: OpenWorld
    model: ModelSource
    seed: int
    temperature: float
    max_tokens: int
    context_tokens: int
    slots: int
    asking: PromptSection | None = None

    @functools.cached_property
    def prompt(self) -> PolicyPrompt:
        """The text around a problem. Raises UserError for a chat template that cannot be used so."""
        return BARE if self.asking is None else prompt_of(self.asking, self.model.tokenizer)

    def inputs(self) -> dict[str, Any]:
        """How it is asked, as inputs of a task; nothing for the bare problem, as in keys from before there was more."""
        return {} if self.asking is None else {"prompt": self.asking.model_dump(mode="json")}

    def sampler(self, stages: Stages, stop_texts: tuple[str, ...] = ()) -> Sampler:
        """Opens a sampler that writes solutions, and can stop at texts of several tokens; `opened` closes it."""
        top_k, top_p = (self.asking.top_k, self.asking.top_p) if self.asking else (0, 1.0)
        sizes = SamplerSizes(self.context_tokens, self.slots, stop_texts)
        return self.model.sampler(stages, SamplingParams(self.temperature, top_k, top_p), sizes)

    def sample(
        self, stages: Stages, problems: Sequence[Problem], n: int, seed: int, purpose: str
    ) -> list[tuple[WrittenSolution, ...]]:
        """`n` samples of each problem, in the order of the problems. Raises UserError where a server lost some."""
        with opened(self.sampler(stages)) as sampler:
            chunks = sample_solutions(
                problems,
                n,
                self.world.world,
                sampler,
                self.model.tokenizer,
                seed=seed_of(seed, purpose),
                max_tokens=self.max_tokens,
                chunk_problems=CHUNK_PROBLEMS,
                prompt=self.prompt,
            )
            records = [record for chunk in chunks for record in chunk]
        lost = [record for record in records if isinstance(record, LostProblem)]
        if lost:
            raise UserError(f"{len(lost)} of {len(problems)} problems lost samples ({lost[0].reason}); run again")
        return [record.samples for record in records if not isinstance(record, LostProblem)]

    def flops(self, tokens: float) -> float:
        """The expected FLOPs of writing this many tokens."""
        return self.model.decode_flops(self.context_tokens, tokens)


def prompt_of(asking: PromptSection, codec: TextCodec) -> PolicyPrompt:
    """Returns the prompt of a checkpoint with this tokenizer. Raises UserError as `policy_prompt` does."""
    from jprm.chat import ChatCodec, policy_prompt

    assert isinstance(codec, ChatCodec), "models of a world are asked with the bare problem"
    chat = codec.has_chat_template if asking.style == "auto" else asking.style == "chat"
    return policy_prompt(
        codec, asking.instruction, chat=chat, system=asking.system, begin=asking.begin, **asking.options
    )
