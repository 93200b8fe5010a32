"""The training losses, each as a weighted sum and the weight that it is over.

The loss of the next token is cross-entropy. That of the discriminative step head is binary
cross-entropy of one logit at the end of each step, for "this step is right".

Sum and weight stay apart until the whole step is in: with packed rows every microbatch has another
number of trained tokens, so that a mean of means would weigh tokens by the batch they fell into.

Shape letters: B rows, T tokens, C tokens of a chunk, D embed, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jprm.mesh import TRAIN_RULES, Rules, mesh_axes, reshard
from jprm.models import Model, ModelConfig, segment_attention
from jprm.train.config import TrainConfig

STEP_HEAD = "step_head"  # the name of the head among the parameters
DEFAULT = TrainConfig()
HEAD = ("embed", "head")  # the weights of the logits, tied or not
NOT_LAID_OUT = Rules(**dict.fromkeys((field.name for field in dataclasses.fields(Rules)), None))


def hidden_states(model: Model, params: dict, batch: dict, config: TrainConfig = DEFAULT) -> jax.Array:
    """Computes the residual stream of the packed rows of a batch, BTD.

    `config` says which attention kernel runs and what the backward pass recomputes.
    """
    attend = segment_attention(batch["segments"], model.rules, config.attention)
    return model.hidden(params, batch["ids"], batch["positions"], attend, remat=config.remat)


def loss_and_weight(model: Model, params: dict, batch: dict, config: TrainConfig = DEFAULT):
    """Computes (sum of weight * -log p, sum of weight), f32 scalars, over the tokens of a packed batch.

    `batch`: ids, positions, segments, weights, each BT, as `jprm.data.Rows` gives them. The shift
    by one happens here and nowhere else; the first token of a segment has weight 0, so no text is
    predicted from another. `config.logits_mb` bounds the logits that exist at once on a device.

    Soft labels: with `others` (ids) and `targets` (probabilities), each BT, a token counts by
    -targets * log p(ids) - (1 - targets) * log p(others), such as Yes and No under an estimate of how
    likely the step is right. Where the target is 1 that is the plain loss.
    """
    h_BTD = hidden_states(model, params, batch, config)
    names = ("ids", "weights", "others", "targets")
    shifted = {name: jnp.pad(batch[name][:, 1:], ((0, 0), (0, 1))) for name in names if name in batch}
    head = {name: params[name] for name in HEAD if name in params}
    mesh, axes = jax.sharding.get_abstract_mesh(), mesh_axes(model.rules.batch)
    weight, most_logits = jnp.sum(shifted["weights"]), config.logits_mb << 18
    if mesh.empty:
        return _summed_loss(model, head, h_BTD, shifted, most_logits), weight
    if mesh.shape["tensor"] > 1:  # the chunks are those of all devices, each of which has a share of the logits
        ways = math.prod(mesh.shape[axis] for axis in (*axes, "tensor"))
        return _summed_loss(model, head, h_BTD, shifted, ways * most_logits), weight
    # Each device sums over its own rows, with a head that is gathered once: what is laid out over the mesh inside of
    # the loop below is gathered, and its gradient summed, for every chunk.
    alone = dataclasses.replace(model, rules=NOT_LAID_OUT)
    head = {name: reshard(x, NOT_LAID_OUT(None, None)) for name, x in head.items()}

    def of_own_rows(head, h_BTD, shifted):
        # What differs between devices here has a gradient that is summed once, behind the loop.
        head = jax.tree.map(lambda x: lax.pcast(x, axes, to="varying"), head)
        return lax.psum(_summed_loss(alone, head, h_BTD, shifted, most_logits), axes)

    rows = PartitionSpec(axes)
    on_each = jax.shard_map(of_own_rows, in_specs=(PartitionSpec(), rows, rows), out_specs=PartitionSpec())
    return on_each(head, h_BTD, shifted), weight


def _summed_loss(model: Model, head: dict, h_BTD: jax.Array, shifted: dict, most_logits: int) -> jax.Array:
    """Computes the sum of weight * -log p over the tokens of some rows, with at most `most_logits` logits at a time."""
    rows, tokens = shifted["ids"].shape
    chunks = _chunks(rows, tokens, model.config.vocab_size, most_logits)

    def chunk_loss(h_BCD, chunk):
        logits = model.logits(head, h_BCD)
        loss = cross_entropy(logits, chunk["ids"])
        if "targets" in chunk:
            other = cross_entropy(logits, chunk["others"])
            loss = chunk["targets"] * loss + (1 - chunk["targets"]) * other
        return jnp.sum(loss * chunk["weights"])

    if chunks == 1:
        return chunk_loss(h_BTD, shifted)

    def split(x_BT):
        return jnp.moveaxis(x_BT.reshape(rows, chunks, tokens // chunks, *x_BT.shape[2:]), 1, 0)

    # The checkpoint makes the backward pass compute the logits of a chunk again instead of keeping them all.
    step = jax.checkpoint(lambda total, chunk: (total + chunk_loss(*chunk), None))
    zero = 0 * jnp.sum(shifted["weights"])  # of the type of the sum: it differs between devices where the rows do
    return lax.scan(step, zero, jax.tree.map(split, (h_BTD, shifted)))[0]


def cross_entropy(logits_V: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes -log softmax(logits)[target] over the last axis.

    The target's logit is picked by comparison, not by index: a vocabulary sharded over devices cannot be indexed.
    """
    ids_V = lax.broadcasted_iota(targets.dtype, logits_V.shape, logits_V.ndim - 1)
    picked = jnp.sum(jnp.where(ids_V == targets[..., None], logits_V, 0), -1)
    return jax.nn.logsumexp(logits_V, -1) - picked


