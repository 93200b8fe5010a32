"""The discriminative step head: one logit at the end of each step, for "this step is right".

A linear layer on the hidden state of the step's last token. It is trained by binary cross-entropy
against 0 and 1, or against probabilities such as Monte-Carlo estimates.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jprm.mesh import TRAIN_RULES, Rules
from jprm.models import Model, ModelConfig
from jprm.train.loss import DEFAULT_PASSES, Passes, hidden_states

KEY = "step_head"  # where the head lies among the parameters


def init_head(config: ModelConfig) -> dict:
    """A head that says 1/2 to everything: weight (D,), bias ()."""
    return {"weight": np.zeros(config.embed, np.float32), "bias": np.zeros((), np.float32)}


def step_logits(params: dict, h_BTD: jax.Array, rules: Rules = TRAIN_RULES) -> jax.Array:
    """f32, BT: the log-odds that the step which ends at a token is right."""
    head = params[KEY]
    spec = rules("batch", None)
    logits = jnp.einsum("btd,d->bt", h_BTD, head["weight"], preferred_element_type=jnp.float32, out_sharding=spec)
    return logits + head["bias"].astype(jnp.float32)


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-targets * log p - (1 - targets) * log (1 - p) with p = sigmoid(logits)."""
    return jax.nn.softplus(logits) - targets * logits


def step_loss_and_weight(model: Model, params: dict, batch: dict, passes: Passes = DEFAULT_PASSES):
    """(sum of weight * cross-entropy, sum of weight) over the step ends of a packed batch.

    `batch`: ids, positions, segments, weights (0 but at step ends) and targets (probabilities that
    the step is right), each BT. Nothing is shifted: the state at a step's last token judges it.
    """
    h_BTD = hidden_states(model, params, batch, passes)
    loss_BT = binary_cross_entropy(step_logits(params, h_BTD, model.rules), batch["targets"])
    return jnp.sum(loss_BT * batch["weights"]), jnp.sum(batch["weights"])
