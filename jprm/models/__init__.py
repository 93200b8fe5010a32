"""The model: one Transformer, its named sizes, its attention over packed rows, and what it costs.

Enter by `bind(preset("tiny-0.5m", tokenizer.vocab_size), TRAIN_RULES)`, which gives a `Model` whose
methods are pure functions over a plain dict of arrays.
"""

from jprm.models.attention import segment_attention
from jprm.models.config import PRESETS, ModelConfig, preset
from jprm.models.costs import decode_flops, parameter_count, prefill_flops, train_flops
from jprm.models.transformer import Model, bind, split_layers

__all__ = [
    "PRESETS",
    "Model",
    "ModelConfig",
    "bind",
    "decode_flops",
    "parameter_count",
    "prefill_flops",
    "preset",
    "segment_attention",
    "split_layers",
    "train_flops",
]
