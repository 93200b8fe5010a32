"""The engine's arithmetic on the device: cache, prefill, clones, decode chunks. Pure functions.

The only state on the device is the cache: for each layer K and V of shape [lanes, kv heads, slots,
head dim], donated to every call. (One array for each layer, because stacked or combined caches are
copied whole at every update; heads before slots, because then attention is one batched matrix
product.) Everything else about a lane lives on the host and comes in with each call.

Invariant: what is written for a lane, and every token drawn for it, has bits that depend on this
lane's tokens alone. A slot past a lane's length may hold anything finite: attention gives it weight
exactly 0, and it is written again before it is read.

Shape letters: B lanes, T tokens, S slots, N query heads, K key/value heads, G query heads for each
of those, H head dim, C steps of a chunk, V vocabulary, X stop ids, W watched ids, R blocks,
M clones.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model
from jprm.sample import draw
from jprm.sample.config import SamplingParams

Cache = dict[str, list[jax.Array]]


class LaneInputs(NamedTuple):
    """What the host says about each lane at the start of a chunk."""

    window_BT: Any  # T = C + 1: the next token to feed, and those after it as far as known
    known_B: Any  # how many tokens of the window are known
    steps_B: Any  # the most steps that the lane may run; 0: frozen
    position_B: Any  # absolute position (and slot) of window[0]
    sample_id_B2: Any  # (high, low) 32-bit halves
    stops_BX: Any  # -1 where there is none
    watch_BW: Any


class LaneOutputs(NamedTuple):
    """What came out of a chunk for each lane."""

    tokens_BC: jax.Array  # token i is the one after window[i]; only the first `ran` count
    ran_B: jax.Array  # steps that the lane ran
    stopped_B: jax.Array  # whether its last token is a stop that it drew
    watched_BCW: jax.Array  # raw log-probabilities of the watched ids at each of those tokens


def new_cache(model: Model, lanes: int, slots: int, dtype, device) -> Cache:
    """An empty cache, committed to its device like all that comes out of the programs below.

    (To jit an uncommitted array is another kind of argument: every program would compile twice.)
    """
    c = model.config
    shape = (lanes, c.n_kv_heads, slots, c.head_dim)
    zeros = lambda: jax.device_put(jnp.zeros(shape, dtype), device)  # noqa: E731
    return {kind: [zeros() for _ in range(c.n_layers)] for kind in "kv"}


def attention(
    q_BTNH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array, visible_BTS: jax.Array
) -> jax.Array:
    """Softmax attention over the visible slots, scores and sums in f32. Returns BTNH.

    The sum of the weights divides the output, which is shorter than the weights it comes from.
    """
    B, T, N, H = q_BTNH.shape
    K, S = k_BKSH.shape[1:3]
    G = N // K
    q_BKXH = q_BTNH.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4).reshape(B, K, G * T, H)
    scores = jnp.einsum(
        "bkxh,bksh->bkxs", q_BKXH * H**-0.5, k_BKSH, preferred_element_type=jnp.float32
    )
    scores = jnp.where(visible_BTS[:, None, None], scores.reshape(B, K, G, T, S), -jnp.inf)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True)).reshape(B, K, G * T, S)
    o_BKXH = jnp.einsum(
        "bkxs,bksh->bkxh",
        weights.astype(v_BKSH.dtype),
        v_BKSH,
        preferred_element_type=jnp.float32,
    )
    o_BKXH = (o_BKXH / weights.sum(-1, keepdims=True)).astype(q_BTNH.dtype)
    return o_BKXH.reshape(B, K, G, T, H).transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


@functools.partial(jax.jit, static_argnames="model", donate_argnames="cache")
def prefill(model: Model, params, cache: Cache, ids_RT, lane_R, start_R, count) -> Cache:
    """Feed the first `count` blocks of T tokens, each to a lane, from a position on.

    One block after the other: its matrix products are large enough alone, a long text is simply
    several blocks, one shape serves all lengths, and a block's bits cannot depend on which others
    came with it. The padding of a text's last block is written past the lane's length, where it is
    not seen.
    """
    T = ids_RT.shape[1]
    slots = cache["k"][0].shape[2]

    def one(r, cache):
        cache = {kind: list(layers) for kind, layers in cache.items()}
        position_1T = (start_R[r] + jnp.arange(T))[None]
        visible_1TS = jnp.arange(slots) <= position_1T[..., None]

        def store(kind, layer, new_1TKH):
            old = cache[kind][layer]
            new = old.at[lane_R[r], :, position_1T[0]].set(
                new_1TKH[0].astype(old.dtype), mode="drop"
            )
            cache[kind][layer] = new
            return lax.dynamic_slice_in_dim(new, lane_R[r], 1)

        def attend(layer, q_1TNH, k_1TKH, v_1TKH):
            k_1KSH, v_1KSH = store("k", layer, k_1TKH), store("v", layer, v_1TKH)
            return attention(q_1TNH, k_1KSH, v_1KSH, visible_1TS)

        model.hidden(params, ids_RT[r][None], position_1T, attend, unroll=True)
        return cache

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, donate_argnames="cache")
def clone(cache: Cache, source_M, target_M, count) -> Cache:
    """Copy whole lanes, the first `count` pairs, in their order."""

    def one(m, cache):
        def copy(x):
            row = lax.dynamic_slice(x, (source_M[m], 0, 0, 0), (1, *x.shape[1:]))
            return lax.dynamic_update_slice(x, row, (target_M[m], 0, 0, 0))

        return jax.tree.map(copy, cache)

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, static_argnames=("model", "sampling"), donate_argnames="cache")
def chunk(
    model: Model, sampling: SamplingParams, params, cache: Cache, lanes: LaneInputs, seed_2
) -> tuple[Cache, LaneOutputs]:
    """C decode steps of every lane; a lane freezes at a stop that it drew, or after steps_B."""
    B, C = lanes.window_BT.shape[0], lanes.window_BT.shape[1] - 1
    row_B = jnp.arange(B)
    slots = cache["k"][0].shape[2]
    keys_B = draw.sample_keys(seed_2, lanes.sample_id_B2)
    # A lane runs without gaps from the start of a chunk, so its positions are known before it runs.
    drawn_at_CB = lanes.position_B + 1 + jnp.arange(C)[:, None]
    uniform_CB = jax.vmap(draw.uniforms, (None, 0))(keys_B, drawn_at_CB)

    def step(carry, xs):
        cache, token_B, stopped_B, ran_B = carry
        i, next_B, uniform_B = xs
        running_B = (i < lanes.steps_B) & ~stopped_B
        position_B = lanes.position_B + ran_B
        visible_B1S = jnp.arange(slots) <= position_B[:, None, None]
        cache = {kind: list(layers) for kind, layers in cache.items()}

        def attend(layer, q_B1NH, k_B1KH, v_B1KH):
            for kind, new in (("k", k_B1KH), ("v", v_B1KH)):
                old = cache[kind][layer]
                cache[kind][layer] = old.at[row_B, :, position_B].set(new[:, 0].astype(old.dtype))
            return attention(q_B1NH, cache["k"][layer], cache["v"][layer], visible_B1S)

        h_B1D = model.hidden(params, token_B[:, None], position_B[:, None], attend, unroll=True)
        logits_BV = model.logits(params, h_B1D[:, 0])
        drawn_B = draw.draw(logits_BV, uniform_B, sampling)
        forced_B = i + 1 < lanes.known_B
        out_B = jnp.where(forced_B, next_B, drawn_B)
        watched_BW = draw.log_probabilities(logits_BV, lanes.watch_BW)
        stopped_B |= running_B & ~forced_B & (drawn_B[:, None] == lanes.stops_BX).any(-1)
        token_B = jnp.where(running_B, out_B, token_B)
        return (cache, token_B, stopped_B, ran_B + running_B), (out_B, watched_BW)

    start = (cache, lanes.window_BT[:, 0], jnp.zeros(B, bool), jnp.zeros(B, jnp.int32))
    xs = (jnp.arange(C), lanes.window_BT[:, 1:].T, uniform_CB)
    (cache, _, stopped_B, ran_B), (tokens_CB, watched_CBW) = lax.scan(step, start, xs)
    return cache, LaneOutputs(tokens_CB.T, ran_B, stopped_B, watched_CBW.transpose(1, 0, 2))
