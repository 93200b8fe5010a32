"""Hugging Face checkpoints into parameters and back, by one table of names.

Tensors are read one after another, each into its place in the leaves on the devices, so the
host holds the mapped pages of one shard and one tensor, never the model. Nothing is guessed: a name
that the table does not know, or that the files do not have, is an error.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jprm.errors import UserError
from jprm.mesh import TRAIN_RULES, Rules
from jprm.models.hf_config import CAUSAL_LM, read_config
from jprm.models.locate import opened, weight_files
from jprm.models.transformer import Model, Params, bind

DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}
DTYPES["BF16"] = np.dtype(jnp.bfloat16)
COMPARED_ROWS = 4096

# Each row names our leaf, its axes, its name in the files, and the axes there; letters written together are one axis.
ENDS = (
    ("embed", "VD", "model.embed_tokens.weight", "V D"),
    ("norm", "D", "model.norm.weight", "D"),
    ("head", "DV", "lm_head.weight", "V D"),
)
LAYER = (
    ("attn_norm", "D", "input_layernorm.weight", "D"),
    ("q", "DNH", "self_attn.q_proj.weight", "NH D"),
    ("k", "DKH", "self_attn.k_proj.weight", "KH D"),
    ("v", "DKH", "self_attn.v_proj.weight", "KH D"),
    ("q_bias", "NH", "self_attn.q_proj.bias", "NH"),
    ("k_bias", "KH", "self_attn.k_proj.bias", "KH"),
    ("v_bias", "KH", "self_attn.v_proj.bias", "KH"),
    ("q_norm", "H", "self_attn.q_norm.weight", "H"),
    ("k_norm", "H", "self_attn.k_norm.weight", "H"),
    ("o", "NHD", "self_attn.o_proj.weight", "D NH"),
    ("mlp_norm", "D", "post_attention_layernorm.weight", "D"),
    ("gate", "DF", "mlp.gate_proj.weight", "F D"),
    ("up", "DF", "mlp.up_proj.weight", "F D"),
    ("down", "FD", "mlp.down_proj.weight", "D F"),
)


@dataclasses.dataclass(frozen=True)
class TensorPlace:
    """Where one tensor of the files lies among the parameters.

    leaf: path in the tree. layer: index on the leading axis, None for a leaf outside of the layers.
    sizes: by axis letter. axes, file_axes: as in the tables.
    """

    leaf: tuple[str, ...]
    layer: int | None
    sizes: dict[str, int]
    axes: str
    file_axes: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor among the parameters, without the axis of the layers."""
        return tuple(self.sizes[axis] for axis in self.axes)

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape of the tensor in the file."""
        return tuple(math.prod(self.sizes[a] for a in group) for group in self.file_axes.split())

    def from_file(self, tensor: Any, index: tuple[slice, ...]) -> np.ndarray:
        """Reads the part `index` (of `shape`) of a tensor that can be sliced, and nothing else of it."""
        wanted = {axis: part.indices(self.sizes[axis]) for axis, part in zip(self.axes, index, strict=True)}
        cut, within = [], []
        for group in self.file_axes.split():
            first, *rest = group
            start, stop, _ = wanted[first]
            whole = math.prod(self.sizes[axis] for axis in rest)
            cut.append(slice(start * whole, stop * whole))
            within += [slice(None), *(slice(*wanted[axis]) for axis in rest)]
        letters = self.file_axes.replace(" ", "")
        begun = {group[0] for group in self.file_axes.split()}
        sizes = [wanted[a][1] - wanted[a][0] if a in begun else self.sizes[a] for a in letters]
        part = tensor[tuple(cut)].reshape(sizes)[tuple(within)]
        return np.ascontiguousarray(part.transpose([letters.index(axis) for axis in self.axes]))

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Lays an array of the parameters out as the tensor that stands in the file."""
        order = [self.axes.index(axis) for axis in self.file_axes.replace(" ", "")]
        return np.ascontiguousarray(array.transpose(order).reshape(self.file_shape))


def tensor_places(model: Model) -> dict[str, TensorPlace]:
    """Lists every tensor of this architecture by its name in the files, in the order of the layers."""
    c = model.config
    sizes = {"V": c.vocab_size, "D": c.embed, "N": c.n_heads, "K": c.n_kv_heads}
    sizes |= {"H": c.head_dim, "F": c.mlp}
    tree = model.spec()
    places = {
        name: TensorPlace((leaf,), None, sizes, axes, file_axes) for leaf, axes, name, file_axes in ENDS if leaf in tree
    }
    for i in range(c.n_layers):
        for leaf, axes, name, file_axes in LAYER:
            if leaf in tree["layers"]:
                places[f"model.layers.{i}.{name}"] = TensorPlace(("layers", leaf), i, sizes, axes, file_axes)
    return places


@dataclasses.dataclass(frozen=True)
class Head:
    """What a checkpoint has on its last layer: by default the language model's head and nothing beside it.

    ending: how its architecture's name ends. tensors: the names of a head of another kind, which `from_hf` leaves to
    `read_tensors`; the language model's head, if it is stored as well, is passed over.
    """

    ending: str = CAUSAL_LM
    tensors: tuple[str, ...] = ()


