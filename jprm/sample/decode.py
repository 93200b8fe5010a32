"""The engine's arithmetic on the device: cache, prefill, copies, decode chunks. Pure functions.

The only state on the device is the caches: for each layer K and V of shape [lanes or rows, kv
heads, slots, head dim], donated to every call that writes them. (One array for each layer, because
stacked or combined caches are copied whole at every update; heads before slots, because then
attention is one batched matrix product.) Everything else about a lane lives on the host and comes
in with each call, but for what the chunk before has left (`Carry`).

There are one or two caches. `own` has a line for each lane. Without prefix rows it holds whole
sequences. With them `prefix` has a line for each row, and a lane holds what follows its prompt.

Invariant: what is written for a lane, and every token drawn for it, has bits that depend on this
lane's tokens alone. A slot past a line's length may hold anything finite: attention gives it weight
exactly 0, and it is written again before it is read.

Shape letters: B lanes, T tokens, S slots, P slots of a row, N query heads, K key/value heads,
H head dim, C steps of a chunk, V vocabulary, X stop ids, W watched ids, R rows, M copies.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model
from jprm.sample import draw
from jprm.sample.attend import attend_filled, by_head, finish, merge, prefix_part
from jprm.sample.bank import LaneInputs
from jprm.sample.config import SamplingParams

Cache = dict[str, list[jax.Array]]


class Carry(NamedTuple):
    """What the next chunk of the same lanes needs, if it starts before this one has been read."""

    token_B: jax.Array
    stopped_B: jax.Array


class LaneOutputs(NamedTuple):
    """What came out of a chunk for each lane."""

    tokens_BC: jax.Array  # token i is the one after window[i]; only the first `ran` count
    ran_B: jax.Array  # steps that the lane ran
    stopped_B: jax.Array  # whether its last token is a stop or a trigger that it drew
    watched_BCW: jax.Array  # raw log-probabilities of the watched ids at each of those tokens


def new_cache(model: Model, lines: int, slots: int, dtype, sharding) -> Cache:
    """An empty cache, committed to its device like all that comes out of the programs below.

    (To jit an uncommitted array is another kind of argument: every program would compile twice.)
    """
    c = model.config
    shape = (lines, c.n_kv_heads, slots, c.head_dim)
    zeros = lambda: jax.device_put(jnp.zeros(shape, dtype), sharding)  # noqa: E731
    return {kind: [zeros() for _ in range(c.n_layers)] for kind in "kv"}


@functools.partial(jax.jit, static_argnames=("model", "span"), donate_argnames="cache")
def prefill(model: Model, params, cache: Cache, ids_MT, line_M, start_M, count, span: int = 0) -> Cache:
    """Feed the first `count` blocks of T tokens, each to a lane or row, from a position on.

    One block after the other: its matrix products are large enough alone, a long text is simply
    several blocks, one shape serves all lengths, and a block's bits cannot depend on which others
    came with it. The padding of a text's last block is written past the line's length, where it is
    not seen.
    """
    T = ids_MT.shape[1]
    slots = cache["k"][0].shape[2]

    def one(m, cache):
        cache = {kind: list(layers) for kind, layers in cache.items()}
        position_1T = (start_M[m] + jnp.arange(T))[None]
        visible_1TS = jnp.arange(slots) <= position_1T[..., None]

        def store(kind, layer, new_1TKH):
            old = cache[kind][layer]
            new = old.at[line_M[m], :, position_1T[0]].set(new_1TKH[0].astype(old.dtype), mode="drop")
            cache[kind][layer] = new
            return lax.dynamic_slice_in_dim(new, line_M[m], 1)

        def attend(layer, q_1TNH, k_1TKH, v_1TKH):
            k_1KSH, v_1KSH = store("k", layer, k_1TKH), store("v", layer, v_1TKH)
            q_1KXH = by_head(q_1TNH, k_1KSH.shape[1])
            filled = start_M[m] + T
            return finish(attend_filled(q_1KXH, k_1KSH, v_1KSH, visible_1TS, filled, span), q_1TNH)

        model.hidden(params, ids_MT[m][None], position_1T, attend, unroll=True)
        return cache

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, donate_argnames="cache")
def clone(cache: Cache, source_M, target_M, count) -> Cache:
    """Copy whole lanes or rows, the first `count` pairs, in their order."""

    def one(m, cache):
        def copy(x):
            line = lax.dynamic_slice_in_dim(x, source_M[m], 1)
            return lax.dynamic_update_slice_in_dim(x, line, target_M[m], 0)

        return jax.tree.map(copy, cache)

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, donate_argnames="prefix")
def promote(prefix: Cache, own: Cache, lane_M, row_M, start_M, end_M, count) -> Cache:
    """Copy what a lane holds into slots start..end of a row, the first `count` pairs."""

    def one(m, prefix):
        def copy(rows_RKPH, lanes_BKSH):
            slot_P = jnp.arange(rows_RKPH.shape[2])
            at_P = jnp.clip(slot_P - start_M[m], 0, lanes_BKSH.shape[2] - 1)
            old_1KPH = lax.dynamic_slice_in_dim(rows_RKPH, row_M[m], 1)
            new_1KPH = lax.dynamic_slice_in_dim(lanes_BKSH, lane_M[m], 1)[:, :, at_P]
            inside_P1 = ((slot_P >= start_M[m]) & (slot_P < end_M[m]))[:, None]
            line = jnp.where(inside_P1, new_1KPH, old_1KPH)
            return lax.dynamic_update_slice_in_dim(rows_RKPH, line, row_M[m], 0)

        return jax.tree.map(copy, prefix, own)

    return lax.fori_loop(0, count, one, prefix)


@functools.partial(jax.jit, static_argnames=("model", "sampling", "span"), donate_argnames="own")
def chunk(
    model: Model,
    sampling: SamplingParams,
    params,
    own: Cache,
    prefix: Cache | None,
    lanes: LaneInputs,
    carry: Carry,
    triggers_V,
    seed_2,
    span: int = 0,
) -> tuple[Cache, Carry, LaneOutputs]:
    """C decode steps of every lane; a lane freezes at a stop that it drew, or after steps_B.

    span: slots of the caches that attention reads at a time (see `attend_filled`).
    """
    B, C = lanes.window_BT.shape[0], lanes.window_BT.shape[1] - 1
    line_B = jnp.arange(B)
    slots = own["k"][0].shape[2]
    keys_B = draw.sample_keys(seed_2, lanes.sample_id_B2)
    # A lane runs without gaps from the start of a chunk, so its positions are known before it runs.
    drawn_at_CB = lanes.position_B + 1 + jnp.arange(C)[:, None]
    uniform_CB = jax.vmap(draw.uniforms, (None, 0))(keys_B, drawn_at_CB)
    stopped_before_B = lanes.continues_B & carry.stopped_B

    def step(state, xs):
        own, token_B, stopped_B, ran_B = state
        i, next_B, uniform_B = xs
        running_B = (i < lanes.steps_B) & ~stopped_B
        position_B = lanes.position_B + ran_B
        slot_B = position_B - lanes.base_B
        visible_B1S = jnp.arange(slots) <= slot_B[:, None, None]
        filled = jnp.where(running_B, slot_B + 1, 0).max()
        own = {kind: list(layers) for kind, layers in own.items()}

        def attend(layer, q_B1NH, k_B1KH, v_B1KH):
            for kind, new in (("k", k_B1KH), ("v", v_B1KH)):
                old = own[kind][layer]
                own[kind][layer] = old.at[line_B, :, slot_B].set(new[:, 0].astype(old.dtype))
            q_BKGH = by_head(q_B1NH, k_B1KH.shape[2])
            part = attend_filled(q_BKGH, own["k"][layer], own["v"][layer], visible_B1S, filled, span)
            if prefix is not None:
                place = lanes.base_B, lanes.row_B, lanes.column_B, lanes.lanes_RM
                shared = prefix_part(q_BKGH, prefix["k"][layer], prefix["v"][layer], *place, span)
                part = merge(shared, part)
            return finish(part, q_B1NH)

        h_B1D = model.hidden(params, token_B[:, None], position_B[:, None], attend, unroll=True)
        logits_BV = model.logits(params, h_B1D[:, 0])
        drawn_B = draw.draw(logits_BV, uniform_B, sampling)
        forced_B = i + 1 < lanes.known_B
        out_B = jnp.where(forced_B, next_B, drawn_B)
        watched_BW = draw.log_probabilities(logits_BV, lanes.watch_BW)
        stops_B = (drawn_B[:, None] == lanes.stops_BX).any(-1)
        stops_B |= lanes.listens_B & triggers_V.at[drawn_B].get(mode="clip")
        stopped_B |= running_B & ~forced_B & stops_B
        token_B = jnp.where(running_B, out_B, token_B)
        return (own, token_B, stopped_B, ran_B + running_B), (out_B, watched_BW)

    first_B = jnp.where(lanes.continues_B, carry.token_B, lanes.window_BT[:, 0])
    start = (own, first_B, stopped_before_B, jnp.zeros(B, jnp.int32))
    xs = (jnp.arange(C), lanes.window_BT[:, 1:].T, uniform_CB)
    (own, token_B, stopped_B, ran_B), (tokens_CB, watched_CBW) = lax.scan(step, start, xs)
    outputs = LaneOutputs(tokens_CB.T, ran_B, stopped_B & ~stopped_before_B, watched_CBW.transpose(1, 0, 2))
    return own, Carry(token_B, stopped_B), outputs
