"""From logits to a token: temperature, top-k, top-p, then one uniform number and the inverse CDF.

One uniform for each token, not one Gumbel for each vocabulary entry: on a CPU those cost more than the matrix products
of a small model. No sort of the vocabulary either (30 times the cost of the logits): with top-k the rest happens among
k candidates; without it, top-p's cut is found by bisection over the bit patterns of the weights, which for non-negative
floats have the order of the values.

Invariant: a token depends on its row's logits, its sample id and its absolute position alone.

Shape letters: B slots, V vocabulary, N blocks, K entries of a block, W logprob ids.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jprm.sampling import SamplingParams

_WEIGHT_BITS = 30  # weights are at most 1.0, whose bit pattern is below 2**30


def sample_keys(seed_2: jax.Array, sample_id_B2: jax.Array) -> jax.Array:
    """One random key for each sample id; seed and ids come as (high, low) 32-bit halves."""
    fold_in = jax.random.fold_in
    root = fold_in(jax.random.key(seed_2[0]), seed_2[1])
    return jax.vmap(lambda id_2: fold_in(fold_in(root, id_2[0]), id_2[1]))(sample_id_B2)


def uniforms(keys_B: jax.Array, positions_B: jax.Array) -> jax.Array:
    """One number in [0, 1) for the token at each absolute position."""
    return jax.vmap(lambda key, position: jax.random.uniform(jax.random.fold_in(key, position)))(keys_B, positions_B)


def log_probabilities(logits_BV: jax.Array, ids_BW: jax.Array) -> jax.Array:
    """Raw (temperature 1, no cut) log-probabilities of some ids, BW."""
    total_B1 = jax.nn.logsumexp(logits_BV, -1, keepdims=True)
    return jnp.take_along_axis(logits_BV, ids_BW, -1) - total_B1


def draw(logits_BV: jax.Array, uniform_B: jax.Array, sampling: SamplingParams, tensor: int = 1) -> jax.Array:
    """One token for each row, int32 B. Temperature 0 takes the first of the most likely.

    Logits that are not finite give a token outside the vocabulary. tensor: devices that share the vocabulary.
    """
    vocab = logits_BV.shape[-1]
    if sampling.temperature == 0:
        best_BV = logits_BV == logits_BV.max(-1, keepdims=True)
        return _first(best_BV)
    weight_BV, id_BV = weights(logits_BV, sampling, tensor)
    entry_B = _inverse_cdf(weight_BV, uniform_B)
    if id_BV is None:
        return entry_B
    token_B = jnp.take_along_axis(id_BV, entry_B[:, None], -1, mode="clip")[:, 0]
    return jnp.where(weight_BV.sum(-1) > 0, token_B, vocab)


def weights(logits_BV: jax.Array, sampling: SamplingParams, tensor: int = 1) -> tuple[jax.Array, jax.Array | None]:
    """Unnormalised probabilities, 1 for the most likely token and 0 for what is cut off, and their token ids.

    vLLM's order: temperature, then top-k, then top-p over what is left (the fewest tokens whose share
    of it is at least top_p). With top-k there are k weights in falling order; of tokens tied with the
    last one kept, those with the lowest ids are kept. Without, there is one weight for every token (the
    ids are None), and all tied with the last one kept are kept.
    """
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        # Without the barrier XLA on CPU fuses the search into each of its uses: four times the cost.
        logits_BK, id_BK = lax.optimization_barrier(top_k_of_shards(logits_BV, sampling.top_k, tensor))
        weight_BK = jnp.exp((logits_BK - logits_BK[:, :1]) / sampling.temperature)
        above_BK = jnp.cumsum(weight_BK, -1) - weight_BK
        goal_B1 = sampling.top_p * weight_BK.sum(-1, keepdims=True)
        return jnp.where(above_BK < goal_B1, weight_BK, 0), id_BK
    weight_BV = jnp.exp((logits_BV - logits_BV.max(-1, keepdims=True)) / sampling.temperature)
    if sampling.top_p < 1:
        weight_BV = _keep_top(weight_BV, sampling.top_p * weight_BV.sum(-1, keepdims=True))
    return weight_BV, None


def top_k(x_BV: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k highest entries of each row in falling order, and where they are; exact.

    Of equal entries the first come first. Two levels: the k blocks with the highest maxima hold all of the k highest
    entries, because each of those blocks has one at least as high as any entry outside of them. XLA on GPU sorts for k
    above 16, and then this sorts a hundredth; on a CPU it saves a third.
    """
    rows, vocab = x_BV.shape
    size = max(1, math.isqrt(vocab // k))
    blocks = -(-vocab // size)
    if k >= blocks:
        return lax.top_k(x_BV, k)
    padded_BV = jnp.pad(x_BV, ((0, 0), (0, blocks * size - vocab)), constant_values=-jnp.inf)
    x_BNK = padded_BV.reshape(rows, blocks, size)
    _, block_Bk = lax.top_k(x_BNK.max(-1), k)
    block_Bk = jnp.sort(block_Bk, -1)  # so that the first of equals comes first below
    inside_BkK = jnp.take_along_axis(x_BNK, block_Bk[..., None], 1)
    value_Bk, at_Bk = lax.top_k(inside_BkK.reshape(rows, -1), k)
    return value_Bk, jnp.take_along_axis(block_Bk, at_Bk // size, 1) * size + at_Bk % size


def top_k_of_shards(x_BV: jax.Array, k: int, tensor: int) -> tuple[jax.Array, jax.Array]:
    """Returns what `top_k` does, where each of `tensor` devices holds a part of every row and sends k entries of it."""
    rows, vocab = x_BV.shape
    size = vocab // tensor
    if tensor == 1 or vocab % tensor or size < k:
        return top_k(x_BV, k)
    value_BNk, at_BNk = lax.top_k(x_BV.reshape(rows, tensor, size), k)
    id_Bx = (at_BNk + size * jnp.arange(tensor)[:, None]).reshape(rows, -1)
    value_Bk, at_Bk = lax.top_k(value_BNk.reshape(rows, -1), k)  # of equals the first come first: shards are in order
    return value_Bk, jnp.take_along_axis(id_Bx, at_Bk, 1)


def _keep_top(weight_BV: jax.Array, goal_B1: jax.Array) -> jax.Array:
    """The weights from a threshold on: the largest threshold at which they still add up to the goal."""
    bits_BV = lax.bitcast_convert_type(weight_BV, jnp.int32)

    def refine(i, threshold_B1):
        candidate_B1 = threshold_B1 | (1 << (_WEIGHT_BITS - 1 - i))
        kept_B1 = jnp.where(bits_BV >= candidate_B1, weight_BV, 0).sum(-1, keepdims=True)
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
