"""The keys and values of slots or prefix rows on the device. Pure functions.

For each layer K and V lie in pieces; a line is a slot or a row. (One array for each layer, because stacked or combined
caches are copied whole at every update.) A piece has the shape [lines, kv heads, entries, head dim], because then
attention is one batched matrix product; on TPU it has the shape [lines, entries, kv heads * head dim]. There XLA gives
the first shape another layout for its scatters, and copies every piece at the beginning and at the end of every call.
The last axis but one holds the entries in both, and the number of axes tells which it is.

Where attention reads spans, the first two pieces have one span each, and every further one as many entries as all
before it. The matrix product of XLA on a CPU takes its operand in one run of memory, so that a span cut out of a longer
piece is copied first: for SmolLM2-135M at 32 slots that took two thirds of attention. A piece of one span is read where
it lies; that the pieces double bounds their number in long contexts. And a cache grows by another piece: nothing that
it holds is moved.

Shape letters: B lines that are written, K key/value heads, H head dim, P entries of a row, M copies.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jprm.models import Model

Pieces = list[jax.Array]
Cache = dict[str, list[Pieces]]  # "k" and "v", then layers

HEADS_LAST = {"tpu"}  # the platforms on which the heads of an entry lie side by side


def piece_lengths(entries: int, span: int) -> list[int]:
    """The entries of each piece of a line: span, span, 2 span, 4 span and so on; one piece where no spans are read."""
    lengths: list[int] = []
    while (held := sum(lengths)) < entries:
        lengths.append(min(max(held, span) if span else entries, entries - held))
    return lengths


def new_cache(model: Model, lines: int, entries: int, dtype, sharding, span: int = 0) -> Cache:
    """An empty cache, committed to its devices like all that comes out of the programs on it.

    (To jit an uncommitted array is another kind of argument: every program would compile twice.)
    """
    shapes = cache_shapes(model, lines, entries, dtype, sharding, span)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype, device=sharding), shapes)


def cache_shapes(model: Model, lines: int, entries: int, dtype, sharding, span: int = 0) -> dict[str, list[list[Any]]]:
    """The pieces of such a cache as shapes with types and shardings, of which nothing is allocated."""
    c = model.config
    [platform] = {device.platform for device in sharding.device_set}

    def shape(length: int) -> tuple[int, ...]:
        if platform in HEADS_LAST:
            return lines, length, c.n_kv_heads * c.head_dim
        return lines, c.n_kv_heads, length, c.head_dim

    def pieces() -> list[Any]:
        lengths = piece_lengths(entries, span)
        return [jax.ShapeDtypeStruct(shape(n), dtype, sharding=sharding) for n in lengths]

    return {kind: [pieces() for _ in range(c.n_layers)] for kind in "kv"}


def cache_sharding(mesh: Mesh) -> NamedSharding:
    """How the pieces lie on a mesh with an axis "tensor": each device has its share of the heads."""
    [platform] = {device.platform for device in mesh.devices.flat}
    heads = (None, None, "tensor") if platform in HEADS_LAST else (None, "tensor")
    return NamedSharding(mesh, PartitionSpec(*heads))


def entries_of(cache: Cache) -> int:
    """Entries of a line."""
    return sum(piece.shape[-2] for piece in cache["k"][0])


def lengthened(cache: Cache, entries: int) -> Cache:
    """The same cache with more entries a line: those that it has, and one more piece."""
    more = entries - entries_of(cache)
    if not more:
        return cache

    def piece(like: jax.Array) -> jax.Array:
        return jnp.zeros((*like.shape[:-2], more, like.shape[-1]), like.dtype, device=like.sharding)

    return {kind: [[*pieces, piece(pieces[0])] for pieces in layers] for kind, layers in cache.items()}


def written(pieces: Pieces, line_B, entry_B, new_BKH: jax.Array) -> Pieces:
    """The pieces with a token's keys or values at an entry of each line. Entries past the end are dropped.

    line_B: one line, or one for each entry.
    """
    found, start = [], 0
    for piece in pieces:
        length = piece.shape[-2]
        inside_B = (entry_B >= start) & (entry_B < start + length)
        at_B = jnp.where(inside_B, entry_B - start, length)
        if piece.ndim == 3:
            place, new = piece.at[line_B, at_B], new_BKH.reshape(len(new_BKH), -1)
        else:
            place, new = piece.at[line_B, :, at_B], new_BKH
        found.append(place.set(new.astype(piece.dtype), mode="drop"))
        start += length
    return found


def line_of(pieces: Pieces, line) -> Pieces:
    """The pieces of one line, each with a first axis of 1."""
    return [lax.dynamic_slice_in_dim(piece, line, 1) for piece in pieces]


@functools.partial(jax.jit, donate_argnames="cache")
def clone(cache: Cache, source_M, target_M, count) -> Cache:
    """Copy whole slots or rows, the first `count` pairs, in their order."""

    def one(m, cache):
        def copy(x):
            line = lax.dynamic_slice_in_dim(x, source_M[m], 1)
            return lax.dynamic_update_slice_in_dim(x, line, target_M[m], 0)

        return jax.tree.map(copy, cache)

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, donate_argnames="prefix")
def promote(prefix: Cache, own: Cache, slot_M, row_M, start_M, end_M, count) -> Cache:
    """Copy what a slot holds into entries start..end of a row, the first `count` pairs."""

    def one(m, prefix):
        def copied(rows: Pieces, slots: Pieces) -> Pieces:
            own = jnp.concatenate(line_of(slots, slot_M[m]), -2)
            found, start = [], 0
            for piece in rows:
                entry_P = start + jnp.arange(piece.shape[-2])
                at_P = jnp.clip(entry_P - start_M[m], 0, own.shape[-2] - 1)
                old = lax.dynamic_slice_in_dim(piece, row_M[m], 1)
                inside_P1 = ((entry_P >= start_M[m]) & (entry_P < end_M[m]))[:, None]
                row = jnp.where(inside_P1, own[..., at_P, :], old)
                found.append(lax.dynamic_update_slice_in_dim(piece, row, row_M[m], 0))
                start += piece.shape[-2]
            return found

        return {kind: [copied(*pair) for pair in zip(prefix[kind], own[kind], strict=True)] for kind in prefix}

    return lax.fori_loop(0, count, one, prefix)
