"""The training loss: weighted cross-entropy of the next token, as a sum and the weight it is over.

Sum and weight stay apart until the whole step is in: with packed rows every microbatch has another
number of trained tokens, so that a mean of means would weigh tokens by the batch they fell into.

Shape letters: B rows, T tokens, C tokens of a chunk, D embed, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jprm.models import Model, segment_attention
from jprm.train.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Passes:
    """How the passes are run. None of it changes the numbers by more than rounding.

    remat, attention, logits_mb: as in `TrainConfig`. [tokens, 152k] logits must never exist whole.
    """

    remat: str = "none"
    attention: str = "auto"
    logits_mb: int = 64

    @classmethod
    def of(cls, config: TrainConfig) -> "Passes":
        """Those that a configuration asks for."""
        return cls(config.remat, config.attention, config.logits_mb)


DEFAULT_PASSES = Passes()


def hidden_states(model: Model, params: dict, batch: dict, passes: Passes) -> jax.Array:
    """BTD, of the packed rows of a batch."""
    attend = segment_attention(batch["segments"], model.rules, passes.attention)
    return model.hidden(params, batch["ids"], batch["positions"], attend, remat=passes.remat)


def loss_and_weight(model: Model, params: dict, batch: dict, passes: Passes = DEFAULT_PASSES):
    """(sum of weight * -log p, sum of weight), f32 scalars, over the tokens of a packed batch.

    `batch`: ids, positions, segments, weights, each BT, as `jprm.data.Rows` gives them. The shift
    by one happens here and nowhere else; the first token of a segment has weight 0, so no text is
    predicted from another.

    Soft labels: with `others` (ids) and `targets` (probabilities), each BT, a token counts by
    -targets * log p(ids) - (1 - targets) * log p(others), such as Yes and No under an estimate of how
    likely the step is right. Where the target is 1 that is the plain loss.
    """
    h_BTD = hidden_states(model, params, batch, passes)
    names = ("ids", "weights", "others", "targets")
    shifted = {name: _shifted(batch[name]) for name in names if name in batch}
    rows, tokens = batch["ids"].shape
    chunks = _chunks(rows, tokens, model.config.vocab_size, passes.logits_mb << 18)

    def chunk_loss(h_BCD, chunk):
        logits = model.logits(params, h_BCD)
        loss = cross_entropy(logits, chunk["ids"])
        if "targets" in chunk:
            other = cross_entropy(logits, chunk["others"])
            loss = chunk["targets"] * loss + (1 - chunk["targets"]) * other
        return jnp.sum(loss * chunk["weights"])

    if chunks == 1:
        return chunk_loss(h_BTD, shifted), jnp.sum(shifted["weights"])

    def split(x_BT):
        return jnp.moveaxis(x_BT.reshape(rows, chunks, tokens // chunks, *x_BT.shape[2:]), 1, 0)

    # The checkpoint makes the backward pass compute the logits of a chunk again instead of keeping
    # them all.
    step = jax.checkpoint(lambda total, chunk: (total + chunk_loss(*chunk), None))
    total, _ = lax.scan(step, jnp.zeros(()), jax.tree.map(split, (h_BTD, shifted)))
    return total, jnp.sum(shifted["weights"])


def _shifted(x_BT: jax.Array) -> jax.Array:
    """What the token behind each has."""
    return jnp.pad(x_BT[:, 1:], ((0, 0), (0, 1)))


def cross_entropy(logits_V: jax.Array, targets: jax.Array) -> jax.Array:
    """-log softmax(logits)[target] over the last axis.

    The target's logit is picked by comparison, not by index: a vocabulary sharded over devices
    cannot be indexed.
    """
    ids_V = lax.broadcasted_iota(targets.dtype, logits_V.shape, logits_V.ndim - 1)
    picked = jnp.sum(jnp.where(ids_V == targets[..., None], logits_V, 0), -1)
    return jax.nn.logsumexp(logits_V, -1) - picked


def _chunks(rows: int, tokens: int, vocab_size: int, max_logits: int) -> int:
    """The fewest equal chunks of the tokens that keep the logits of each under `max_logits` entries."""
    for chunks in range(1, tokens + 1):
        if tokens % chunks == 0 and rows * (tokens // chunks) * vocab_size <= max_logits:
            return chunks
    return tokens
