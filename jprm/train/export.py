"""A finished run of `python -m jprm train` as a Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
from safetensors.numpy import save_file

from jprm import strict_json
from jprm.data.conversations import TURN_CLOSE
from jprm.digests import damage
from jprm.errors import UserError
from jprm.models import bind, preset
from jprm.models.hf_config import read_config
from jprm.models.hf_export import to_hf
from jprm.tokenizer import PAD, Tokenizer
from jprm.train.config import RunConfig
from jprm.train.head import KEY as HEAD
from jprm.train.weights import RESULT, load_params

HEAD_FILE = "step_head.safetensors"


def export_run(run: Path, out: Path, dtype: str | None = None) -> str:
    """Writes the trained model with its tokenizer to the new directory `out`; returns what it is.

    dtype: of the weights in the files; None is that of the checkpoint which the run started from, float32 for a model
    that was trained from scratch. Raises UserError where the run is not finished or its files are damaged, and where
    `out` is not empty.
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
    head = params.pop(HEAD, None)
    dtype = dtype or result.get("dtype", "float32")
    to_hf(out, model, params, dtype=jnp.dtype(dtype), source=source, fields=fields)
    if head is not None:  # transformers has no place for it
        save_file(head, out / HEAD_FILE)
    return f"{config.name} after {config.train.steps} steps, in {dtype}"
