"""The weight files of a Hugging Face checkpoint: which there are, and which tensors lie in each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from jprm.errors import UserError
from jprm.strict_json import read_object

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The open safetensors file. Raises UserError where it is missing, truncated or damaged."""
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or damaged ({error}); fetch it again") from None


def weight_files(directory: Path) -> dict[str, Path]:
    """The file of each tensor. Raises UserError where an index and its shards disagree."""
    single, index = directory / WEIGHTS, directory / INDEX
    if single.is_file():
        with opened(single) as file:
            return dict.fromkeys(file.keys(), single)
    if not index.is_file():
        raise UserError(f"{directory}: neither {WEIGHTS} nor {INDEX} there; other formats are not read")
    listed = read_object(index, "fetch it again").get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(shard, str) for shard in listed.values()):
        raise UserError(f"{index}: the field 'weight_map' must map tensor names to file names")
    for shard in sorted(set(listed.values())):
        expected = {name for name, place in listed.items() if place == shard}
        if shard != Path(shard).name:
            raise UserError(f"{index}: {shard!r} is not the name of a file in this directory")
        if not (directory / shard).is_file():
            raise UserError(
                f"{directory / shard}: no such file; {INDEX} lists it for {len(expected)} tensors, "
                f"{min(expected)} among them"
            )
        with opened(directory / shard) as file:
            found = set(file.keys())
        for name in sorted(expected ^ found):
            fault = "is listed there but not in it" if name in expected else "is not listed there"
            raise UserError(f"{directory / shard}: does not match {INDEX}: tensor {name} {fault}")
    return {name: directory / shard for name, shard in listed.items()}
