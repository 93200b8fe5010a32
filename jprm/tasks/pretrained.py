"""A model that was trained elsewhere: a Hugging Face directory, perhaps with adapters that are merged on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jprm.digests import files_digest
from jprm.errors import UserError
from jprm.formats.protocols import PROTOCOL_FILE
from jprm.jobs import Stage, Stages
from jprm.models.locate import Checkpoint, find_checkpoint
from jprm.sampling import SamplingParams
from jprm.tasks.model_source import ModelWeights, SamplerSizes
from jprm.tasks.resources import TaskContext
from jprm.tasks.settings import ModelChoice
from jprm.verify import trigger_ids

if TYPE_CHECKING:  # these load JAX and transformers
    from jprm.chat import ChatCodec
    from jprm.models import ModelConfig
    from jprm.sample import Engine

# The files of a checkpoint's directory that can reach a model or its tokenizer; the protocol is told by itself.
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".npz", ".json", ".jinja", ".model", ".tiktoken", ".txt", ".py")


@dataclass(frozen=True, eq=False)
class Pretrained(ModelWeights):
    """A checkpoint; `Pretrained.of` finds it. dtype, tensor: as in `ModelChoice`."""

    kind: ClassVar[str] = "pretrained"
    checkpoint: Checkpoint
    size: str
    dtype: str | None = None
    tensor: int | None = None

    @classmethod
    def of(cls, choice: ModelChoice, option: str) -> Pretrained:
        """Finds the checkpoint that a configuration names at `option`. Raises UserError where there is none."""
        checkpoint = find_checkpoint(choice.model, option)
        return cls(checkpoint, name_of(choice.model), choice.dtype, choice.tensor)

    @property
    def label(self) -> str:
        return f"{self.size}, a checkpoint"

    def inputs(self) -> dict[str, Any]:
        adapters = [model_digest(directory) for directory in self.checkpoint.adapters]
        own = {"size": self.size, "model": model_digest(self.checkpoint.directory), "dtype": self.dtype}
        return own | ({"adapters": adapters} if adapters else {})

    def compute(self, stage: Stage, context: TaskContext) -> dict[str, Any]:
        """Counts the parameters; there is nothing to train."""
        from jprm.models import parameter_count

        return {"params": parameter_count(self.config), "directory": str(self.checkpoint.directory)}

    def seconds(self, speed: Any) -> float:
        """0: nothing is computed."""
        return 0.0

    def save_tokenizer(self, folder: Path) -> None:
        from jprm.models.hf_export import copy_description

        copy_description(self.checkpoint.directory, folder)

    @property
    def tokenizer(self) -> ChatCodec:
        return codec_of(self.checkpoint.directory)

    @functools.cached_property
    def config(self) -> ModelConfig:
        """The shapes. Raises UserError where tokenizer and model are not of one checkpoint."""
        from jprm.models.hf_config import read_config

        config = read_config(self.checkpoint.directory)
        if self.tokenizer.vocab_size > config.vocab_size:
            raise UserError(
                f"{self.checkpoint.directory}: the tokenizer has {self.tokenizer.vocab_size} tokens, config.json "
                f"{config.vocab_size}; they are not of one checkpoint"
            )
        return config

    def params(self, stages: Stages) -> dict:
        return self._load("float32")

    def sampler(self, stages: Stages, sampling: SamplingParams, sizes: SamplerSizes) -> Engine:
        return self.engine(self._load(self._sampling_dtype, stacked=False), sampling, sizes)

    def engine(self, params: dict, sampling: SamplingParams, sizes: SamplerSizes) -> Engine:
        """An engine whose slots are as many as are asked for, or as the memory holds."""
        import jax
        import jax.numpy as jnp

        from jprm.sample import Engine
        from jprm.tasks.samplers import choose_sizes

        dtype = self._sampling_dtype or jax.tree.leaves(params)[0].dtype
        params = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype != dtype else leaf, params)
        chosen = choose_sizes(
            self.config,
            jnp.dtype(dtype).itemsize,
            sizes.context_tokens,
            most_slots=sizes.slots,
            tensor=self.tensor,
            shared_prompts=sizes.shared_prompts,
        )
        triggers = trigger_ids(self.tokenizer, self.tokenizer.vocab_size, sizes.stop_texts) if sizes.stop_texts else ()
        return Engine(self.model, params, chosen, sampling, seed=0, triggers=triggers)

    @property
    def _sampling_dtype(self) -> str | None:
        """The type of weights and caches: what was chosen, else float32 on CPUs, elsewhere that of the files."""
        import jax

        return self.dtype or ("float32" if jax.local_devices()[0].platform == "cpu" else None)

    def _load(self, dtype: str | None, stacked: bool = True) -> dict:
        from jprm.train.lora import from_checkpoint

        return from_checkpoint(self.checkpoint, dtype, stacked)[1]


@functools.cache
def codec_of(directory: Path) -> ChatCodec:
    """The tokenizer of a checkpoint's directory, loaded once. Raises UserError where it cannot be read."""
    from jprm.chat import ChatCodec

    return ChatCodec.load(directory)


def model_digest(directory: Path) -> str:
    """16 hex digits over a checkpoint's files: names and contents, every byte. Raises UserError."""
    files = (p for p in directory.glob("*") if p.suffix in SUFFIXES and p.name != PROTOCOL_FILE)
    return files_digest(p for p in files if p.is_file())


def name_of(model: str) -> str:
    """What tables call a checkpoint: the last part of its directory or of its name on the hub."""
    return Path(model).expanduser().resolve().name if Path(model).expanduser().exists() else model.rsplit("/", 1)[-1]
