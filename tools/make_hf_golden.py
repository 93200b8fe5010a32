"""Writes tests/models/hf_golden.npz: what transformers and torch make of the tests' tiny checkpoints.

    PYTHONPATH=. python tools/make_hf_golden.py

Needs torch (the extra `peers`). Only logits are stored; the tests make the checkpoints again.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from transformers import AutoModelForCausalLM

from tests.models.tiny_hf import CASES, GOLDEN, make, token_ids


def main() -> None:
    """All cases, one array each: f32 logits, tokens by vocabulary."""
    logits = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for case in CASES:
            directory = make(Path(folder) / case, case)
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
            logits[case] = model(torch.from_numpy(token_ids())).logits[0].numpy()
    np.savez_compressed(GOLDEN, allow_pickle=False, **logits)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes, largest logit {max(map(np.max, logits.values())):.2f}")


if __name__ == "__main__":
    main()
