"""Final weights on disk: one safetensors file with its description inside, written whole or not."""

import json
import os
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jprm.errors import UserError

FILE = "weights.safetensors"
RESULT = "result.json"  # beside it: what is known of it, the digests of the files among that


def save_params(directory: Path, params: dict, metadata: dict) -> Path:
    """Writes `params` (nested dict of arrays) and `metadata` (JSON) there; returns the file."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    flat = {name: np.ascontiguousarray(leaf) for name, leaf in flatten_dict(params, sep=".").items()}
    path, unfinished = directory / FILE, directory / f"{FILE}.tmp"
    save_file(flat, unfinished, metadata={"jprm": json.dumps(metadata)})
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def whole(params: dict) -> dict:
    """Numpy copies of parameters whose parts lie with several processes; every process calls it."""

    def gathered(leaf: jax.Array) -> np.ndarray:
        if leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(gathered, params)


def load_params(directory: Path) -> tuple[dict, dict]:
    """(numpy params, metadata) of `save_params`. UserError if the file is absent or damaged."""
    path = Path(directory) / FILE
    if not path.is_file():
        raise UserError(f"{path}: no weights there")
    try:
        with safe_open(path, "numpy") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}
            metadata = json.loads((file.metadata() or {}).get("jprm", "{}"))
    except (SafetensorError, ValueError) as error:  # the second of its metadata
        raise UserError(f"{path}: damaged weights ({error}); delete the file and make it again") from error
    return unflatten_dict(flat, sep="."), metadata
