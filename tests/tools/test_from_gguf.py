"""A GGUF file becomes a checkpoint with the same weights, tokenizer and template; mistakes become one line."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers.pre_tokenizers import ByteLevel

from jprm.chat import ChatCodec
from jprm.models.locate import find_checkpoint
from tests.models import tiny_hf
from tools import from_gguf

TOKENS = ["<|start|>", "<|end|>", *sorted(ByteLevel.alphabet()), "bc"]
CONFIG = tiny_hf.CASES["qwen2-untied"] | {"vocab_size": len(TOKENS)}
ROLES = {"self_attn": "attn", "mlp": "ffn"}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
QUANTISED = "model.layers.0.self_attn.q_proj.weight"
TEMPLATE = "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}"


def name_in_gguf(name):
    stem, kind = name.rsplit(".", 1)
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{kind}"
    _, _, layer, *rest = stem.split(".")
    if len(rest) == 1:
        return f"blk.{layer}.{NORMS[rest[0]]}.{kind}"
    projection = rest[1].removesuffix("_proj")
    return f"blk.{layer}.{ROLES[rest[0]]}_{'output' if projection == 'o' else projection}.{kind}"


def write_gguf(path):
    """Writes a tiny Qwen2 with one quantised tensor; returns the weights that it stands for."""
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 2))
    writer.add_token_merges(["b c"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    weights = tiny_hf.tensors(CONFIG)
    for name, weight in weights.items():
        if name != QUANTISED:
            writer.add_tensor(name_in_gguf(name), weight)
            continue
        blocks = gguf.quantize(weight, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name_in_gguf(name), blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        weights[name] = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves
def test_weights_tokenizer_and_template_are_those_of_the_file(tmp_path, capsys):
    pytest.importorskip("torch", reason="the extra `gguf` is not installed")
    pytest.importorskip("accelerate", reason="the extra `gguf` is not installed")
    weights = write_gguf(tmp_path / "tiny.gguf")
    out = tmp_path / "new" / "checkpoint"
    assert from_gguf.main([str(tmp_path / "tiny.gguf"), str(out)]) == 0
    written = load_file(find_checkpoint(out, "--model").directory / "model.safetensors")
    assert written.keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(written[name], weight, err_msg=name)
    codec = ChatCodec.load(out)
    assert codec.encode(" abc<|end|>") == [TOKENS.index(token) for token in ("Ġ", "a", "bc", "<|end|>")]
    assert codec.chat_text([{"role": "user", "content": "abc"}]) == "user: abc"
    assert [path.name for path in out.parent.iterdir()] == ["checkpoint"]  # nothing unfinished beside it
    assert from_gguf.main([str(tmp_path / "tiny.gguf"), str(out)]) == 2
    assert capsys.readouterr().err.endswith(f"error: {out}: is there already; name a new directory\n")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [10, 1000, 20_000])
def test_a_file_that_is_cut_off_is_named(tmp_path, capsys, size):
    pytest.importorskip("torch", reason="the extra `gguf` is not installed")
    pytest.importorskip("accelerate", reason="the extra `gguf` is not installed")
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    path.write_bytes(path.read_bytes()[:size])
    assert from_gguf.main([str(path), str(tmp_path / "out")]) == 2
    assert f"error: {path}: transformers does not read it" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tiny.gguf", None, "no such file"),
        ("tiny.gguf", b"version https://git-lfs", "does not start with the bytes GGUF"),
        ("tiny-00001-of-00003.gguf", b"GGUF", "one part of several; merge them"),
    ],
)
def test_what_is_no_file_to_convert_is_named(tmp_path, monkeypatch, capsys, name, content, said):
    monkeypatch.setattr(from_gguf, "PACKAGES", ())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert from_gguf.main([str(tmp_path / name), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1


def test_missing_packages_are_named_before_the_file_is_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(from_gguf, "PACKAGES", ("json", "no_such_a", "no_such_b"))
    assert from_gguf.main(["missing.gguf", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: not installed: no_such_a, no_such_b; get what is missing: pip install no_such_a no_such_b\n"
    )
