"""The rotary positions of a checkpoint, from the fields of its `config.json` and back."""

import math
from typing import Any

from jprm.errors import UserError
from jprm.models.config import Llama3Scaling, RopeScaling, YarnScaling
from jprm.models.hf_fields import Fields


def read_rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Reads theta and the scaling: transformers 5 keeps both in `rope_parameters`, earlier versions in two fields."""
    key = "rope_parameters" if fields.get("rope_parameters") is not None else "rope_scaling"
    given = fields.get(key, {})
    if not isinstance(given, dict):
        raise fields.wrong(key, "an object")
    rope = Fields(f"{fields.where}: {key}", given)
    theta = (rope if "rope_theta" in given else fields).number("rope_theta")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if not isinstance(kind, str) or kind not in SCALINGS:
        known = ", ".join(map(repr, ["default", *SCALINGS]))
        raise UserError(f"{rope.where}: rope_type = {kind!r:.40} is not supported; supported are {known}")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise rope.wrong("partial_rotary_factor", "1: the whole head is rotated")
    return theta, SCALINGS[kind](rope)


def _llama3(rope: Fields) -> Llama3Scaling:
    return Llama3Scaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_context=rope.integer("original_max_position_embeddings"),
    )


def _yarn(rope: Fields) -> YarnScaling:
    """Reads YaRN's fields with the defaults of transformers.

    `attn_factor` multiplies the default attention factor, as for vLLM: DeepSeek-R1-0528-Qwen3-8B takes it back to 1
    so. transformers knows no such field and passes it over.
    """
    factor = rope.number("factor")
    attention = rope.optional("attention_factor")
    if attention is None:
        whole, shared = rope.optional("mscale"), rope.optional("mscale_all_dim")
        both = whole and shared
        attention = _mscale(factor, whole) / _mscale(factor, shared) if both else _mscale(factor, 1.0)
        attention *= rope.optional("attn_factor", 1.0)
    return YarnScaling(
        factor=factor,
        original_context=rope.integer("original_max_position_embeddings"),
        attention_factor=attention,
        beta_fast=rope.optional("beta_fast", 32.0),
        beta_slow=rope.optional("beta_slow", 1.0),
        truncate=rope.flag("truncate", True),
    )


def _mscale(factor: float, weight: float) -> float:
    """Computes YaRN's 0.1 weight ln(factor) + 1, and 1 where nothing is scaled."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


SCALINGS = {"llama3": _llama3, "yarn": _yarn}


def rope_fields(scaling: RopeScaling | None) -> dict[str, Any]:
    """Returns the fields from which `read_rope` makes the scaling."""
    if scaling is None:
        return {"rope_type": "default"}
    common = {"factor": scaling.factor, "original_max_position_embeddings": scaling.original_context}
    if isinstance(scaling, Llama3Scaling):
        bands = {"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
        return {"rope_type": "llama3", **common, **bands}
    return {
        "rope_type": "yarn",
        **common,
        "attention_factor": scaling.attention_factor,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "truncate": scaling.truncate,
    }
