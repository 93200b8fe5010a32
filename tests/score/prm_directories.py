"""Tiny directories of published process reward models, with random weights, written without jprm's table of layouts."""

import json
from pathlib import Path

import numpy as np
import tokenizers as hf
from tokenizers import AddedToken, decoders, models, normalizers, processors

from tests.chat import checkpoints
from tests.models import tiny_hf

EMBED = 32
HEADS = {  # by scorer: the families of model and tokenizer, the ending of the architecture, the layers of the head
    "qwen-prm": ("qwen2", "qwen", "ForProcessRewardModel", {"score.0": EMBED, "score.2": 2}),
    "skywork-prm": ("qwen2", "r1", "ForPrmModel", {"v_head.summary": 1}),
    "rlhflow-prm": ("llama", "llama", "ForCausalLM", {}),
    "math-shepherd": ("mistral", "sentencepiece", "ForCausalLM", {}),
    "trl-prm": ("qwen3", "llama", "ForTokenClassification", {"score": 2}),
    "pure": ("qwen2", "qwen", "ForTokenClassification", {"score": 2}),
}
CASES = {"qwen2": "qwen2-untied", "llama": "llama3", "mistral": "mistral", "qwen3": "qwen3"}
STEMS = {"qwen2": "Qwen2", "llama": "Llama", "mistral": "Mistral", "qwen3": "Qwen3"}


def make(directory: Path, name: str, context: int = 2048) -> Path:
    """The directory that the scorer of this name reads."""
    family, tokenizer, ending, layers = HEADS[name]
    (sentencepiece if tokenizer == "sentencepiece" else byte_level)(directory, tokenizer)
    backend = hf.Tokenizer.from_file(str(directory / "tokenizer.json"))
    vocab = 8 * -(-(max(backend.get_vocab(with_added_tokens=True).values()) + 1) // 8)
    case = tiny_hf.CASES[CASES[family]]
    config = case | {
        "architectures": [STEMS[family] + ending],
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "num_labels": 2,
    }
    weights = tiny_hf.tensors(config)  # an untied head of tokens stays, as in Qwen2.5-Math-PRM
    rng = np.random.default_rng(3)
    inputs = EMBED
    for layer, outputs in layers.items():
        weights[f"{layer}.weight"] = rng.normal(0, EMBED**-0.5, (outputs, inputs)).astype(np.float32)
        weights[f"{layer}.bias"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        inputs = outputs
    built = tiny_hf.write(directory / "weights", config, weights)
    for path in built.iterdir():
        path.rename(directory / path.name)
    built.rmdir()
    return directory


def byte_level(directory: Path, family: str) -> None:
    """A byte-level tokenizer with its template; Qwen's has the separator."""
    checkpoints.make(directory, family)
    if family == "qwen":
        path = str(directory / "tokenizer.json")
        backend = hf.Tokenizer.from_file(path)
        backend.add_special_tokens([AddedToken("<extra_0>", special=True, normalized=False)])
        backend.save(path)


def sentencepiece(directory: Path, family: str) -> None:
    """A tokenizer as SentencePiece makes them: a blank before the text, blanks inside of tokens, bytes for the rest."""
    letters = [chr(c) for c in range(33, 127)] + ["\n", "▁", "к", "и"]
    pairs = [("к", "и"), ("▁", "ки"), ("▁", "+"), ("▁", "-"), ("S", "t"), ("St", "ep"), ("e", "p"), ("▁", "Step")]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokens += [a + b for a, b in pairs]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    model = models.BPE(vocab=vocab, merges=pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    backend = hf.Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")]
    backend.add_special_tokens(special)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocab["<s>"])])
    directory.mkdir(parents=True)
    backend.save(str(directory / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(about | {"unk_token": "<unk>"}))
