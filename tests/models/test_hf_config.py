import dataclasses
import json
import math

import pytest

from jprm.errors import UserError
from jprm.models import ModelConfig, parameter_count
from jprm.models.config import Llama3Scaling, YarnScaling
from jprm.models.hf_config import config_fields, read_config
from tests.models.tiny_hf import CASES, LLAMA3_ROPE, YARN_ROPE

# The arithmetic fields of config.json of these repositories on huggingface.co, and the parameters their cards give
# (Qwen3's tied head counted once).
PUBLISHED = {
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (
        "qwen2", 151_936, 1536, 28, 12, 2, None, 8960, False, 1e4, 1_777_088_000,
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (
        "qwen2", 152_064, 3584, 28, 28, 4, None, 18_944, False, 1e4, 7_615_616_512,
    ),
    "Qwen/Qwen3-0.6B": ("qwen3", 151_936, 1024, 28, 16, 8, 128, 3072, True, 1e6, 596_049_920),
    "Qwen/Qwen3-8B": ("qwen3", 151_936, 4096, 36, 32, 8, 128, 12_288, False, 1e6, 8_190_735_360),
    "meta-llama/Llama-3.2-1B": ("llama", 128_256, 2048, 16, 32, 8, 64, 8192, True, 5e5, 1_235_814_400),
    "meta-llama/Llama-3.1-8B": ("llama", 128_256, 4096, 32, 32, 8, None, 14_336, False, 5e5, 8_030_261_248),
}  # fmt: skip


def read(tmp_path, fields) -> ModelConfig:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    (tmp_path / "config.json").write_text(text)
    return read_config(tmp_path)


def test_fields_of_the_families(tmp_path):
    shapes = dict(vocab_size=67, n_layers=3, embed=32, n_heads=4, n_kv_heads=2, head_dim=8, mlp=48)
    qwen2 = ModelConfig(**shapes)
    assert read(tmp_path, CASES["qwen2-tied"]) == qwen2
    untied = dataclasses.replace(qwen2, tied=False, rope_theta=1e4)
    assert read(tmp_path, CASES["qwen2-untied"]) == untied
    qwen3 = dataclasses.replace(qwen2, qkv_bias=False, qk_norm=True, head_dim=12)
    assert read(tmp_path, CASES["qwen3"]) == qwen3
    scaling = Llama3Scaling(8, 1, 4, 16)
    llama = dataclasses.replace(untied, qkv_bias=False, norm_eps=1e-5, rope_theta=50, rope_scaling=scaling)
    assert read(tmp_path, CASES["llama3"]) == llama


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(tmp_path, name):
    family, v, d, layers, n, k, h, f, tied, theta, parameters = PUBLISHED[name]
    fields = CASES["llama-tied"] | {
        "architectures": [{"qwen2": "Qwen2", "qwen3": "Qwen3", "llama": "Llama"}[family] + "ForCausalLM"],
        "model_type": family,
        "vocab_size": v,
        "hidden_size": d,
        "num_hidden_layers": layers,
        "num_attention_heads": n,
        "num_key_value_heads": k,
        "head_dim": h,
        "intermediate_size": f,
        "tie_word_embeddings": tied,
        "rope_theta": theta,
    }
    config = read(tmp_path, fields)
    assert config.rope_theta == theta
    assert parameter_count(config) == parameters


@pytest.mark.parametrize("case", CASES)
def test_a_written_config_reads_back_and_keeps_the_other_fields(tmp_path, case):
    config = read(tmp_path, CASES[case])
    written = config_fields(config, "bfloat16", CASES[case])
    assert read(tmp_path, written) == config
    assert written["eos_token_id"] == 1 and written["max_position_embeddings"] == 256
    assert written["dtype"] == "bfloat16"


def test_rope_in_both_spellings(tmp_path):
    new = {"rope_parameters": LLAMA3_ROPE | {"rope_theta": 50.0}}
    old = CASES["llama3"]
    without = {k: v for k, v in old.items() if not k.startswith("rope")}
    legacy = {k if k != "rope_type" else "type": v for k, v in LLAMA3_ROPE.items()}
    expected = read(tmp_path, old)
    assert read(tmp_path, without | new) == expected
    assert read(tmp_path, old | {"rope_scaling": legacy}) == expected


def yarn(tmp_path, **changes):
    return read(tmp_path, CASES["qwen2-yarn"] | {"rope_scaling": YARN_ROPE | changes}).rope_scaling


def test_yarn_s_attention_factor(tmp_path):
    """By default it follows from the factor; what the file says of it has its place in the order of transformers."""
    expected = YarnScaling(4, 64, 0.1 * math.log(4) + 1, beta_fast=8)
    assert yarn(tmp_path) == expected
    assert yarn(tmp_path, attention_factor=1.25, mscale=2.0).attention_factor == 1.25
    two, one = 0.2 * math.log(4) + 1, 0.1 * math.log(4) + 1
    assert yarn(tmp_path, mscale=2.0, mscale_all_dim=1.0).attention_factor == two / one
    assert yarn(tmp_path, mscale=2.0).attention_factor == one
    assert yarn(tmp_path, factor=1.0).attention_factor == 1
    # as in config.json of deepseek-ai/DeepSeek-R1-0528-Qwen3-8B
    assert yarn(tmp_path, attn_factor=0.8782488562869419).attention_factor == pytest.approx(1, abs=1e-12)


def test_a_mistral_is_a_llama_whose_window_is_null(tmp_path):
    mistral = dict(CASES["mistral"])
    as_llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    assert read(tmp_path, mistral) == read(tmp_path, mistral | as_llama)
    assert config_fields(read(tmp_path, mistral), "float32", mistral)["model_type"] == "llama"
    with pytest.raises(UserError, match=r"sliding_window = 4096 is not supported; every layer"):
        read(tmp_path, mistral | {"sliding_window": 4096})
    del mistral["sliding_window"]
    with pytest.raises(UserError, match="'sliding_window' is missing, which stands for a window of 4096"):
        read(tmp_path, mistral)


def test_a_head_of_another_kind_is_asked_for_by_the_ending(tmp_path):
    fields = CASES["qwen2-untied"] | {"architectures": ["Qwen2ForTokenClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert read_config(tmp_path, "ForTokenClassification").tied, "it has no head of tokens"
    with pytest.raises(UserError, match="a Qwen2ForPrmModel is wanted here"):
        read_config(tmp_path, "ForPrmModel")


def test_a_window_that_is_switched_off_or_never_reached_is_none(tmp_path):
    qwen2 = CASES["qwen2-tied"]
    expected = read(tmp_path, qwen2)
    assert read(tmp_path, qwen2 | {"use_sliding_window": True, "max_window_layers": 3}) == expected
    assert read(tmp_path, qwen2 | {"layer_types": ["full_attention"] * 3}) == expected


REFUSED = {
    "architecture": ({"model_type": "gemma"}, "'gemma' is not supported; supported are qwen2"),
    "reward head": ({"architectures": ["Qwen2ForRewardModel"]}, r"\['Qwen2ForRewardModel'\] is not supp"),
    "no type": ({"model_type": None}, "'model_type' is missing; supported are qwen2"),
    "window": ({"use_sliding_window": True, "max_window_layers": 2}, "use_sliding_window = True"),
    "window by layer": ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types = "),
    "activation": ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported"),
    "dynamic": (
        {"rope_scaling": {"rope_type": "dynamic", "factor": 4}},
        "rope_type = 'dynamic' is not supported; supported are 'default', 'llama3', 'yarn'",
    ),
    "longrope": ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "rope_type = 'longrope' is not"),
    "rope list": ({"rope_scaling": {"rope_type": ["yarn"]}}, r"rope_type = \['yarn'\] is not supported"),
    "yarn field": ({"rope_scaling": {"type": "yarn", "factor": 4}}, "'original_max_position_embeddings' is missing"),
    "yarn band": ({"rope_scaling": YARN_ROPE | {"beta_fast": 0.5}}, "0 < beta_slow <= beta_fast"),
    "yarn flag": ({"rope_scaling": YARN_ROPE | {"truncate": 1}}, "truncate = 1 must be true or false"),
    "rope field": ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "'low_freq_factor' is missing"),
    "rope band": (
        {"rope_scaling": LLAMA3_ROPE | {"high_freq_factor": 1.0}},
        "low_freq_factor < high_freq_factor",
    ),
    "rope kind": ({"rope_scaling": [1]}, "rope_scaling = .* must be an object"),
    "partial": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported"),
    "quantized": ({"quantization_config": {"bits": 4}}, "give a checkpoint of f32, f16 or bf16"),
    "uneven": ({"hidden_size": 34}, "hidden_size = 34 must be a multiple of num_attention_heads"),
    "heads": ({"num_key_value_heads": 3}, "n_kv_heads = 3"),
    "text": ({"hidden_size": "32"}, "hidden_size = '32' must be a positive integer"),
    "boolean": ({"num_hidden_layers": True}, "num_hidden_layers = True must be a positive integer"),
    "nan": ({"rms_norm_eps": math.nan}, "NaN is no JSON number"),
    "flag": ({"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes' must be true or false"),
    "list": ({"architectures": 3}, "architectures = 3 must be a list of names"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_change_the_arithmetic_is_refused(tmp_path, what):
    change, message = REFUSED[what]
    with pytest.raises(UserError, match=rf"config\.json.*{message}") as caught:
        read(tmp_path, CASES["qwen2-tied"] | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias"])
def test_biases_outside_of_qwen2_are_refused(tmp_path, key):
    with pytest.raises(UserError, match=f"{key} = True is not supported"):
        read(tmp_path, CASES["llama3"] | {key: True})


REQUIRED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads",
    "num_key_value_heads", "rms_norm_eps", "rope_theta",
)  # fmt: skip


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_field_is_named(tmp_path, key):
    fields = {k: v for k, v in CASES["qwen2-tied"].items() if k != key}
    with pytest.raises(UserError, match=rf"config\.json: the field '{key}' is missing"):
        read(tmp_path, fields)


def test_qwen3_wants_its_head_dim(tmp_path):
    with pytest.raises(UserError, match="'head_dim' is missing"):
        read(tmp_path, CASES["qwen3"] | {"head_dim": None})


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "expected a JSON object, found list")])
def test_a_damaged_config_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"config\.json: .*{message}"):
        read(tmp_path, text)


def test_a_directory_without_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        read_config(tmp_path)


def test_options_of_no_family_are_not_written():
    config = ModelConfig(8, 1, 8, 2, 2, 4, 8, qkv_bias=True, qk_norm=True)
    with pytest.raises(UserError, match="no Hugging Face family has qkv_bias = True"):
        config_fields(config, "float32", {})
