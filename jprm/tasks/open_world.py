"""A world that is loaded, with its vocabulary and the models that speak it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jprm.tasks.settings import WorldSection
from jprm.worlds import load_world

if TYPE_CHECKING:  # JAX is imported when the first model is needed, not before
    from jprm.models import Model, ModelConfig
    from jprm.sample import Engine
    from jprm.tokenizer import Tokenizer


class OpenWorld:
    """A loaded world, what decides its texts, and models with its vocabulary, each made once."""

    def __init__(self, section: WorldSection, root: Path | None = None):
        """Loads the world; `root` is the folder of its files where its settings name none. Raises UserError."""
        files = {} if section.kind == "embedded" else {"root": root}
        self.kind = section.kind
        self.world = load_world(section.kind, **files | section.settings)
        self.identity: dict[str, Any] = {
            "kind": section.kind,
            "settings": {k: v for k, v in section.settings.items() if k not in self.world.path_settings},
            "version": self.world.version,
            "data": self.world.digest,
        }

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The world's vocabulary."""
        return self.world.tokenizer()

    def model_config(self, size: str) -> ModelConfig:
        """The shapes of a preset with this vocabulary, whose size is rounded up to a multiple of 8."""
        from jprm.models import preset

        return preset(size, -(-self.tokenizer.vocab_size // 8) * 8)

    def model(self, size: str) -> Model:
        """The model of a preset with this vocabulary. Equal shapes share one model, and so its compiled programs."""
        return _bound(self.model_config(size))

    def engine(self, size: str, params: dict, *, temperature: float, context_tokens: int, slots: int) -> Engine:
        """A sampling engine for these weights. A shorter context is faster, since attention reads all of it."""
        from jprm.sample import Engine, EngineConfig, SamplingParams

        sizes = EngineConfig(slots=slots, context_tokens=context_tokens)
        return Engine(self.model(size), params, sizes, SamplingParams(temperature=temperature), seed=0)

    def decode_flops(self, size: str, context_tokens: int, tokens: float) -> float:
        """The FLOPs of drawing this many tokens, each behind half of a context."""
        from jprm.models.costs import decode_flops

        return decode_flops(self.model_config(size), context_tokens // 2, 1) * tokens


@functools.cache
def _bound(config: ModelConfig) -> Model:
    from jprm.mesh import TRAIN_RULES
    from jprm.models import bind

    return bind(config, TRAIN_RULES)
