"""`config.json` of Hugging Face checkpoints: read into a ModelConfig, and written from one.

A family is known by its `model_type`. A field that would change the arithmetic in a way that the
Transformer does not have is refused, never ignored: a model that runs with the wrong attention
window or rotation answers almost right.
"""

import dataclasses
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.models.config import ModelConfig, RopeScaling
from jprm.strict_json import read_object

FILE = "config.json"
# Far beyond every model there is; a table of tensors for a billion layers would fill the memory.
MOST, MOST_LAYERS = 1 << 30, 1000


@dataclasses.dataclass(frozen=True)
class Family:
    """What a `model_type` of transformers fixes without a field of config.json for it."""

    architecture: str
    qkv_bias: bool
    qk_norm: bool
    own_head_dim: bool  # head_dim must be given; elsewhere it defaults to hidden size / heads


FAMILIES = {
    "qwen2": Family("Qwen2ForCausalLM", qkv_bias=True, qk_norm=False, own_head_dim=False),
    "qwen3": Family("Qwen3ForCausalLM", qkv_bias=False, qk_norm=True, own_head_dim=True),
    "llama": Family("LlamaForCausalLM", qkv_bias=False, qk_norm=False, own_head_dim=False),
}
SUPPORTED = (
    "supported are qwen2 (Qwen2, Qwen2.5, R1-Distill-Qwen), qwen3 (dense Qwen3) and llama (Llama 3.x), "
    "all ...ForCausalLM"
)


def read_config(directory: Path) -> ModelConfig:
    """Returns the shapes that `directory`/config.json describes.

    Raises UserError, naming the file and the field, where it is absent, not JSON, incomplete, of
    another architecture, or asks for what the Transformer does not have.
    """
    fields = read_fields(directory)
    family = _family(fields)
    _refuse_unsupported(fields)
    embed, n_heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if family.own_head_dim or fields.get("head_dim") is not None:
        head_dim = fields.integer("head_dim")
    elif embed % n_heads:
        raise fields.wrong("hidden_size", f"a multiple of num_attention_heads = {n_heads}")
    else:
        head_dim = embed // n_heads
    try:
        theta, scaling = _rope(fields)
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
            tied=fields.flag("tie_word_embeddings"),
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
    scaling: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if (s := config.rope_scaling) is not None:
        scaling |= {
            "rope_type": "llama3",
            "factor": s.factor,
            "low_freq_factor": s.low_freq_factor,
            "high_freq_factor": s.high_freq_factor,
            "original_max_position_embeddings": s.original_context,
        }
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
    """Returns the `model_type` that has these options. Raises UserError where none has."""
    for name, family in FAMILIES.items():
        if (family.qkv_bias, family.qk_norm) == (config.qkv_bias, config.qk_norm):
            return name
    raise UserError(
        f"model: no Hugging Face family has qkv_bias = {config.qkv_bias} with qk_norm = {config.qk_norm}; {SUPPORTED}"
    )


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of one JSON object of a file, read with checks; errors name file and field."""

    where: str
    values: dict[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value as it stands in the file; `default` where it is absent or null."""
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, most: int = MOST) -> int:
        """Returns the value as an integer from 1 to `most`. Raises UserError where it is none."""
        value = self._present(key)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, f"a positive integer up to {most}")
        return value

    def number(self, key: str) -> float:
        """Returns the value as a positive finite number. Raises UserError where it is none."""
        value = self._present(key)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self.wrong(key, "a positive number")
        return float(value)

    def flag(self, key: str) -> bool:
        """Returns the value, true or false; false where it is absent, as in transformers. Raises UserError."""
        value = self.get(key, False)
        if type(value) is not bool:
            raise self.wrong(key, "true or false")
        return value

    def names(self, key: str) -> list[str]:
        """Returns the value as a list of strings, empty where it is absent. Raises UserError for others."""
        value = self.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of names")
        return value

    def wrong(self, key: str, wanted: str) -> UserError:
        """Makes the error for a field that is not what is wanted."""
        return UserError(f"{self.where}: {key} = {self.values.get(key)!r:.40} must be {wanted}")

    def _present(self, key: str) -> Any:
        if self.values.get(key) is None:
            raise UserError(f"{self.where}: the field {key!r} is missing")
        return self.values[key]


def read_fields(directory: Path) -> Fields:
    """Returns the checked fields of `directory`/config.json. Raises UserError where there are none."""
    path = Path(directory) / FILE
    return Fields(str(path), read_object(path, "is this the directory of a Hugging Face checkpoint?"))


def _family(fields: Fields) -> Family:
    name = fields.get("model_type")
    if name is None:
        raise UserError(f"{fields.where}: the field 'model_type' is missing; {SUPPORTED}")
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"{fields.where}: model_type = {name!r} is not supported; {SUPPORTED}")
    family = FAMILIES[name]
    # A reward head or a sequence classifier shares the model_type but not the last layer.
    architectures = fields.names("architectures")
    if architectures and family.architecture not in architectures:
        raise UserError(f"{fields.where}: architectures = {architectures} is not supported; {SUPPORTED}")
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
    # Qwen2's window holds from layer max_window_layers on, if it is switched on at all.
    if not fields.names("layer_types") and fields.flag("use_sliding_window"):
        first = fields.get("max_window_layers", 0)
        if type(first) is not int or first < fields.integer("num_hidden_layers"):
            refuse("use_sliding_window", "every layer attends to the whole context")


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Reads theta and the scaling from `rope_parameters` of transformers 5, or from the two fields before it."""
    key = "rope_parameters" if fields.get("rope_parameters") is not None else "rope_scaling"
    given = fields.get(key, {})
    if not isinstance(given, dict):
        raise fields.wrong(key, "an object")
    rope = Fields(f"{fields.where}: {key}", given)
    theta = (rope if "rope_theta" in given else fields).number("rope_theta")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise UserError(f"{rope.where}: rope_type = {kind!r} is not supported; supported are 'default' and 'llama3'")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise rope.wrong("partial_rotary_factor", "1: the whole head is rotated")
    return theta, RopeScaling(
        factor=rope.number("factor"),
        low_freq_factor=rope.number("low_freq_factor"),
        high_freq_factor=rope.number("high_freq_factor"),
        original_context=rope.integer("original_max_position_embeddings"),
    )
