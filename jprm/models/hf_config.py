"""`config.json` of Hugging Face checkpoints: read into a ModelConfig, and written from one.

A family is known by its `model_type`. A field that would change the arithmetic in a way that the
Transformer does not have is refused, never ignored: a model that runs with the wrong attention
window or rotation answers almost right.
"""

import dataclasses
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.models.config import ModelConfig
from jprm.models.hf_fields import Fields, read_fields
from jprm.models.hf_rope import read_rope, rope_fields

MOST_LAYERS = 1000  # a table of tensors for a billion layers would fill the memory


CAUSAL_LM = "ForCausalLM"  # the ending of an architecture whose head predicts tokens


@dataclasses.dataclass(frozen=True)
class Family:
    """What a `model_type` of transformers fixes without a field of config.json for it.

    stem: what all architectures of the family begin with; what they end with says which head they have.
    """

    stem: str
    qkv_bias: bool
    qk_norm: bool
    own_head_dim: bool  # head_dim must be given; elsewhere it defaults to hidden size / heads

    @property
    def architecture(self) -> str:
        """The name of the language model."""
        return self.stem + CAUSAL_LM


FAMILIES = {
    "qwen2": Family("Qwen2", qkv_bias=True, qk_norm=False, own_head_dim=False),
    "qwen3": Family("Qwen3", qkv_bias=False, qk_norm=True, own_head_dim=True),
    "llama": Family("Llama", qkv_bias=False, qk_norm=False, own_head_dim=False),
    "mistral": Family("Mistral", qkv_bias=False, qk_norm=False, own_head_dim=False),
}
SUPPORTED = (
    "supported are qwen2 (Qwen2, Qwen2.5, R1-Distill-Qwen), qwen3 (dense Qwen3), llama (Llama 3.x) and mistral "
    "(without a sliding window), all ...ForCausalLM"
)


def read_config(directory: Path, ending: str = CAUSAL_LM) -> ModelConfig:
    """Returns the shapes that `directory`/config.json describes.

    ending: the ending of the architecture, which names its head; see `jprm.models.hf_weights.Head` for others.
    Raises UserError, naming the file and the field, where it is absent, not JSON, incomplete, of
    another architecture, or asks for what the Transformer does not have.
    """
    fields = read_fields(directory)
    family = _family(fields, ending)
    _refuse_unsupported(fields)
    embed, n_heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if family.own_head_dim or fields.get("head_dim") is not None:
        head_dim = fields.integer("head_dim")
    elif embed % n_heads:
        raise fields.wrong("hidden_size", f"a multiple of num_attention_heads = {n_heads}")
    else:
        head_dim = embed // n_heads
    try:
        theta, scaling = read_rope(fields)
        return ModelConfig(
            vocab_size=fields.integer("vocab_size"),
            n_layers=fields.integer("num_hidden_layers", MOST_LAYERS),
            embed=embed,
            n_heads=n_heads,
            n_kv_heads=fields.integer("num_key_value_heads"),
            head_dim=head_dim,
            mlp=fields.integer("intermediate_size"),
            rope_theta=theta,
            rope_scaling=scaling,
            qkv_bias=family.qkv_bias,
            qk_norm=family.qk_norm,
            tied=fields.flag("tie_word_embeddings") or ending != CAUSAL_LM,  # no head of tokens is read there
            norm_eps=fields.number("rms_norm_eps"),
        )
    except UserError as error:
        if str(error).startswith("model:"):
            raise UserError(f"{fields.where}: {error}") from None
        raise


def config_fields(config: ModelConfig, dtype: str, source: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a config.json from which `read_config` makes `config` (embed_scale 1).

    `source` gives the fields that say nothing of the arithmetic (special token ids, the longest
    context); what it says otherwise is replaced.
    """
    name = family_of(config)
    scaling = {"rope_theta": config.rope_theta} | rope_fields(config.rope_scaling)
    old_names = ("torch_dtype", "rope_theta", "rope_scaling", "rope_parameters", "head_dim")
    fields = {key: value for key, value in source.items() if key not in old_names} | {
        "architectures": [FAMILIES[name].architecture],
        "model_type": name,
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": scaling,
        # Readers from before transformers 5 look here instead.
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling if config.rope_scaling is not None else None,
        "tie_word_embeddings": config.tied,
        "dtype": dtype,
    }
    if FAMILIES[name].own_head_dim or config.head_dim * config.n_heads != config.embed:
        fields["head_dim"] = config.head_dim
    return fields


def family_of(config: ModelConfig) -> str:
    """Returns the first `model_type` that has these options: a Mistral is a Llama. Raises UserError where none has."""
    for name, family in FAMILIES.items():
        if (family.qkv_bias, family.qk_norm) == (config.qkv_bias, config.qk_norm):
            return name
    raise UserError(
        f"model: no Hugging Face family has qkv_bias = {config.qkv_bias} with qk_norm = {config.qk_norm}; {SUPPORTED}"
    )


def _family(fields: Fields, ending: str) -> Family:
    name = fields.get("model_type")
    if name is None:
        raise UserError(f"{fields.where}: the field 'model_type' is missing; {SUPPORTED}")
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"{fields.where}: model_type = {name!r} is not supported; {SUPPORTED}")
    family = FAMILIES[name]
    # A reward head or a sequence classifier shares the model_type but not the last layer.
    architectures = fields.names("architectures")
    if (architectures or ending != CAUSAL_LM) and family.stem + ending not in architectures:
        wanted = SUPPORTED if ending == CAUSAL_LM else f"a {family.stem + ending} is wanted here"
        raise UserError(f"{fields.where}: architectures = {architectures} is not supported; {wanted}")
    return family


def _refuse_unsupported(fields: Fields) -> None:
    def refuse(key: str, why: str) -> None:
        raise UserError(f"{fields.where}: {key} = {fields.get(key)!r} is not supported; {why}")

    if fields.get("hidden_act", "silu") != "silu":
        refuse("hidden_act", "the gated layer uses silu")
    for key in ("attention_bias", "mlp_bias"):
        if fields.get("model_type") != "qwen2" and fields.flag(key):
            refuse(key, "of these families only qwen2 has biases, on queries, keys and values")
    if fields.get("quantization_config") is not None:
        refuse("quantization_config", "give a checkpoint of f32, f16 or bf16 weights")
    if fields.get("partial_rotary_factor", 1) != 1:
        refuse("partial_rotary_factor", "the whole head is rotated")
    if set(fields.names("layer_types")) - {"full_attention"}:
        refuse("layer_types", "every layer attends to the whole context (full_attention)")
    if fields.get("model_type") == "mistral":
        if "sliding_window" not in fields.values:
            raise UserError(
                f"{fields.where}: the field 'sliding_window' is missing, which stands for a window of 4096 tokens in "
                "Mistral; every layer attends to the whole context: set it to null if the model was trained so"
            )
        if fields.get("sliding_window") is not None:
            refuse("sliding_window", "every layer attends to the whole context (null)")
    # Qwen2's window holds from layer max_window_layers on, if it is switched on at all.
    if not fields.names("layer_types") and fields.flag("use_sliding_window"):
        first = fields.get("max_window_layers", 0)
        if type(first) is not int or first < fields.integer("num_hidden_layers"):
            refuse("use_sliding_window", "every layer attends to the whole context")
