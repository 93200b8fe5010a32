"""From logits to a token: temperature, top-k, top-p, then one uniform number and the inverse CDF.

One uniform for each token, not one Gumbel for each vocabulary entry: on a CPU those cost more than
the matrix products of a small model. No sort either (30 times the cost of the logits): the cuts of
top-k and top-p are found by bisection over the bit patterns of the weights, which for non-negative
floats have the order of the values.

Invariant: a token depends on its row's logits, its sample id and its absolute position alone.

Shape letters: B lanes, V vocabulary, N blocks, K entries of a block, W watched ids.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jprm.sample.config import SamplingParams

_WEIGHT_BITS = 30  # weights are at most 1.0, whose bit pattern is below 2**30


def sample_keys(seed_2: jax.Array, sample_id_B2: jax.Array) -> jax.Array:
    """One random key for each sample id; seed and ids come as (high, low) 32-bit halves."""
    root = jax.random.fold_in(jax.random.key(seed_2[0]), seed_2[1])

    def of(id_2):
        return jax.random.fold_in(jax.random.fold_in(root, id_2[0]), id_2[1])

    return jax.vmap(of)(sample_id_B2)


def uniforms(keys_B: jax.Array, positions_B: jax.Array) -> jax.Array:
    """One number in [0, 1) for the token at each absolute position."""
    return jax.vmap(lambda key, position: jax.random.uniform(jax.random.fold_in(key, position)))(
        keys_B, positions_B
    )


def log_probabilities(logits_BV: jax.Array, ids_BW: jax.Array) -> jax.Array:
    """Raw (temperature 1, no cut) log-probabilities of some ids, BW."""
    total_B1 = jax.nn.logsumexp(logits_BV, -1, keepdims=True)
    return jnp.take_along_axis(logits_BV, ids_BW, -1) - total_B1


def draw(logits_BV: jax.Array, uniform_B: jax.Array, sampling: SamplingParams) -> jax.Array:
    """One token for each row, int32 B. Temperature 0 takes the first of the most likely.

    Logits that are not finite give a token outside the vocabulary.
    """
    if sampling.temperature == 0:
        best_BV = logits_BV == logits_BV.max(-1, keepdims=True)
        return _first(best_BV)
    return _inverse_cdf(weights(logits_BV, sampling), uniform_B)


def weights(logits_BV: jax.Array, sampling: SamplingParams) -> jax.Array:
    """Unnormalised probabilities, BV: 1 for the most likely token, 0 for what is cut off.

    vLLM's order: temperature, then top-k, then top-p over what is left (the fewest tokens whose
    share of it is at least top_p). Tokens tied with the last one kept are kept.
    """
    weight_BV = jnp.exp((logits_BV - logits_BV.max(-1, keepdims=True)) / sampling.temperature)
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        weight_BV = _keep_top(weight_BV, jnp.ones_like(weight_BV), jnp.float32(sampling.top_k))
    if sampling.top_p < 1:
        goal_B1 = sampling.top_p * weight_BV.sum(-1, keepdims=True)
        weight_BV = _keep_top(weight_BV, weight_BV, goal_B1)
    return weight_BV


def _keep_top(weight_BV: jax.Array, value_BV: jax.Array, goal_B1: jax.Array) -> jax.Array:
    """The weights not below a threshold, the largest at which the values kept reach the goal."""
    bits_BV = lax.bitcast_convert_type(weight_BV, jnp.int32)

    def refine(i, threshold_B1):
        candidate_B1 = threshold_B1 | (1 << (_WEIGHT_BITS - 1 - i))
        kept_B1 = jnp.where(bits_BV >= candidate_B1, value_BV, 0).sum(-1, keepdims=True)
        return jnp.where(kept_B1 >= goal_B1, candidate_B1, threshold_B1)

    lowest_B1 = jnp.zeros((weight_BV.shape[0], 1), jnp.int32)
    return jnp.where(bits_BV >= lax.fori_loop(0, _WEIGHT_BITS, refine, lowest_B1), weight_BV, 0)


def _inverse_cdf(weight_BV: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The entry at which the cumulative weight passes uniform * total.

    Two levels, blocks of about sqrt(V) entries and then one block: a cumulative sum over the whole
    vocabulary costs more than the logits.
    """
    rows, vocab = weight_BV.shape
    size = max(1, math.isqrt(vocab))
    blocks = -(-vocab // size)
    padded_BV = jnp.pad(weight_BV, ((0, 0), (0, blocks * size - vocab)))
    weight_BNK = padded_BV.reshape(rows, blocks, size)
    block_BN = weight_BNK.sum(-1)
    below_BN = jnp.cumsum(block_BN, -1)
    mark_B1 = uniform_B[:, None] * below_BN[:, -1:]
    block_B = _first_past(below_BN, block_BN, mark_B1)
    inside_BK = jnp.take_along_axis(weight_BNK, block_B[:, None, None], 1)[:, 0]
    before_B1 = jnp.take_along_axis(below_BN - block_BN, block_B[:, None], 1)
    entry_B = _first_past(before_B1 + jnp.cumsum(inside_BK, -1), inside_BK, mark_B1)
    return block_B * size + entry_B


def _first_past(cumulative_BN: jax.Array, weight_BN: jax.Array, mark_B1: jax.Array) -> jax.Array:
    """Index of the first entry of positive weight at which the cumulative weight passes the mark.

    Rounding may leave the mark past every entry: then the last one of positive weight.
    """
    last_B = jnp.where(weight_BN > 0, jnp.arange(weight_BN.shape[-1]), -1).max(-1)
    return jnp.minimum(_first((cumulative_BN > mark_B1) & (weight_BN > 0)), last_B)


def _first(true_BN: jax.Array) -> jax.Array:
    """Index of the first True of each row; N where there is none."""
    size = true_BN.shape[-1]
    return jnp.where(true_BN, jnp.arange(size), size).min(-1)