def from_hf(
    directory: Path, dtype: Any = None, rules: Rules = TRAIN_RULES, head: Head = Head(), stacked: bool = True
) -> tuple[Model, Params]:
    """Returns the model of a checkpoint directory, and its parameters laid out by `rules` on the mesh in force.

    dtype: the type of the parameters; None keeps that of the files. stacked: whether the layers are one leaf each, or
    as `split_layers` has them, which then needs no second copy of the weights. Raises UserError naming file and field
    or tensor for whatever is missing, unknown, damaged, of another shape or not supported.
    """
    # 1. Check the names, shapes and types of all tensors before one of them is read.
    directory = Path(directory)
    model = bind(read_config(directory, head.ending), rules)
    places = tensor_places(model)
    found = weight_files(directory)
    for name in head.tensors:
        if name not in found:
            raise UserError(f"{directory}: tensor {name} is missing, which belongs to the head of a ...{head.ending}")
    files = {name: path for name, path in found.items() if name not in head.tensors}
    types = _check_headers(files, places)
    dtype = _common_type(types, files) if dtype is None else np.dtype(dtype)
    if head.ending == CAUSAL_LM and model.config.tied and "lm_head.weight" in files:
        _check_tied_head(files)

    # 2. Read file by file and tensor by tensor, each into its place on the devices.
    spec = model.spec()
    params: Params = {"layers": {} if stacked else [{} for _ in range(model.config.n_layers)]}
    for path in sorted(set(files.values())):
        with opened(path) as file:
            for name in (n for n in places if files[n] == path):
                place = places[name]
                leaf, about = place.leaf[-1], _at(spec, place.leaf)
                value = _on_devices(file.get_slice(name), place, dtype, about.sharding)
                if place.layer is None or not stacked:
                    tree = params if place.layer is None else params["layers"][place.layer]
                    tree[leaf] = value
                    continue
                tree = params["layers"]
                if leaf not in tree:
                    tree[leaf] = jnp.zeros(about.shape, dtype, device=about.sharding)
                # Waiting keeps the queue from holding many tensors at once.
                tree[leaf] = _set_layer(tree[leaf], value, place.layer).block_until_ready()
    return model, params


def read_tensors(directory: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns those of the named tensors that a checkpoint has, f32. Raises UserError for a type that is not known."""
    files, tensors = weight_files(directory), {}
    for name in (n for n in names if n in files):
        with opened(files[name]) as file:
            code = file.get_slice(name).get_dtype()
            if code not in DTYPES:
                raise UserError(f"{files[name]}: tensor {name} has type {code}; supported are {', '.join(DTYPES)}")
            tensors[name] = np.asarray(file.get_tensor(name), np.float32)
    return tensors


@functools.partial(jax.jit, donate_argnums=0)
def _set_layer(stack: jax.Array, value: jax.Array, layer: jax.Array) -> jax.Array:
    return lax.dynamic_update_index_in_dim(stack, value, layer, 0)


def _on_devices(tensor: Any, place: TensorPlace, dtype: np.dtype, stacked: NamedSharding | None):
    def read(index: tuple[slice, ...] | None) -> np.ndarray:
        part = (slice(None),) * len(place.shape) if index is None else index
        return place.from_file(tensor, part).astype(dtype, copy=False)

    if stacked is None:
        return jax.device_put(read(None))
    spec = stacked.spec if place.layer is None else stacked.spec[1:]
    return jax.make_array_from_callback(place.shape, NamedSharding(stacked.mesh, PartitionSpec(*spec)), read)


def _at(tree: dict, path: tuple[str, ...]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


def _check_headers(files: dict[str, Path], places: dict[str, TensorPlace]) -> dict[str, np.dtype]:
    """Returns the type of each tensor. Raises UserError for names, shapes and types that do not fit."""
    known = places.keys() | {"lm_head.weight"}  # a tied head may be stored as well
    for name in files:
        if name not in known:
            raise UserError(f"{files[name]}: tensor {name} has no place in this architecture")
    for name in places:
        if name not in files:
            some = min(files.values(), default="the checkpoint")
            raise UserError(f"{some}: tensor {name} is missing (from every file of the checkpoint)")
    types = {}
    for path in sorted(set(files.values())):
        with opened(path) as file:
            for name in (n for n in files if files[n] == path):
                header = file.get_slice(name)
                shape, code = tuple(header.get_shape()), header.get_dtype()
                if name in places and shape != places[name].file_shape:
                    raise UserError(
                        f"{path}: tensor {name} has shape {shape}, config.json says {places[name].file_shape}"
                    )
                if code not in DTYPES:
                    raise UserError(f"{path}: tensor {name} has type {code}; supported are {', '.join(DTYPES)}")
                types[name] = DTYPES[code]
    return types


def stored_dtype(directory: Path) -> np.dtype:
    """Returns the type of a checkpoint's embeddings, in which most of it is stored. Raises UserError as `from_hf`."""
    places = tensor_places(bind(read_config(directory)))
    return _check_headers(weight_files(directory), places)["model.embed_tokens.weight"]


def _common_type(types: dict[str, np.dtype], files: dict[str, Path]) -> np.dtype:
    first, *rest = types
    for name in rest:
        if types[name] != types[first]:
            raise UserError(
                f"{files[name]}: tensor {name} is {types[name]}, but {first} is {types[first]}; "
                "say which dtype to load them as"
            )
    return types[first]


def _check_tied_head(files: dict[str, Path]) -> None:
    """Raises UserError where a tied head is stored as well, as some writers do, and is not the embedding."""
    head, embed = "lm_head.weight", "model.embed_tokens.weight"
    with opened(files[head]) as a, opened(files[embed]) as b:
        x, y = a.get_slice(head), b.get_slice(embed)
        rows = y.get_shape()[0]
        blocks = [slice(i, min(i + COMPARED_ROWS, rows)) for i in range(0, rows, COMPARED_ROWS)]
        same = x.get_shape() == y.get_shape() and all(np.array_equal(x[i], y[i]) for i in blocks)
    if not same:
        raise UserError(
            f"{files[head]}: tensor {head} differs from {embed}, but config.json has "
            "tie_word_embeddings = true; set it to false"
        )