def _chunks(rows: int, tokens: int, vocab_size: int, max_logits: int) -> int:
    """Finds the fewest equal chunks of the tokens that keep the logits of each under `max_logits` entries."""
    for chunks in range(1, tokens + 1):
        if tokens % chunks == 0 and rows * (tokens // chunks) * vocab_size <= max_logits:
            return chunks
    return tokens


def init_head(config: ModelConfig) -> dict:
    """Makes a step head that says 1/2 to everything: weight (D,), bias ()."""
    return {"weight": np.zeros(config.embed, np.float32), "bias": np.zeros((), np.float32)}


def step_logits(params: dict, h_BTD: jax.Array, rules: Rules = TRAIN_RULES) -> jax.Array:
    """Computes the log-odds that the step which ends at a token is right; f32, BT.

    A head that was trained here is one vector; published ones may have layers below it, with ReLU behind each.
    """
    head = params[STEP_HEAD]
    for layer in head.get("hidden", ()):
        wide = rules("batch", None, None)
        h_BTD = jnp.einsum("btd,de->bte", h_BTD, layer["weight"], preferred_element_type=jnp.float32, out_sharding=wide)
        h_BTD = jax.nn.relu(h_BTD + layer["bias"])
    spec = rules("batch", None)
    logits = jnp.einsum("btd,d->bt", h_BTD, head["weight"], preferred_element_type=jnp.float32, out_sharding=spec)
    return logits + head["bias"].astype(jnp.float32)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Computes -targets * log p - (1 - targets) * log (1 - p) with p = sigmoid(logits)."""
    return jax.nn.softplus(logits) - targets * logits


def step_loss_and_weight(model: Model, params: dict, batch: dict, config: TrainConfig = DEFAULT):
    """Computes (sum of weight * cross-entropy, sum of weight) over the step ends of a packed batch.

    `batch`: ids, positions, segments, weights (0 but at step ends) and targets (probabilities that
    the step is right), each BT. Nothing is shifted: the state at a step's last token judges it.
    """
    h_BTD = hidden_states(model, params, batch, config)
    loss_BT = binary_cross_entropy(step_logits(params, h_BTD, model.rules), batch["targets"])
    return jnp.sum(loss_BT * batch["weights"]), jnp.sum(batch["weights"])


Objective = Callable[[Model, dict, dict, TrainConfig], tuple[jax.Array, jax.Array]]
OBJECTIVES: dict[str, Objective] = {"tokens": loss_and_weight, "step_head": step_loss_and_weight}
