"""The held-out loss: a mean over trained tokens, whatever the packing and the batches."""

import numpy as np
import pytest

from jprm.data import Document
from jprm.mesh import TRAIN_RULES
from jprm.models import ModelConfig, bind
from jprm.train import held_out_loss

MODEL = bind(ModelConfig(16, 1, 8, 2, 2, 4, 16), TRAIN_RULES)
PARAMS = MODEL.init(0)


def documents(n: int) -> list[Document]:
    rng = np.random.default_rng(0)
    return [
        Document(rng.integers(0, 16, length).astype(np.int32), rng.integers(0, 2, length).astype(np.float32))
        for length in rng.integers(3, 9, n)
    ]


@pytest.mark.parametrize("batch_rows", [1, 4])
def test_packing_and_batches_change_nothing(batch_rows):
    many = documents(11)
    alone, weights = zip(
        *((held_out_loss(MODEL, PARAMS, [d], 16), d.weights[1:].sum()) for d in many if d.weights[1:].any()),
        strict=True,
    )
    together = held_out_loss(MODEL, PARAMS, many, 16, batch_rows)
    assert together == pytest.approx(np.average(alone, weights=weights), rel=1e-5)


def test_a_model_that_knows_nothing_has_the_loss_of_a_guess():
    zero = {name: leaf for name, leaf in PARAMS.items()} | {"embed": PARAMS["embed"] * 0}
    assert held_out_loss(MODEL, zero, documents(5), 16) == pytest.approx(np.log(16), rel=1e-5)
