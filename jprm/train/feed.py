"""Rows onto devices: each process builds those rows of a batch that its own devices hold."""

import functools

import jax
import numpy as np

from jprm.data import Rows


def place(rows: Rows, members: np.ndarray, layout: jax.sharding.NamedSharding | None) -> dict[str, jax.Array]:
    """The rows of these numbers as one global batch, each array (rows, capacity).

    `layout` None is one device. Otherwise only the rows of this process's devices are built.
    """
    if layout is None:
        return jax.device_put(rows.stacked(members.tolist()))
    built = functools.cache(lambda i: rows[int(members[i])])
    shape = (len(members), rows.plan.capacity)

    def part(name: str) -> jax.Array:
        def read(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # as it is for arrays without axes
            picked = range(len(members))[index[0]]
            return np.stack([built(i)[name][index[1]] for i in picked])

        return jax.make_array_from_callback(shape, layout, read)

    return {name: part(name) for name in rows.names}
