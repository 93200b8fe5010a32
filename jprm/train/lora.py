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
from safetensors.numpy import load_file, save_file

from jprm.errors import UserError
from jprm.models import Model, from_hf
from jprm.models.locate import Checkpoint
from jprm.seeds import rng_of
from jprm.train.config import LoraSection
from jprm.train.optimizer import MUON_AXES

KEY = "lora"  # where the adapters lie among the parameters of the layers, and of a training state
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_NAMES = {name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")}
PEFT_NAMES |= {name: f"mlp.{name}_proj" for name in ("gate", "up", "down")}


def init_adapters(model: Model, config: LoraSection, seed: int) -> dict:
    """A is drawn with variance 1 / inputs, B is zero: at first nothing changes."""
    adapters = {}
    for name in config.targets:
        layers, inputs, outputs = _sides(model.spec()["layers"][name].shape, name)
        a = rng_of(seed, "lora", name).standard_normal((layers, inputs, config.rank), np.float32)
        adapters[name] = {
            "a": a * np.float32(inputs**-0.5),
            "b": np.zeros((layers, config.rank, outputs), np.float32),
        }
    return adapters


def attach(params: dict, adapters: dict, config: LoraSection) -> dict:
    """`params` with the adapters beside the weights, for `Model.hidden`."""
    scaled = {
        name: {"a": adapter["a"], "b": adapter["b"] * _scale(config)}
        for name, adapter in adapters.items()
    }
    return params | {"layers": params["layers"] | {KEY: scaled}}


def merge(params: dict, adapters: dict, config: LoraSection) -> dict:
    """Plain parameters that compute what the adapted ones do."""
    layers = dict(params["layers"])
    for name, adapter in adapters.items():
        product = jnp.einsum("lir,lro->lio", adapter["a"], adapter["b"] * _scale(config))
        layers[name] = layers[name] + product.reshape(layers[name].shape).astype(layers[name].dtype)
    return params | {"layers": layers}


def save_peft(directory: Path, adapters: dict, config: LoraSection, base: str = "") -> None:
    """Writes the adapters as PEFT does: adapter_config.json and adapter_model.safetensors.

    base: what PEFT is to load them onto, a name or a directory. Raises UserError where they cannot
    be written.
    """
    tensors = {}
    for name, adapter in adapters.items():
        for layer in range(len(adapter["a"])):
            key = f"base_model.model.model.layers.{layer}.{PEFT_NAMES[name]}"
            # torch's layers hold (outputs, inputs)
            tensors[f"{key}.lora_A.weight"] = np.ascontiguousarray(
                np.asarray(adapter["a"][layer]).T
            )
            tensors[f"{key}.lora_B.weight"] = np.ascontiguousarray(
                np.asarray(adapter["b"][layer]).T
            )
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
    """The adapters of `save_peft`, and their configuration.

    Raises UserError for what is missing, and for adapters of another shape or kind.
    """
    try:
        about = json.loads((directory / PEFT_CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(directory / PEFT_WEIGHTS)
    except (OSError, ValueError) as error:
        raise UserError(f"{directory}: no adapters there ({error})") from None
    modules = {path.split(".")[1]: name for name, path in PEFT_NAMES.items()}
    unknown = sorted(set(about["target_modules"]) - set(modules))
    if unknown or about.get("use_rslora") or about.get("use_dora"):
        raise UserError(f"{directory}: only plain LoRA on {sorted(modules)} is read, not {unknown}")
    targets: Any = tuple(modules[module] for module in about["target_modules"])
    config = LoraSection(rank=about["r"], alpha=about["lora_alpha"], targets=targets)
    adapters: dict = {}
    for name, adapter in init_adapters(model, config, 0).items():
        adapters[name] = {}
        for side, letter in (("a", "A"), ("b", "B")):
            keys = [
                f"base_model.model.model.layers.{layer}.{PEFT_NAMES[name]}.lora_{letter}.weight"
                for layer in range(model.config.n_layers)
            ]
            missing = [key for key in keys if key not in tensors]
            if missing:
                raise UserError(f"{directory}: {missing[0]} is missing")
            wanted = adapter[side].shape[:0:-1]  # torch's, of one layer
            wrong = [key for key in keys if tensors[key].shape != wanted]
            if wrong:
                shape = tensors[wrong[0]].shape
                raise UserError(
                    f"{directory}: {wrong[0]} has shape {shape}, the model wants {wanted}"
                )
            adapters[name][side] = np.stack([tensors[key].T for key in keys]).astype(np.float32)
    return adapters, config


def from_checkpoint(checkpoint: Checkpoint, dtype: Any = None) -> tuple[Model, dict]:
    """`from_hf`, with the adapters of the checkpoint merged. Raises UserError as that and `load_peft`."""
    model, params = from_hf(checkpoint.directory, dtype)
    for directory in checkpoint.adapters:
        params = merge(params, *load_peft(directory, model))
    return model, params


def adapter_count(model: Model, config: LoraSection) -> int:
    """Parameters of all adapters."""
    leaves = model.spec()["layers"]
    sides = [_sides(leaves[name].shape, name) for name in config.targets]
    return sum(layers * config.rank * (inputs + outputs) for layers, inputs, outputs in sides)


def _sides(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(layers, inputs, outputs) of a stacked projection."""
    axes: Any = MUON_AXES[name]
    inputs, outputs = axes.reduction_axis, axes.output_axis
    return (
        shape[0],
        math.prod(shape[axis] for axis in inputs),
        math.prod(shape[axis] for axis in outputs),
    )


def _scale(config: LoraSection) -> float:
    return config.alpha / config.rank
