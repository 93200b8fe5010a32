"""Low-rank adapters (Hu et al. 2021): y = x W + (alpha / rank) x A B, of which only A and B learn.

An adapter of a projection is {"a": (L, I, R), "b": (L, R, O)}: layers, inputs, rank, outputs, with
heads and head dim as one axis. Adapters are a tree of their own, so that optimizer and checkpoints
know nothing else; `attach` lays them beside the frozen weights for the passes.
"""

import json
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jprm import strict_json
from jprm.errors import UserError, one_line
from jprm.models import Model, from_hf
from jprm.models.locate import Checkpoint
from jprm.seeds import rng_of
from jprm.train.config import LoraSection
from jprm.train.optimizer import MUON_AXES

LORA = "lora"  # the name of the adapters among the parameters of the layers, and in a training state
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_NAMES = {name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")}
PEFT_NAMES |= {name: f"mlp.{name}_proj" for name in ("gate", "up", "down")}
# Fields of adapter_config.json that are read, or change nothing of a trained adapter's product. All others must be
# empty: patterns of ranks and alphas, whole modules, chosen layers, DoRA, biases, and what later versions add.
PEFT_READ = ("r", "lora_alpha", "target_modules", "use_rslora", "lora_dropout", "init_lora_weights", "inference_mode")
PEFT_READ += ("task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version", "runtime_config")
PEFT_READ += ("megatron_core", "eva_config", "qalora_group_size", "lora_ga_config", "exclude_modules")
PEFT_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
SIDES = {"a": "A", "b": "B"}  # the two matrices of an adapter: our name and PEFT's


def init_adapters(model: Model, config: LoraSection, seed: int) -> dict:
    """Draws A with variance 1 / inputs and sets B to zero, so that at first nothing changes."""
    adapters = {}
    for name in config.targets:
        layers, inputs, outputs = _sides(model.spec()["layers"][name].shape, name)
        a = rng_of(seed, "lora", name).standard_normal((layers, inputs, config.rank), np.float32)
        adapters[name] = {"a": a * np.float32(inputs**-0.5), "b": np.zeros((layers, config.rank, outputs), np.float32)}
    return adapters


def attach(params: dict, adapters: dict, config: LoraSection) -> dict:
    """Lays the adapters beside the weights in `params`, for `Model.hidden`."""
    scale = config.alpha / config.rank
    scaled = {name: {"a": adapter["a"], "b": adapter["b"] * scale} for name, adapter in adapters.items()}
    return params | {"layers": params["layers"] | {LORA: scaled}}


def merge(params: dict, adapters: dict, config: LoraSection) -> dict:
    """Makes plain parameters that compute what the adapted ones do."""
    layers = dict(params["layers"])
    for name, adapter in adapters.items():
        product = jnp.einsum("lir,lro->lio", adapter["a"], adapter["b"] * (config.alpha / config.rank))
        layers[name] = layers[name] + product.reshape(layers[name].shape).astype(layers[name].dtype)
    return params | {"layers": layers}


def save_peft(directory: Path, adapters: dict, config: LoraSection, base: str = "") -> None:
    """Writes the adapters as PEFT does: adapter_config.json and adapter_model.safetensors.

    base: what PEFT loads them onto, a name or a directory. Raises UserError where they cannot be written.
    """
    tensors = {
        _peft_key(layer, name, side): np.ascontiguousarray(np.asarray(matrix).T)  # torch stores (outputs, inputs)
        for name, adapter in adapters.items()
        for side in SIDES
        for layer, matrix in enumerate(adapter[side])
    }
    about: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "target_modules": sorted(PEFT_NAMES[name].split(".")[1] for name in adapters),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(tensors, directory / PEFT_WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(about, indent=2) + "\n"
        (directory / PEFT_CONFIG).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from None


def load_peft(directory: Path, model: Model) -> tuple[dict, LoraSection]:
    """Returns the adapters in a directory of PEFT, and their configuration; the scale of rsLoRA becomes an alpha.

    Raises UserError for what is missing, for adapters of another shape, and, by its name, for every field and
    every tensor that would change the product and is not read.
    """
    try:
        about = strict_json.read_object(directory / PEFT_CONFIG, "copy it again")
        tensors = load_file(directory / PEFT_WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{directory}: no adapters there ({error})") from None
    config = _peft_section(directory / PEFT_CONFIG, about)
    adapters: dict = {}
    for name, adapter in init_adapters(model, config, 0).items():
        adapters[name] = {}
        for side in SIDES:
            keys = [_peft_key(layer, name, side) for layer in range(model.config.n_layers)]
            missing = [key for key in keys if key not in tensors]
            if missing:
                raise UserError(f"{directory}: {missing[0]} is missing")
            wanted = adapter[side].shape[:0:-1]  # the shape in torch, for one layer
            wrong = [key for key in keys if tensors[key].shape != wanted]
            if wrong:
                shape = tensors[wrong[0]].shape
                raise UserError(f"{directory}: {wrong[0]} has shape {shape}, the model wants {wanted}")
            found = [tensors.pop(key).T for key in keys]
            adapters[name][side] = np.stack(found).astype(np.float32)
    if tensors:
        raise UserError(
            f"{directory / PEFT_WEIGHTS}: {len(tensors)} tensors have no place in plain LoRA, such as {min(tensors)}"
        )
    return adapters, config


def _peft_key(layer: int, name: str, side: str) -> str:
    return f"base_model.model.model.layers.{layer}.{PEFT_NAMES[name]}.lora_{SIDES[side]}.weight"


def from_checkpoint(checkpoint: Checkpoint, dtype: Any = None, stacked: bool = True) -> tuple[Model, dict]:
    """Loads the model of a checkpoint and merges its adapters; `stacked` is for `from_hf`, which has no say with them.

    Raises UserError as `from_hf` and `load_peft`.
    """
    model, params = from_hf(checkpoint.directory, dtype, stacked=stacked or bool(checkpoint.adapters))
    for directory in checkpoint.adapters:
        params = merge(params, *load_peft(directory, model))
    return model, params


def _peft_section(path: Path, about: dict[str, Any]) -> LoraSection:
    """Returns the section that an adapter_config.json describes. Raises UserError naming the field."""
    neutral = {"peft_type": "LORA", "bias": "none"}
    for key, value in about.items():
        empty = value is None or value is False or value in ({}, [], "")  # 0 is not empty: it names a layer
        if key not in PEFT_READ and not empty and value != neutral.get(key):
            raise UserError(
                f"{path}: {key} = {value!r} is not supported; merge the adapters with PEFT (merge_and_unload)"
            )
    start = about.get("init_lora_weights", True)
    if isinstance(start, str) and start.startswith(PEFT_CHANGES_BASE):
        raise UserError(f"{path}: init_lora_weights = {start!r} is not supported; it changes the base's weights")
    modules = {place.split(".")[1]: name for name, place in PEFT_NAMES.items()}
    targets = about.get("target_modules")
    if not isinstance(targets, list) or not targets or not set(targets) <= modules.keys():
        raise UserError(f"{path}: target_modules = {targets!r} must be a list of {', '.join(sorted(modules))}")
    try:
        rank, alpha = about["r"], float(about["lora_alpha"])
        if type(rank) is not int or rank < 1:
            raise ValueError(f"r = {rank!r}")
        if about.get("use_rslora"):
            alpha *= math.sqrt(rank)
        chosen: Any = tuple(modules[target] for target in targets)
        return LoraSection(rank=rank, alpha=alpha, targets=chosen)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: r and lora_alpha must be positive numbers ({one_line(error)})") from None


def adapter_count(model: Model, config: LoraSection) -> int:
    """Counts the parameters of all adapters together."""
    leaves = model.spec()["layers"]
    sides = [_sides(leaves[name].shape, name) for name in config.targets]
    return sum(layers * config.rank * (inputs + outputs) for layers, inputs, outputs in sides)


def _sides(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Returns (layers, inputs, outputs) of a stacked projection."""
    axes: Any = MUON_AXES[name]
    inputs, outputs = axes.reduction_axis, axes.output_axis
    return (shape[0], math.prod(shape[axis] for axis in inputs), math.prod(shape[axis] for axis in outputs))
