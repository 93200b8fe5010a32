"""Tiny Hugging Face checkpoints, the same for the same case every time, written without jprm's table of names."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parent / "hf_golden.npz"
VOCAB, EMBED, LAYERS, MLP = 67, 32, 3, 48

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": EMBED,
    "num_hidden_layers": LAYERS,
    "intermediate_size": MLP,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "float32",
}
QWEN2 = COMMON | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "max_window_layers": LAYERS,
}
LLAMA = COMMON | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e5,
    "attention_bias": False,
    "mlp_bias": False,
}
# The original context is so short that the 4 pairs of a head fall on both sides of the blend and into it.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Over so short a context the 4 pairs of a head lie before, in and behind YaRN's band.
YARN_ROPE = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 8}
CASES = {
    "qwen2-tied": QWEN2 | {"tie_word_embeddings": True},
    "qwen2-untied": QWEN2 | {"tie_word_embeddings": False, "rope_theta": 1e4},
    "qwen3": COMMON
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "head_dim": 12,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
        "attention_bias": False,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
    },
    "llama3": LLAMA | {"tie_word_embeddings": False, "rope_theta": 50.0, "rope_scaling": LLAMA3_ROPE},
    "qwen2-yarn": QWEN2 | {"tie_word_embeddings": True, "rope_theta": 200.0, "rope_scaling": YARN_ROPE},
    "mistral": {key: value for key, value in LLAMA.items() if not key.endswith("_bias")}
    | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "rope_theta": 1e4,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "llama-tied": LLAMA | {"tie_word_embeddings": True, "num_key_value_heads": 1, "head_dim": None},
}


def token_ids() -> np.ndarray:
    """One row of 40 tokens."""
    return np.random.default_rng(40).integers(2, VOCAB, (1, 40))


def tensors(config: dict) -> dict[str, np.ndarray]:
    """Random f32 weights by their names in transformers."""
    rng = np.random.default_rng(7)
    d, f, v = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    n, k = config["num_attention_heads"], config["num_key_value_heads"]
    h = config.get("head_dim") or d // n
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (v, d)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        shapes[f"{at}.input_layernorm.weight"] = (d,)
        shapes[f"{at}.post_attention_layernorm.weight"] = (d,)
        for one, heads in (("q", n), ("k", k), ("v", k)):
            shapes[f"{at}.self_attn.{one}_proj.weight"] = (heads * h, d)
            if config["model_type"] == "qwen2":
                shapes[f"{at}.self_attn.{one}_proj.bias"] = (heads * h,)
        shapes[f"{at}.self_attn.o_proj.weight"] = (d, n * h)
        if config["model_type"] == "qwen3":
            shapes[f"{at}.self_attn.q_norm.weight"] = (h,)
            shapes[f"{at}.self_attn.k_norm.weight"] = (h,)
        shapes[f"{at}.mlp.gate_proj.weight"] = (f, d)
        shapes[f"{at}.mlp.up_proj.weight"] = (f, d)
        shapes[f"{at}.mlp.down_proj.weight"] = (d, f)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = rng.standard_normal(shape, np.float32)
        if "norm" in name:
            return 1 + np.float32(0.2) * noise
        return noise * np.float32(0.3 if name.endswith("bias") else 1.5 * d**-0.5)

    return {name: draw(name, shape) for name, shape in shapes.items()}


def write(directory: Path, config: dict, weights: dict[str, np.ndarray], shards: int = 1) -> Path:
    """The checkpoint directory; with several shards and an index, tensors dealt out in turn."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return directory
    places = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        names = list(weights)[i::shards]
        save_file({n: weights[n] for n in names}, directory / file, metadata={"format": "pt"})
        places |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def make(directory: Path, case: str, shards: int = 1) -> Path:
    """The checkpoint of a case."""
    return write(directory, CASES[case], tensors(CASES[case]), shards)
