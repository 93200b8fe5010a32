"""Softmax attention in parts that can be merged: what a slot holds itself, and its shared prompt.

A part is the triple (weighted values, highest score, sum of weights) over some of the cache entries.
Two parts over different entries merge by log-sum-exp, all in f32, so that a prompt is read once for all
its samples: their queries are gathered into the prompt's row, never its keys and values into slots.

These einsums are the definition; a fused kernel has to equal them.

Shape letters: B slots, T tokens, S entries, P entries of a row, N query heads, K key/value heads,
G query heads for each of those, X = G * T, H head dim, J heads that are read as one, W = K / J, Y = J * X, D = J * H,
R rows, M slots of a row.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jprm.sample.prefix import RowPlaces

MOST_JOINED_QUERIES = 128  # those of a decode step; a block of a prompt has more, and is bound by its products
HIDDEN = -1e30  # finite: a part that sees nothing has no NaN, and weighs exactly 0 when merged


class Part(NamedTuple):
    """Unnormalised attention over some entries, f32."""

    out_BKXH: jax.Array
    highest_BKX1: jax.Array
    total_BKX1: jax.Array


def by_head(q_BTNH: jax.Array, kv_heads: int) -> jax.Array:
    """Scaled queries as BKXH: those of one key/value head stand together."""
    B, T, N, H = q_BTNH.shape
    q_BTKGH = (q_BTNH * H**-0.5).reshape(B, T, kv_heads, N // kv_heads, H)
    return q_BTKGH.transpose(0, 2, 3, 1, 4).reshape(B, kv_heads, -1, H)


def attend_part(q_BKXH: jax.Array, keys: jax.Array, values: jax.Array, visible_BTS: jax.Array, tensor: int = 1) -> Part:
    """Attention of scaled queries over the visible entries.

    keys, values: a piece of a cache, BKSH, or with the heads of an entry side by side (see cache.py). tensor: devices
    that share the heads.
    """
    B, K, X, H = q_BKXH.shape
    T, S = visible_BTS.shape[1:]
    joined = K // tensor if X <= MOST_JOINED_QUERIES else 1
    if keys.ndim == 4:
        scores = jnp.einsum("bkxh,bksh->bkxs", q_BKXH, keys, preferred_element_type=jnp.float32)
    else:
        scores = _scores_side_by_side(q_BKXH, keys, joined)
    scores = jnp.where(visible_BTS[:, None, None], scores.reshape(B, K, X // T, T, S), HIDDEN)
    highest = scores.max(-1, keepdims=True)
    weights = jnp.exp(scores - highest).reshape(B, K, X, S)
    if keys.ndim == 4:
        o_BKXH = jnp.einsum("bkxs,bksh->bkxh", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    else:
        o_BKXH = _values_side_by_side(weights.astype(values.dtype), values, H, joined)
    return Part(o_BKXH, highest.reshape(B, K, X, 1), weights.sum(-1, keepdims=True))


def _scores_side_by_side(q_BKXH: jax.Array, keys: jax.Array, J: int) -> jax.Array:
    """Computes the scores BKXS, reading J heads at a time as one long head.

    A query is zero in the places of the other heads of its long head. That adds products with zero, and spares another
    layout of the keys.
    """
    B, K, X, H = q_BKXH.shape
    q_BWJX1H = q_BKXH.reshape(B, K // J, J, X, 1, H)
    q_BWYD = (q_BWJX1H * jnp.eye(J, dtype=q_BKXH.dtype)[:, None, :, None]).reshape(B, K // J, J * X, J * H)
    k_BSWD = keys.reshape(B, -1, K // J, J * H)
    scores = jnp.einsum("bwyd,bswd->bwys", q_BWYD, k_BSWD, preferred_element_type=jnp.float32)
    return scores.reshape(B, K, X, -1)


def _values_side_by_side(weights_BKXS: jax.Array, values: jax.Array, H: int, J: int) -> jax.Array:
    """Computes the weighted values BKXH. Of each long head's output a query takes the places of its own head."""
    B, K, X, S = weights_BKXS.shape
    w_BWYS = weights_BKXS.reshape(B, K // J, J * X, S)
    v_BSWD = values.reshape(B, S, K // J, J * H)
    o_BWYD = jnp.einsum("bwys,bswd->bwyd", w_BWYS, v_BSWD, preferred_element_type=jnp.float32)
    o_BWJXJH = o_BWYD.reshape(B, K // J, J, X, J, H)
    return jnp.diagonal(o_BWJXJH, axis1=2, axis2=4).transpose(0, 1, 4, 2, 3).reshape(B, K, X, H)


def attend_filled(
    q_BKXH: jax.Array,
    keys: Sequence[jax.Array],
    values: Sequence[jax.Array],
    visible_BTS: jax.Array,
    filled,
    span: int,
    tensor: int = 1,
) -> Part:
    """The part over the visible entries, where no query that counts sees one from `filled` on.

    keys, values: of the lines, in pieces (see cache.py). Entries are read `span` at a time up to `filled` (0: a
    piece at a time). A line's part does not depend on how far the others made it go: a span of which it sees nothing is
    merged with weight exactly 0.
    """
    read = functools.partial(attend_part, tensor=tensor)
    part, start = None, 0
    for k, v in zip(keys, values, strict=True):
        length = k.shape[-2]
        visible = visible_BTS[..., start : start + length]
        part = _attend_piece(read, part, q_BKXH, k, v, visible, filled - start, span)
        start += length
    assert part is not None
    return part


def _attend_piece(read, before: Part | None, q_BKXH, keys, values, visible_BTS, filled, span: int) -> Part:
    """The part over a piece, merged with that over the pieces before it. Spans from `filled` on are not read."""
    length = keys.shape[-2]
    if not span or length <= span:
        whole = functools.partial(read, q_BKXH, keys, values, visible_BTS)
        # A condition, and not a loop of at most one turn: XLA moves what stays the same out of it, and does it always.
        return whole() if before is None else lax.cond(filled > 0, lambda: merge(before, whole()), lambda: before)

    def over(i) -> Part:
        start = jnp.minimum(i * span, length - span)  # the last span overlaps the one before
        k, v = (lax.dynamic_slice_in_dim(x, start, span, -2) for x in (keys, values))
        fresh_S = start + jnp.arange(span) >= i * span
        return read(q_BKXH, k, v, lax.dynamic_slice_in_dim(visible_BTS, start, span, 2) & fresh_S)

    first, before = (1, over(0)) if before is None else (0, before)
    spans = jnp.minimum((filled + span - 1) // span, -(-length // span))
    return lax.fori_loop(first, spans, lambda i, part: merge(part, over(i)), before)


def prefix_part(
    q_BKGH: jax.Array,
    keys: Sequence[jax.Array],
    values: Sequence[jax.Array],
    places: RowPlaces,
    span: int = 0,
    tensor: int = 1,
) -> Part:
    """Attention of each slot's scaled query over the first `base` entries of its row.

    keys, values: of the rows, in pieces.
    """
    # 1. Gather the queries of the slots that read a row into that row.
    R, M = places.slots_RM.shape
    _, K, G, H = q_BKGH.shape
    q_RKXH = q_BKGH[places.slots_RM].transpose(0, 2, 3, 1, 4).reshape(R, K, G * M, H)
    # 2. Attend once for each row; a query sees its own prompt, which may be the beginning of a longer one.
    entries = sum(piece.shape[-2] for piece in keys)
    visible_RMP = jnp.arange(entries) < places.base_B[places.slots_RM][..., None]
    part = attend_filled(q_RKXH, keys, values, visible_RMP, places.base_B.max(), span, tensor)

    # 3. Hand each slot its own part back.
    def by_slot(x_RKXH):
        x_RMKGH = x_RKXH.reshape(R, K, G, M, -1).transpose(0, 3, 1, 2, 4)
        return x_RMKGH[places.row_B, places.column_B]

    return Part(*map(by_slot, part))


def merge(a: Part, b: Part) -> Part:
    """The part over the entries of both."""
    # 1. The highest score of both is the common scale, so that no weight overflows.
    highest = jnp.maximum(a.highest_BKX1, b.highest_BKX1)
    # 2. Each part's weights are relative to its own highest score: bring them to the common one.
    scale_a, scale_b = jnp.exp(a.highest_BKX1 - highest), jnp.exp(b.highest_BKX1 - highest)
    # 3. Weighted values and weights then simply add up.
    return Part(a.out_BKXH * scale_a + b.out_BKXH * scale_b, highest, a.total_BKX1 * scale_a + b.total_BKX1 * scale_b)


def finish(part: Part, like_BTNH: jax.Array) -> jax.Array:
    """Normalised output, BTNH, in the type of the queries.

    The sum of the weights divides the output, which is shorter than the weights it comes from.
    """
    B, T, N, H = like_BTNH.shape
    o_BKXH = (part.out_BKXH / part.total_BKX1).astype(like_BTNH.dtype)
    o_BKGTH = o_BKXH.reshape(B, o_BKXH.shape[1], -1, T, H)
    return o_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)
