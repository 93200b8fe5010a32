"""Device meshes, and the one place where logical axis names become mesh axes.

Weights and activations everywhere else carry logical names ("batch", "heads", "mlp", ...). A `Rules` object says which
mesh axis each of them is laid along, so that training and decoding share one model and differ in their rules.

Invariant: without a mesh every rule gives `None`, which JAX takes as "no sharding asked for". One device therefore
needs no mesh at all, and the same code runs on many as soon as `jax.set_mesh(make_mesh(...))` is in force.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jprm.errors import UserError

MeshAxis = str | tuple[str, ...] | None


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] = ()) -> jax.sharding.Mesh:
    """Makes a mesh over the first data * fsdp * tensor devices; its axes are Explicit, so shardings are types.

    `data` axes copy the weights, `fsdp` axes shard them, `tensor` axes split the layers. devices: those
    to take; all that are here if empty. Raises UserError where there are fewer than that.
    """
    available = list(devices) or jax.devices()
    count = data * fsdp * tensor
    if count > len(available):
        raise UserError(
            f"mesh: {data} x {fsdp} x {tensor} needs {count} devices of {len(available)}; make the product smaller"
        )
    types = (AxisType.Explicit,) * 3
    return jax.make_mesh((data, fsdp, tensor), ("data", "fsdp", "tensor"), axis_types=types, devices=available[:count])


@dataclasses.dataclass(frozen=True)
class Rules:
    """Says for each logical axis along which mesh axis (or several, or none) it is laid.

    A call with the names of an array's axes gives its PartitionSpec.
    """

    batch: MeshAxis = ("data", "fsdp")
    embed: MeshAxis = "fsdp"
    heads: MeshAxis = "tensor"
    kv_heads: MeshAxis = "tensor"
    mlp: MeshAxis = "tensor"
    vocab: MeshAxis = "tensor"
    layer: MeshAxis = None
    head_dim: MeshAxis = None

    def __call__(self, *names: str | None) -> PartitionSpec | None:
        """Returns the spec of an array with these axes (`None`: not sharded); `None` without a mesh.

        Raises ValueError when two of the axes would fall on the same mesh axis.
        """
        if jax.sharding.get_abstract_mesh().empty:
            return None
        return self.spec(*names)

    def spec(self, *names: str | None) -> PartitionSpec:
        """Returns the spec as a call gives it, whether or not a mesh is set."""
        entries = tuple(None if name is None else getattr(self, name) for name in names)
        used = [axis for entry in entries for axis in mesh_axes(entry)]
        if len(set(used)) != len(used):
            raise ValueError(f"axes {names} collide: two of them are laid along one mesh axis: {entries}")
        return PartitionSpec(*entries)

    def check(self, sizes: dict[str, int], where: str) -> None:
        """Raises UserError unless each size divides among the devices that its rule gives it."""
        mesh = jax.sharding.get_abstract_mesh()
        for name, size in sizes.items():
            ways = 1
            for axis in mesh_axes(getattr(self, name)):
                ways *= 1 if mesh.empty else mesh.shape[axis]
            if size % ways:
                raise UserError(
                    f"{where}: {name} = {size} does not divide among {ways} devices of mesh axis "
                    f"{getattr(self, name)!r}; use a smaller axis or a rule {name}=None"
                )


TRAIN_RULES = Rules()
# While decoding a weight is read once per token: gathering it along `fsdp` each time would cost more than it saves.
DECODE_RULES = Rules(embed=None)


def sharding(spec: PartitionSpec | None) -> NamedSharding | None:
    """Returns the sharding of the spec on the mesh in force, for use outside of jit; `None` without a mesh."""
    mesh = jax.sharding.get_mesh()
    if spec is None or mesh.empty:
        return None
    return NamedSharding(mesh, spec)


def reshard(x: jax.Array, spec: PartitionSpec | None) -> jax.Array:
    """Lays `x` out by the spec, inside of jit; without a mesh it is left as it is."""
    return x if spec is None else jax.reshard(x, spec)


def mesh_axes(entry: MeshAxis) -> tuple[str, ...]:
    """Returns the mesh axes of a rule, of which there may be none."""
    if entry is None:
        return ()
    return (entry,) if isinstance(entry, str) else entry
