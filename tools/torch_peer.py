"""The model of one of our configurations in transformers with torch, for benchmarks beside it."""

from typing import Any

from jprm.models import ModelConfig
from jprm.models.hf_config import config_fields


def torch_model(config: ModelConfig, dtype: str, **fields: Any) -> Any:
    """A causal language model with random weights, attention by SDPA; `fields` are of its config.json.

    It is made on torch's default device.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = config_fields(config, dtype, fields)
    made: Any = AutoConfig.for_model(fields.pop("model_type"), **fields)
    return AutoModelForCausalLM.from_config(made, dtype=getattr(torch, dtype), attn_implementation="sdpa")
