"""What a trained model says at the places that its labels stand at: one forward pass, packed rows.

A step head gives the probability that the step ending there is right; a model with soft labels the
probability of the labelled token against the other one (Yes against No, say).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jprm.data import Document, Rows, plan
from jprm.errors import UserError
from jprm.models import Model
from jprm.train.head import KEY as HEAD
from jprm.train.head import step_logits
from jprm.train.held_out import padded
from jprm.train.loss import DEFAULT_PASSES, hidden_states


def label_probabilities(
    model: Model, params: dict, documents: Sequence[Document], row_tokens: int, batch_rows: int = 8
) -> list[np.ndarray | None]:
    """For each document the probabilities [labels] at its tokens with a weight, in their order.

    The documents are those of `render_steps` for parameters with a step head, else of `render` with
    `Soft` labels. None for a document longer than `row_tokens`. Raises UserError where none fits,
    and for documents without soft labels where there is no head.
    """
    planned = plan([len(d) for d in documents], row_tokens, seed=0)
    packed = Rows(documents, planned)
    if HEAD not in params and "others" not in packed.names:
        raise UserError("read out: the model has no step head, and the documents no soft labels")
    found: list[np.ndarray | None] = [None] * len(documents)
    for start in range(0, len(packed), batch_rows):
        members = range(start, min(start + batch_rows, len(packed)))
        batch = {name: padded(x, batch_rows) for name, x in packed.stacked(members).items()}
        p_BT = np.asarray(_probabilities(model, params, batch))
        for row, p_T in zip(members, p_BT, strict=False):
            begin = 0
            for index in planned.rows[row]:
                document = documents[index]
                here = p_T[begin : begin + len(document)]
                found[index] = here[document.weights > 0]
                begin += len(document)
    return found


@functools.partial(jax.jit, static_argnames="model")
def _probabilities(model: Model, params: dict, batch: dict) -> jax.Array:
    """BT: of the label at each token."""
    h_BTD = hidden_states(model, params, batch, DEFAULT_PASSES)
    if HEAD in params:
        return jax.nn.sigmoid(step_logits(params, h_BTD, model.rules))
    logits_BTV = model.logits(params, h_BTD)[:, :-1]
    picked = (jnp.take_along_axis(logits_BTV, batch[name][:, 1:, None], -1)[..., 0] for name in ("ids", "others"))
    return jnp.pad(jax.nn.sigmoid(next(picked) - next(picked)), ((0, 0), (1, 0)))
