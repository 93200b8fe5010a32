"""The loss on documents that were not trained on."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from jprm.data import Document, plan, rows
from jprm.models import Model
from jprm.train.loss import loss_and_weight


def held_out_loss(
    model: Model, params: dict, documents: Sequence[Document], row_tokens: int, batch_rows: int = 8
) -> float:
    """Mean -log p (nats) of the trained tokens of `documents`, packed into rows of `row_tokens`.

    Documents that do not fit into a row are left out. Raises UserError where none fits.
    """
    packed = rows(documents, plan([len(d) for d in documents], row_tokens, seed=0))
    total = weight = 0.0
    for start in range(0, len(packed["ids"]), batch_rows):
        batch = {name: padded(x[start : start + batch_rows], batch_rows) for name, x in packed.items()}
        loss, n = _loss(model, params, batch)
        total, weight = total + float(loss), weight + float(n)
    return total / weight


@functools.partial(jax.jit, static_argnames="model")
def _loss(model: Model, params: dict, batch: dict):
    return loss_and_weight(model, params, batch)


def padded(x_BT: np.ndarray, batch_rows: int) -> np.ndarray:
    """Rows of padding (segment 0, weight 0) up to the one shape that is compiled."""
    return np.pad(x_BT, ((0, batch_rows - len(x_BT)), (0, 0)))
