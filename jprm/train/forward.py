"""What a model says of documents in one forward pass, packed as for training: its loss, and its labels."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jprm.data import Document, Rows, pack
from jprm.errors import UserError
from jprm.models import Model
from jprm.train.loss import STEP_HEAD, hidden_states, loss_and_weight, step_logits


def held_out_loss(
    model: Model, params: dict, documents: Sequence[Document], row_tokens: int, batch_rows: int = 8
) -> float:
    """Computes the mean -log p (nats) of the trained tokens of `documents`, packed into rows of `row_tokens`.

    Documents that do not fit into a row are left out. Raises UserError where none fits.
    """
    total = weight = 0.0
    for _, batch in _batches(_packed(documents, row_tokens), batch_rows):
        loss, n = _loss(model, params, batch)
        total, weight = total + float(loss), weight + float(n)
    return total / weight


def label_probabilities(
    model: Model, params: dict, documents: Sequence[Document], row_tokens: int, batch_rows: int = 8
) -> list[np.ndarray | None]:
    """Returns for each document the probabilities [labels] at its tokens with a weight, in their order.

    A step head gives the probability that the step which ends there is right, for the documents of `render_steps`; a
    model without one the probability of the labelled token against the other one (Yes against No, say), for documents
    of `render` with `Soft` labels. None for a document longer than `row_tokens`. Raises UserError where none fits, and
    for documents without soft labels where there is no head.
    """
    packed = _packed(documents, row_tokens)
    if STEP_HEAD not in params and "others" not in packed.names:
        raise UserError("read out: the model has no step head, and the documents no soft labels")
    found: list[np.ndarray | None] = [None] * len(documents)
    for members, batch in _batches(packed, batch_rows):
        p_BT = np.asarray(_probabilities(model, params, batch))
        for row, p_T in zip(members, p_BT, strict=False):
            begin = 0
            for index in packed.packing.rows[row]:
                document = documents[index]
                here = p_T[begin : begin + len(document)]
                found[index] = here[document.weights > 0]
                begin += len(document)
    return found


def _packed(documents: Sequence[Document], row_tokens: int) -> Rows:
    return Rows(documents, pack([len(d) for d in documents], row_tokens, seed=0))


def _batches(packed: Rows, batch_rows: int) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
    """Yields (row numbers, batch) in order; the last is filled up with padding to the one shape that is compiled."""
    for start in range(0, len(packed), batch_rows):
        members = range(start, min(start + batch_rows, len(packed)))
        padding = ((0, batch_rows - len(members)), (0, 0))
        yield members, {name: np.pad(x_BT, padding) for name, x_BT in packed.stacked(members).items()}


@functools.partial(jax.jit, static_argnames="model")
def _loss(model: Model, params: dict, batch: dict):
    return loss_and_weight(model, params, batch)


@functools.partial(jax.jit, static_argnames="model")
def _probabilities(model: Model, params: dict, batch: dict) -> jax.Array:
    """Returns the probability of the label at each token, BT."""
    h_BTD = hidden_states(model, params, batch)
    if STEP_HEAD in params:
        return jax.nn.sigmoid(step_logits(params, h_BTD, model.rules))
    logits_BTV = model.logits(params, h_BTD)[:, :-1]
    picked = (jnp.take_along_axis(logits_BTV, batch[name][:, 1:, None], -1)[..., 0] for name in ("ids", "others"))
    return jnp.pad(jax.nn.sigmoid(next(picked) - next(picked)), ((0, 0), (1, 0)))
