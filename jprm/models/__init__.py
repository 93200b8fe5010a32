"""The model: one Transformer, its named sizes, its attention over packed rows, and what it costs.

Enter by `bind(preset("tiny-0.5m", tokenizer.vocab_size), TRAIN_RULES)`, which gives a `Model` whose
methods are pure functions over a plain dict of arrays; or by `from_hf(directory)`, which reads a
Hugging Face checkpoint (`to_hf` writes one). `jprm.models.locate` finds its directory. Names are
loaded when they are first used: a mistake in a checkpoint's files is answered before JAX has loaded.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jprm.models.attention import segment_attention
    from jprm.models.config import PRESETS, ModelConfig, preset
    from jprm.models.costs import decode_flops, parameter_count, train_flops
    from jprm.models.hf_export import to_hf
    from jprm.models.hf_weights import from_hf
    from jprm.models.transformer import Model, bind, split_layers

_LATE = {
    **dict.fromkeys(("PRESETS", "ModelConfig", "preset"), "config"),
    **dict.fromkeys(("decode_flops", "parameter_count", "train_flops"), "costs"),
    **dict.fromkeys(("Model", "bind", "split_layers"), "transformer"),
    "segment_attention": "attention",
    "from_hf": "hf_weights",
    "to_hf": "hf_export",
}


def __getattr__(name: str):
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
