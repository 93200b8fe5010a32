"""The training loss: weighted cross-entropy of the next token, as a sum and the weight it is over.

Sum and weight stay apart until the whole step is in: with packed rows every microbatch has another
number of trained tokens, so that a mean of means would weigh tokens by the batch they fell into.

Shape letters: B rows, T tokens, C tokens of a chunk, D embed, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model, segment_attention

MAX_LOGITS = 1 << 24  # entries (64 MiB of f32) of one chunk: [tokens, 152k] must never exist whole


def loss_and_weight(model: Model, params: dict, batch: dict, remat: bool = False):
    """(sum of weight * -log p, sum of weight), f32 scalars, over the tokens of a packed batch.

    `batch`: ids, positions, segments, weights, each BT, as `jprm.data.rows` gives them. The shift
    by one happens here and nowhere else; the first token of a segment has weight 0, so no text is
    predicted from another.
    """
    attend = segment_attention(batch["segments"], model.rules)
    h_BTD = model.hidden(params, batch["ids"], batch["positions"], attend, remat=remat)
    targets_BT = jnp.pad(batch["ids"][:, 1:], ((0, 0), (0, 1)))
    weights_BT = jnp.pad(batch["weights"][:, 1:], ((0, 0), (0, 1)))
    rows, tokens = targets_BT.shape
    chunks = _chunks(rows, tokens, model.config.vocab_size)

    def chunk_loss(h_BCD, targets_BC, weights_BC):
        return jnp.sum(cross_entropy(model.logits(params, h_BCD), targets_BC) * weights_BC)

    if chunks == 1:
        return chunk_loss(h_BTD, targets_BT, weights_BT), jnp.sum(weights_BT)

    def split(x_BT):
        return jnp.moveaxis(x_BT.reshape(rows, chunks, tokens // chunks, *x_BT.shape[2:]), 1, 0)

    # The checkpoint makes the backward pass compute the logits of a chunk again instead of keeping
    # them all.
    step = jax.checkpoint(lambda total, chunk: (total + chunk_loss(*chunk), None))
    total, _ = lax.scan(step, jnp.zeros(()), (split(h_BTD), split(targets_BT), split(weights_BT)))
    return total, jnp.sum(weights_BT)


def cross_entropy(logits_V: jax.Array, targets: jax.Array) -> jax.Array:
    """-log softmax(logits)[target] over the last axis.

    The target's logit is picked by comparison, not by index: a vocabulary sharded over devices
    cannot be indexed.
    """
    ids_V = lax.broadcasted_iota(targets.dtype, logits_V.shape, logits_V.ndim - 1)
    picked = jnp.sum(jnp.where(ids_V == targets[..., None], logits_V, 0), -1)
    return jax.nn.logsumexp(logits_V, -1) - picked


def _chunks(rows: int, tokens: int, vocab_size: int) -> int:
    """The fewest equal chunks of the tokens that keep each chunk's logits under MAX_LOGITS."""
    for chunks in range(1, tokens + 1):
        if tokens % chunks == 0 and rows * (tokens // chunks) * vocab_size <= MAX_LOGITS:
            return chunks
    return tokens
