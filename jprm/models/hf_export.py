"""Writes parameters into a directory that `transformers` opens."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jprm.digests import write_sums
from jprm.errors import UserError
from jprm.models.hf_config import config_fields
from jprm.models.hf_fields import FILE, read_fields
from jprm.models.hf_weights import TensorPlace, tensor_places
from jprm.models.locate import INDEX, WEIGHTS
from jprm.models.transformer import Model, Params, bind

SHARD_BYTES = 5_000_000_000
GENERATION = "generation_config.json"
COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    GENERATION,
)


def to_hf(
    directory: Path,
    model: Model,
    params: Params,
    *,
    dtype: Any = None,
    source: Path | None = None,
    fields: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the model as a Hugging Face checkpoint, whole or not at all.

    dtype: the type of the numbers in the files; None keeps that of the parameters.
    source: a directory whose tokenizer files, chat template and generation config are copied, and
        whose config.json, if it has one, gives the fields that say nothing of the arithmetic.
    fields: more of those fields, such as eos_token_id and max_position_embeddings.
    shard_bytes: weights beyond this are split over several files with an index.

    A model with an embed_scale is written with scaled embeddings and a head of its own: the same
    products, though a tied and an untied head sum them in another order.

    Raises UserError for a directory that holds something, for options that no family has, and for numbers that
    `dtype` cannot hold.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory}: is not empty; give a new directory")
    model, params = _without_embed_scale(model, params)
    about: dict[str, Any] = {}
    if source is not None and (Path(source) / FILE).is_file():
        about = read_fields(Path(source)).values
    dtype = np.dtype(params["embed"].dtype if dtype is None else dtype)
    about = config_fields(model.config, dtype.name, about | dict(fields or {}))

    unfinished = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        _write_weights(unfinished, tensor_places(model), params, dtype, shard_bytes)
        write_sums(unfinished, unfinished.glob("*.safetensors"))
        _write_json(unfinished / FILE, about)
        special = ("bos_token_id", "eos_token_id", "pad_token_id")
        known = {key: about[key] for key in special if about.get(key) is not None}
        _write_json(unfinished / GENERATION, {"_from_model_config": True} | known)
        if source is not None:
            _copy_tokenizer(Path(source), unfinished)
        os.replace(unfinished, directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error})") from None


def _copy_tokenizer(source: Path, directory: Path) -> None:
    """Copies the files of a checkpoint's tokenizer, chat template and generation config."""
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)


def copy_description(source: Path, directory: Path) -> None:
    """Copies all of a checkpoint but its weights, so that an export keeps the fields that it does not set itself."""
    directory.mkdir(exist_ok=True)
    _copy_tokenizer(source, directory)
    shutil.copyfile(source / FILE, directory / FILE)


def _without_embed_scale(model: Model, params: Params) -> tuple[Model, Params]:
    """Returns the model that computes the same with an embed_scale of 1: the scale moves into the embeddings."""
    c = model.config
    if c.embed_scale == 1:
        return model, params
    embed = jnp.asarray(params["embed"])
    head = embed.T if c.tied else params["head"]
    config = dataclasses.replace(c, embed_scale=1.0, tied=False, induction_init=False)
    return bind(config, model.rules), params | {"embed": embed * c.embed_scale, "head": head}


def _write_weights(
    directory: Path, places: dict[str, TensorPlace], params: Params, dtype: np.dtype, shard_bytes: int
) -> None:
    sizes = {name: int(np.prod(place.file_shape)) * dtype.itemsize for name, place in places.items()}
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size

    files = {}
    for i, names in enumerate(shards, 1):
        file = WEIGHTS if len(shards) == 1 else f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: _as_type(name, _tensor(places[name], params), dtype) for name in names}
        save_file(tensors, directory / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = {"total_size": sum(sizes.values())}
        _write_json(directory / INDEX, {"metadata": total, "weight_map": files})


def _as_type(name: str, tensor: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # the next lines say so
        cast = tensor.astype(dtype, copy=False)
    if np.isfinite(tensor).all() and not np.isfinite(cast).all():
        raise UserError(f"{name}: has numbers that {dtype.name} cannot hold; export it as float32 or bfloat16")
    return cast


def _tensor(place: TensorPlace, params: Params) -> np.ndarray:
    if place.layer is None:
        return place.to_file(np.asarray(params[place.leaf[0]]))
    return place.to_file(np.asarray(params["layers"][place.leaf[1]][place.layer]))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
