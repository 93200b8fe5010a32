"""Where the model of a role comes from: a preset trained from scratch, a checkpoint on disk, or a server.

    ModelSource          a tokenizer, and a sampler when it is asked for
      ModelWeights       also the weights, which can be trained further
        Base             a preset, trained from scratch on documents of a world      (`jprm.tasks.base`)
        Pretrained       a Hugging Face directory                                    (`jprm.tasks.pretrained`)
      Served             a model on a server, which is only sampled                  (`jprm.tasks.served`)

Policies, teachers and verifiers are made from them, and do not ask which kind they have.
"""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jprm.jobs import Stages, Task
from jprm.quoting import TextCodec
from jprm.sampling import Sampler, SamplingParams

if TYPE_CHECKING:  # JAX is imported when the first model is needed, not before
    from jprm.models import Model, ModelConfig
    from jprm.sample import Engine


@dataclass(frozen=True)
class SamplerSizes:
    """How large a sampler has to be.

    context_tokens: of the longest text. slots: the texts that are written side by side. stop_texts: the texts of more
    than one token at which it stops (see `RationaleFormat.all_stops`). shared_prompts: as in `choose_sizes`.
    """

    context_tokens: int
    slots: int
    stop_texts: tuple[str, ...] = ()
    shared_prompts: bool = False


class ModelSource(Task):
    """A model of some kind as a task, whose stage is finished when the model can be used.

    size: what tables call it.
    """

    size: str

    @property
    @abstractmethod
    def tokenizer(self) -> TextCodec:
        """The vocabulary that it reads and writes."""

    @abstractmethod
    def sampler(self, stages: Stages, sampling: SamplingParams, sizes: SamplerSizes) -> Sampler:
        """Opens a sampler of the model. It is a context manager where something has to be closed (`opened`)."""

    @abstractmethod
    def decode_flops(self, context_tokens: int, tokens: float) -> float:
        """The FLOPs of drawing this many tokens, each behind half of a context; 0 where they are not known."""


class ModelWeights(ModelSource):
    """A model whose weights are here."""

    @property
    @abstractmethod
    def config(self) -> ModelConfig:
        """The shapes of the model."""

    @abstractmethod
    def params(self, stages: Stages) -> dict:
        """The weights in float32, as training wants them."""

    @abstractmethod
    def engine(self, params: dict, sampling: SamplingParams, sizes: SamplerSizes) -> Engine:
        """An engine for these weights, which may be others of the same shapes."""

    @abstractmethod
    def save_tokenizer(self, folder: Path) -> None:
        """Writes what reads the model's tokens, and what an export of the model keeps."""

    @property
    def model(self) -> Model:
        """The model. Equal shapes share one model, and so its compiled programs."""
        return _bound(self.config)

    def sampler(self, stages: Stages, sampling: SamplingParams, sizes: SamplerSizes) -> Engine:
        return self.engine(self.params(stages), sampling, sizes)

    def decode_flops(self, context_tokens: int, tokens: float) -> float:
        from jprm.models.costs import decode_flops

        return decode_flops(self.config, context_tokens // 2, 1) * tokens


@contextlib.contextmanager
def opened(sampler: Sampler) -> Iterator[Sampler]:
    """Closes a sampler in the end, where there is something to close."""
    with contextlib.ExitStack() as stack:
        if isinstance(sampler, contextlib.AbstractContextManager):
            stack.enter_context(sampler)
        yield sampler


@functools.cache
def _bound(config: ModelConfig) -> Model:
    from jprm.mesh import TRAIN_RULES
    from jprm.models import bind

    return bind(config, TRAIN_RULES)
