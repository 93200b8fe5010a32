"""A tiny checkpoint with a tokenizer that knows the published protocol, and a benchmark's file."""

import json
from pathlib import Path

from tests.chat import checkpoints
from tests.models import tiny_hf
from tests.verify.published import BRIEF

SHORT = (
    *BRIEF,
    "budget.max_tokens=120",
    "budget.verdict_tokens=12",
    "sampling.temperature=1.0",
    "sampling.top_p=1.0",
    "sampling.top_k=0",
)


def make(directory: Path, family: str = "r1", **changes) -> Path:
    """The directory of a tiny random Qwen2 with the tokenizer and the chat template of a family."""
    checkpoints.make(directory, family)
    tokens = json.loads((directory / "tokenizer.json").read_text())
    vocab = max([*tokens["model"]["vocab"].values(), *(t["id"] for t in tokens["added_tokens"])])
    config = tiny_hf.CASES["qwen2-tied"] | {
        "vocab_size": -(-(vocab + 1) // 8) * 8,
        "max_position_embeddings": 4096,
        "hidden_size": 32,
    }
    config |= changes
    built = tiny_hf.write(directory / "weights", config, tiny_hf.tensors(config))
    for path in built.iterdir():
        path.rename(directory / path.name)
    built.rmdir()
    return directory


def row(index, label, steps=3, subset="gsm8k"):
    return {
        "id": f"{subset}-{index}",
        "generator": "someone",
        "problem": f"Ann has {index}. Joe gets 3 more. How many has Joe?",
        "steps": [f"Step {step}: {index}+3={index + 3}" for step in range(1, steps + 1)],
        "final_answer_correct": label < 0,
        "label": label,
    }


def rows(count, steps=3):
    """Rows of two subsets with all labels."""
    return [row(i, i % (steps + 1) - 1, steps, "gsm8k" if i < (count + 1) // 2 else "math") for i in range(count)]


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path
