"""The keys and values of slots or prefix rows on the device. Pure functions.

For each layer K and V lie in pieces of shape [lines, kv heads, entries of the piece, head dim]; a line is a slot or a
row. (One array for each layer, because stacked or combined caches are copied whole at every update; heads before
entries, because then attention is one batched matrix product.)

Where attention reads spans, the first two pieces have one span each, and every further one as many entries as all
before it. The matrix product of XLA on a CPU takes its operand in one run of memory, so that a span cut out of a longer
piece is copied first: for SmolLM2-135M at 32 slots that took two thirds of attention. A piece of one span is read where
it lies; that the pieces double bounds their number in long contexts. And a cache grows by another piece: nothing that
it holds is moved.

Shape letters: B lines that are written, T tokens, K key/value heads, H head dim, P entries of a row, M copies.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model

Pieces = list[jax.Array]
Cache = dict[str, list[Pieces]]  # "k" and "v", then layers


def piece_lengths(entries: int, span: int) -> list[int]:
    """The entries of each piece of a line: span, span, 2 span, 4 span and so on; one piece where no spans are read."""
    lengths: list[int] = []
    while (held := sum(lengths)) < entries:
        lengths.append(min(max(held, span) if span else entries, entries - held))
    return lengths


def new_cache(model: Model, lines: int, entries: int, dtype, sharding, span: int = 0) -> Cache:
    """An empty cache, committed to its device like all that comes out of the programs on it.

    (To jit an uncommitted array is another kind of argument: every program would compile twice.)
    """
    c = model.config

    def pieces() -> Pieces:
        lengths = piece_lengths(entries, span)
        return [jnp.zeros((lines, c.n_kv_heads, n, c.head_dim), dtype, device=sharding) for n in lengths]

    return {kind: [pieces() for _ in range(c.n_layers)] for kind in "kv"}


def entries_of(cache: Cache) -> int:
    """Entries of a line."""
    return sum(piece.shape[2] for piece in cache["k"][0])


def lengthened(cache: Cache, entries: int) -> Cache:
    """The same cache with more entries a line: those that it has, and one more piece."""
    more = entries - entries_of(cache)
    if not more:
        return cache

    def piece(like: jax.Array) -> jax.Array:
        return jnp.zeros((*like.shape[:2], more, like.shape[3]), like.dtype, device=like.sharding)

    return {kind: [[*pieces, piece(pieces[0])] for pieces in layers] for kind, layers in cache.items()}


def written(pieces: Pieces, line_B, entry_B, new_BKH: jax.Array) -> Pieces:
    """The pieces with a token's keys or values at an entry of each line. Entries past the end are dropped.

    line_B: one line, or one for each entry.
    """
    found, start = [], 0
    for piece in pieces:
        length = piece.shape[2]
        inside_B = (entry_B >= start) & (entry_B < start + length)
        at_B = jnp.where(inside_B, entry_B - start, length)
        found.append(piece.at[line_B, :, at_B].set(new_BKH.astype(piece.dtype), mode="drop"))
        start += length
    return found


def line_of(pieces: Pieces, line) -> Pieces:
    """The pieces of one line, [1, K, entries, H] each."""
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
            own_1KSH = jnp.concatenate(line_of(slots, slot_M[m]), 2)
            found, start = [], 0
            for rows_RKPH in rows:
                entry_P = start + jnp.arange(rows_RKPH.shape[2])
                at_P = jnp.clip(entry_P - start_M[m], 0, own_1KSH.shape[2] - 1)
                old_1KPH = lax.dynamic_slice_in_dim(rows_RKPH, row_M[m], 1)
                inside_P1 = ((entry_P >= start_M[m]) & (entry_P < end_M[m]))[:, None]
                row_1KPH = jnp.where(inside_P1, own_1KSH[:, :, at_P], old_1KPH)
                found.append(lax.dynamic_update_slice_in_dim(rows_RKPH, row_1KPH, row_M[m], 0))
                start += rows_RKPH.shape[2]
            return found

        return {kind: [copied(*pair) for pair in zip(prefix[kind], own[kind], strict=True)] for kind in prefix}

    return lax.fori_loop(0, count, one, prefix)
