"""The engine's arithmetic on the device: caches, prefill, copies, decode steps. Pure functions.

The only state on the device is the caches: for each layer K and V of shape [slots or rows, kv heads, entries, head
dim], donated to every call that writes them. (One array for each layer, because stacked or combined caches are copied
whole at every update; heads before entries, because then attention is one batched matrix product.) Everything else
about a slot lives on the host and comes in with each call, but for what the visit before has left (`Carry`).

There are one or two caches. `own` has a line for each slot. Without prefix rows it holds whole
sequences. With them `prefix` has a line for each row, and a slot holds what follows its prompt.

Invariant: what is written for a slot, and every token drawn for it, has bits that depend on this
slot's tokens alone. An entry past a line's length may hold anything finite: attention gives it weight
exactly 0, and it is written again before it is read.

Shape letters: B slots, T tokens, S entries of a slot, P entries of a row, N query heads, K key/value
heads, H head dim, C decode steps of a visit, V vocabulary, X stop ids, W logprob ids, R rows, M copies.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model
from jprm.sample import draw
from jprm.sample.attend import attend_filled, by_head, finish, merge, prefix_part
from jprm.sample.slots import SlotInputs
from jprm.sampling import SamplingParams

Cache = dict[str, list[jax.Array]]


class Carry(NamedTuple):
    """What the next visit of the same slots needs, if it starts before this one has been read."""

    token_B: jax.Array
    stopped_B: jax.Array


class SlotOutputs(NamedTuple):
    """What the decode steps of a visit brought for each slot."""

    tokens_BC: jax.Array  # token i is the one after window[i]; only the first `ran` count
    ran_B: jax.Array  # steps that the slot ran
    stopped_B: jax.Array  # whether its last token is a stop or a trigger that it drew
    logprobs_BCW: jax.Array  # raw log-probabilities of the logprob ids at each of those tokens


def new_cache(model: Model, lines: int, entries: int, dtype, sharding) -> Cache:
    """An empty cache, committed to its device like all that comes out of the programs below.

    (To jit an uncommitted array is another kind of argument: every program would compile twice.)
    """
    c = model.config
    shape = (lines, c.n_kv_heads, entries, c.head_dim)
    return {kind: [jnp.zeros(shape, dtype, device=sharding) for _ in range(c.n_layers)] for kind in "kv"}


@functools.partial(jax.jit, static_argnames=("model", "span"), donate_argnames="cache")
def prefill(model: Model, params, cache: Cache, ids_MT, line_M, start_M, count, span: int = 0) -> Cache:
    """Feed the first `count` blocks of T tokens, each into a slot or row, from a position on.

    One block after the other: its matrix products are large enough alone, a long text is simply several blocks, one
    shape serves all lengths, and a block's bits cannot depend on which others came with it. The padding of a text's
    last block is written past the line's length, where it is not seen.
    """
    T = ids_MT.shape[1]
    entries = cache["k"][0].shape[2]

    def one(m, cache):
        cache = {kind: list(layers) for kind, layers in cache.items()}
        position_1T = (start_M[m] + jnp.arange(T))[None]
        visible_1TS = jnp.arange(entries) <= position_1T[..., None]

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
    """Copy whole slots or rows, the first `count` pairs, in their order."""

    def one(m, cache):
        def copy(x):
            line = lax.dynamic_slice_in_dim(x, source_M[m], 1)
            return lax.dynamic_update_slice_in_dim(x, line, target_M[m], 0)

        return jax.tree.map(copy, cache)

    return lax.fori_loop(0, count, one, cache)


def lengthened(cache: Cache, entries: int) -> Cache:
    """The same cache with more entries a line, made array by array: two of them are never there as a whole."""
    for layers in cache.values():
        for i, x in enumerate(layers):
            layers[i] = _lengthened(x, entries).block_until_ready()
    return cache


@functools.partial(jax.jit, static_argnames="entries")
def _lengthened(x: jax.Array, entries: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, 0), (0, entries - x.shape[2]), (0, 0)))


@functools.partial(jax.jit, donate_argnames="prefix")
def promote(prefix: Cache, own: Cache, slot_M, row_M, start_M, end_M, count) -> Cache:
    """Copy what a slot holds into entries start..end of a row, the first `count` pairs."""

    def one(m, prefix):
        def copy(rows_RKPH, own_BKSH):
            entry_P = jnp.arange(rows_RKPH.shape[2])
            at_P = jnp.clip(entry_P - start_M[m], 0, own_BKSH.shape[2] - 1)
            old_1KPH = lax.dynamic_slice_in_dim(rows_RKPH, row_M[m], 1)
            new_1KPH = lax.dynamic_slice_in_dim(own_BKSH, slot_M[m], 1)[:, :, at_P]
            inside_P1 = ((entry_P >= start_M[m]) & (entry_P < end_M[m]))[:, None]
            row_1KPH = jnp.where(inside_P1, new_1KPH, old_1KPH)
            return lax.dynamic_update_slice_in_dim(rows_RKPH, row_1KPH, row_M[m], 0)

        return jax.tree.map(copy, prefix, own)

    return lax.fori_loop(0, count, one, prefix)


@functools.partial(jax.jit, static_argnames=("model", "sampling", "span"), donate_argnames="own")
def decode_steps(
    model: Model,
    sampling: SamplingParams,
    params,
    own: Cache,
    prefix: Cache | None,
    inputs: SlotInputs,
    carry: Carry,
    triggers_V,
    seed_2,
    span: int = 0,
) -> tuple[Cache, Carry, SlotOutputs]:
    """C decode steps of every slot; a slot freezes at a stop that it drew, or after steps_B.

    span: cache entries that attention reads at a time (see `attend_filled`).
    """
    B, C = inputs.window_BT.shape[0], inputs.window_BT.shape[1] - 1
    line_B = jnp.arange(B)
    entries = own["k"][0].shape[2]
    settings, places = inputs.settings, inputs.places
    # 1. Draw the uniform numbers of all steps at once. A slot runs without gaps from the first step on,
    #    so its positions are known before it runs.
    keys_B = draw.sample_keys(seed_2, settings.sample_id_B2)
    drawn_at_CB = inputs.position_B + 1 + jnp.arange(C)[:, None]
    uniform_CB = jax.vmap(draw.uniforms, (None, 0))(keys_B, drawn_at_CB)
    # 2. A slot that the visit before left at a stop does not go on.
    stopped_before_B = inputs.continues_B & carry.stopped_B

    def step(state, xs):
        own, token_B, stopped_B, ran_B = state
        i, next_B, uniform_B = xs
        # 3. Find where each slot stands: the entry of its token, and the entries that it sees.
        running_B = (i < inputs.steps_B) & ~stopped_B
        position_B = inputs.position_B + ran_B
        entry_B = position_B - places.base_B
        visible_B1S = jnp.arange(entries) <= entry_B[:, None, None]
        filled = jnp.where(running_B, entry_B + 1, 0).max()
        own = {kind: list(layers) for kind, layers in own.items()}

        # 4. Feed the token. In each layer its key and value are written before they are read, and what
        #    the slot holds itself is merged with what its prefix row holds.
        def attend(layer, q_B1NH, k_B1KH, v_B1KH):
            for kind, new in (("k", k_B1KH), ("v", v_B1KH)):
                old = own[kind][layer]
                own[kind][layer] = old.at[line_B, :, entry_B].set(new[:, 0].astype(old.dtype))
            q_BKGH = by_head(q_B1NH, k_B1KH.shape[2])
            part = attend_filled(q_BKGH, own["k"][layer], own["v"][layer], visible_B1S, filled, span)
            if prefix is not None:
                shared = prefix_part(q_BKGH, prefix["k"][layer], prefix["v"][layer], places, span)
                part = merge(shared, part)
            return finish(part, q_B1NH)

        h_B1D = model.hidden(params, token_B[:, None], position_B[:, None], attend, unroll=True)
        logits_BV = model.logits(params, h_B1D[:, 0])
        # 5. Draw the next token, but take the one that is known where there is one.
        drawn_B = draw.draw(logits_BV, uniform_B, sampling)
        forced_B = i + 1 < inputs.known_B
        out_B = jnp.where(forced_B, next_B, drawn_B)
        logprobs_BW = draw.log_probabilities(logits_BV, settings.logprob_ids_BW)
        # 6. Freeze the slots that drew a stop, or a trigger at which the host has to be asked.
        stops_B = (drawn_B[:, None] == settings.stops_BX).any(-1)
        stops_B |= settings.has_stop_when_B & triggers_V.at[drawn_B].get(mode="clip")
        stopped_B |= running_B & ~forced_B & stops_B
        token_B = jnp.where(running_B, out_B, token_B)
        return (own, token_B, stopped_B, ran_B + running_B), (out_B, logprobs_BW)

    first_B = jnp.where(inputs.continues_B, carry.token_B, inputs.window_BT[:, 0])
    start = (own, first_B, stopped_before_B, jnp.zeros(B, jnp.int32))
    xs = (jnp.arange(C), inputs.window_BT[:, 1:].T, uniform_CB)
    (own, token_B, stopped_B, ran_B), (tokens_CB, logprobs_CBW) = lax.scan(step, start, xs)
    # 7. Hand over the tokens and, to the next visit, where each slot stands.
    outputs = SlotOutputs(tokens_CB.T, ran_B, stopped_B & ~stopped_before_B, logprobs_CBW.transpose(1, 0, 2))
    return own, Carry(token_B, stopped_B), outputs
