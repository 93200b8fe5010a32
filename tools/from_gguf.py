"""Writes a Hugging Face directory from a GGUF file, whose quantised weights are for llama.cpp.

    python tools/from_gguf.py FILE OUT

OUT holds the weights dequantised to f32, the tokenizer and the chat template, and is read wherever jprm takes a
checkpoint. It gets its name in the end, so that an interrupted run leaves none. Needs torch, gguf and accelerate,
the extra `gguf`.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jprm.errors import UserError, one_line
from jprm.paths import nearest_name

PACKAGES = ("torch", "gguf", "accelerate")  # transformers, which comes with jprm, asks for them as it opens a file
MAGIC = b"GGUF"
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def convert(file: Path, out: Path) -> None:
    """Converts one file. Raises UserError for a file that is none, and for one that transformers does not read."""
    _check(file, out)
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except (ArithmeticError, LookupError, NotImplementedError, ValueError, struct.error) as error:
        raise UserError(f"{file}: transformers does not read it ({one_line(error)})") from None
    # transformers refuses to save dequantised weights as long as it knows where they came from.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        unfinished = Path(folder) / out.name
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(out)


def _check(file: Path, out: Path) -> None:
    """Raises UserError for what can be known before anything heavy is loaded."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"not installed: {', '.join(missing)}; get what is missing: pip install {' '.join(missing)}")
    if not file.is_file():
        raise UserError(f"{file}: no such file{nearest_name(file)}")
    with open(file, "rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{file}: not a GGUF file: it does not start with the bytes {MAGIC.decode()}")
    if SPLIT.search(file.name):
        raise UserError(f"{file}: one part of several; merge them: llama-gguf-split --merge {file.name} WHOLE.gguf")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already; name a new directory")


def main(arguments: Sequence[str]) -> int:
    """Converts the file that is named; a mistake becomes one line and exit code 2."""
    parser = argparse.ArgumentParser(description="Writes a Hugging Face directory from a GGUF file.")
    parser.add_argument("file", type=Path, help="the GGUF file")
    parser.add_argument("out", type=Path, help="the new directory")
    args = parser.parse_args(arguments)
    try:
        convert(args.file, args.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: python -m jprm evaluate --model {args.out} ...")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
