"""The engine's arithmetic on the device: prefill and decode steps. Pure functions.

The only state on the device is the caches (cache.py), donated to every call that writes them. Everything else about a
slot lives on the host and comes in with each call, but for what the visit before has left (`Carry`).

There are one or two caches. `own` has a line for each slot. Without prefix rows it holds whole
sequences. With them `prefix` has a line for each row, and a slot holds what follows its prompt.

Invariant: what is written for a slot, and every token drawn for it, has bits that depend on this
slot's tokens alone. An entry past a line's length may hold anything finite: attention gives it weight
exactly 0, and it is written again before it is read.

Shape letters: B slots, T tokens, S entries of a slot, N query heads, K key/value heads, H head dim, C decode
steps of a visit, V vocabulary, X stop ids, W logprob ids, M blocks.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model
from jprm.sample import draw
from jprm.sample.attend import attend_filled, by_head, finish, merge, prefix_part
from jprm.sample.cache import Cache, entries_of, line_of, written
from jprm.sample.slots import SlotInputs
from jprm.sampling import SamplingParams


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


@functools.partial(jax.jit, static_argnames=("model", "span", "tensor"), donate_argnames="cache")
def prefill(
    model: Model, params, cache: Cache, ids_MT, line_M, start_M, count, span: int = 0, tensor: int = 1
) -> Cache:
    """Feed the first `count` blocks of T tokens, each into a slot or row, from a position on.

    One block after the other: its matrix products are large enough alone, a long text is simply several blocks, one
    shape serves all lengths, and a block's bits cannot depend on which others came with it. The padding of a text's
    last block is written past the line's length, where it is not seen.
    """
    T = ids_MT.shape[1]
    entries = entries_of(cache)

    def one(m, cache):
        cache = {kind: list(layers) for kind, layers in cache.items()}
        position_1T = (start_M[m] + jnp.arange(T))[None]
        visible_1TS = jnp.arange(entries) <= position_1T[..., None]

        def store(kind, layer, new_1TKH):
            pieces = cache[kind][layer] = written(cache[kind][layer], line_M[m], position_1T[0], new_1TKH[0])
            return line_of(pieces, line_M[m])

        def attend(layer, q_1TNH, k_1TKH, v_1TKH):
            keys, values = store("k", layer, k_1TKH), store("v", layer, v_1TKH)
            q_1KXH = by_head(q_1TNH, k_1TKH.shape[2])
            filled = start_M[m] + T
            return finish(attend_filled(q_1KXH, keys, values, visible_1TS, filled, span, tensor), q_1TNH)

        model.hidden(params, ids_MT[m][None], position_1T, attend, unroll=True)
        return cache

    return lax.fori_loop(0, count, one, cache)


@functools.partial(jax.jit, static_argnames=("model", "sampling", "span", "tensor"), donate_argnames="own")
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
    tensor: int = 1,
) -> tuple[Cache, Carry, SlotOutputs]:
    """C decode steps of every slot; a slot freezes at a stop that it drew, or after steps_B.

    span: cache entries that attention reads at a time (see `attend_filled`). tensor: devices that share the heads.
    """
    B, C = inputs.window_BT.shape[0], inputs.window_BT.shape[1] - 1
    line_B = jnp.arange(B)
    entries = entries_of(own)
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
                own[kind][layer] = written(own[kind][layer], line_B, entry_B, new[:, 0])
            q_BKGH = by_head(q_B1NH, k_B1KH.shape[2])
            part = attend_filled(q_BKGH, own["k"][layer], own["v"][layer], visible_B1S, filled, span, tensor)
            if prefix is not None:
                shared = prefix_part(q_BKGH, prefix["k"][layer], prefix["v"][layer], places, span, tensor)
                part = merge(shared, part)
            return finish(part, q_B1NH)

        h_B1D = model.hidden(params, token_B[:, None], position_B[:, None], attend, unroll=True)
        logits_BV = model.logits(params, h_B1D[:, 0])
        # 5. Draw the next token, but take the one that is known where there is one.
        drawn_B = draw.draw(logits_BV, uniform_B, sampling, tensor)
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
