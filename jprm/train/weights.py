"""Final weights on disk: one safetensors file with its description inside, and their export to Hugging Face."""

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jprm import strict_json
from jprm.data.conversations import TURN_CLOSE
from jprm.digests import damage
from jprm.errors import UserError
from jprm.formats.protocols import PROTOCOL_FILE
from jprm.models import bind, preset, to_hf
from jprm.models.hf_config import read_config
from jprm.models.locate import RUN_WEIGHTS as FILE
from jprm.tokenizer import PAD, Tokenizer
from jprm.train.config import RunConfig
from jprm.train.loss import STEP_HEAD

RESULT = "result.json"  # a summary of the run, with the digests of its files
HEAD_FILE = "step_head.safetensors"  # in an export, since transformers has no place for a head


def save_params(directory: Path, params: dict, metadata: dict) -> Path:
    """Writes `params` (nested dict of arrays) and `metadata` (JSON), whole or not at all; returns the file."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    flat = {name: np.ascontiguousarray(leaf) for name, leaf in flatten_dict(params, sep=".").items()}
    path, unfinished = directory / FILE, directory / f"{FILE}.tmp"
    save_file(flat, unfinished, metadata={"jprm": json.dumps(metadata)})
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    return path


def load_params(directory: Path) -> tuple[dict, dict]:
    """Reads the (numpy params, metadata) of `save_params`. Raises UserError if the file is absent or damaged."""
    path = Path(directory) / FILE
    if not path.is_file():
        raise UserError(f"{path}: no weights there")
    try:
        with safe_open(path, "numpy") as file:
            flat = {name: file.get_tensor(name) for name in file.keys()}
            metadata = json.loads((file.metadata() or {}).get("jprm", "{}"))
    except (SafetensorError, ValueError) as error:  # the metadata may be no JSON
        raise UserError(f"{path}: damaged weights ({error}); delete the file and make it again") from error
    return unflatten_dict(flat, sep="."), metadata


def export_run(run: Path, out: Path, dtype: str | None = None) -> str:
    """Writes the trained model with its tokenizer to the new directory `out`; returns what it is.

    dtype: the type of the weights in the files; None takes that of the checkpoint which the run started
    from, and float32 for a model that was trained from scratch. Raises UserError where the run is not
    finished or its files are damaged, and where `out` is not empty.
    """
    try:
        config = RunConfig.model_validate_json((run / "config.json").read_text(encoding="utf-8"))
        result = strict_json.read_object(run / RESULT, "train again")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{run}: not the directory of a finished training run ({reason})") from None
    if wrong := damage(run, result.get("files", {})):
        raise UserError(f"{run}/{wrong}; the command that trained it writes it again from its last checkpoint")
    params, _ = load_params(run)
    source = run / "tokenizer"
    if config.model.preset is None:
        model, fields = bind(read_config(source)), {}
    else:
        tokenizer = Tokenizer.load(source)
        model = bind(preset(config.model.preset, params["embed"].shape[0]))
        fields = {
            "eos_token_id": tokenizer.token_id(TURN_CLOSE),
            "pad_token_id": tokenizer.token_id(PAD),
            "max_position_embeddings": config.train.row_tokens,
        }
    head = params.pop(STEP_HEAD, None)
    dtype = dtype or result.get("dtype", "float32")
    to_hf(out, model, params, dtype=jnp.dtype(dtype), source=source, fields=fields)
    if head is not None:
        save_file(head, out / HEAD_FILE)
    if (run / PROTOCOL_FILE).is_file():
        shutil.copyfile(run / PROTOCOL_FILE, out / PROTOCOL_FILE)
    return f"{config.name} after {config.train.steps} steps, in {dtype}"
