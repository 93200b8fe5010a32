"""A model on a server that speaks OpenAI's protocol: it is sampled, and never trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jprm.jobs import Stage, Stages
from jprm.models.locate import find_checkpoint
from jprm.sampling import SamplingParams
from jprm.tasks.model_source import ModelSource, SamplerSizes
from jprm.tasks.pretrained import codec_of, model_digest, name_of
from jprm.tasks.resources import TaskContext
from jprm.tasks.samplers import API_KEY, ENGINE_SEED
from jprm.tasks.settings import ModelChoice
from jprm.verify import trigger_ids

if TYPE_CHECKING:  # loads transformers
    from jprm.chat import ChatCodec
    from jprm.openai import OpenAISampler

TRIES = 20  # of a request, over about five minutes: a server that is started again is waited for


@dataclass(frozen=True, eq=False)
class Served(ModelSource):
    """A served model; `Served.of` finds its tokenizer, which has to lie here."""

    kind: ClassVar[str] = "served"
    choice: ModelChoice
    directory: Path
    size: str

    @classmethod
    def of(cls, choice: ModelChoice, option: str) -> Served:
        """Finds the tokenizer of the model that a configuration names at `option`. Raises UserError for none."""
        directory = find_checkpoint(choice.model, option, weights=False).directory
        return cls(choice, directory, choice.served_model or name_of(choice.model))

    @property
    def label(self) -> str:
        return f"{self.size}, served"

    def inputs(self) -> dict[str, Any]:
        """The model's name and its tokenizer; where the server stands decides nothing."""
        return {"served_model": self.choice.served_model, "tokenizer": model_digest(self.directory)}

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Asks the server what it can do. Raises UserError where none answers."""
        with self._open(SamplingParams(), ()) as sampler:
            about = f"{sampler.url} serves {sampler.model}: {sampler.dialect}"
        context.progress.note(about)
        return {"about": about}

    @property
    def tokenizer(self) -> ChatCodec:
        return codec_of(self.directory)

    def sampler(self, stages: Stages, sampling: SamplingParams, sizes: SamplerSizes) -> OpenAISampler:
        return self._open(sampling, sizes.stop_texts)

    def decode_flops(self, context_tokens: int, tokens: float) -> float:
        """0: how large the model is, only its server knows."""
        return 0.0

    def _open(self, sampling: SamplingParams, stop_texts: tuple[str, ...]) -> OpenAISampler:
        from jprm.openai import OpenAISampler

        codec, choice = self.tokenizer, self.choice
        return OpenAISampler(
            choice.base_url,
            codec,
            sampling,
            model=choice.served_model,
            seed=ENGINE_SEED,
            stop_texts=stop_texts,
            triggers=trigger_ids(codec, codec.vocab_size, stop_texts) if stop_texts else (),
            concurrency=choice.concurrency,
            api_key=os.environ.get(API_KEY, ""),
            tries=TRIES,
        )
