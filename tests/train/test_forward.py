"""Losses and probabilities from packed rows are those of every document alone, and of the formula."""

import jax
import numpy as np
import pytest

from jprm.data import Document
from jprm.errors import UserError
from jprm.mesh import TRAIN_RULES
from jprm.models import ModelConfig, bind, preset
from jprm.train.forward import held_out_loss, label_probabilities
from jprm.train.loss import STEP_HEAD, hidden_states, init_head

MODEL = bind(preset("tiny-0.1m", 64), TRAIN_RULES)
PARAMS = MODEL.init(0)


def documents(soft):
    """Of 5, 11 or 20 tokens (each length is compiled), two of them labelled, none the first."""
    rng = np.random.default_rng(0)
    made = []
    for n in rng.choice([5, 11, 20], 30):
        ids = rng.integers(64, size=n).astype(np.int32)
        weights = np.zeros(n, np.float32)
        weights[rng.choice(np.arange(1, n), 2, replace=False)] = 1
        others = rng.integers(64, size=n).astype(np.int32) if soft else None
        made.append(Document(ids, weights, weights.copy(), others))
    return made


@jax.jit
def states(params, batch):
    return hidden_states(MODEL, params, batch)


@jax.jit
def probabilities(params, h_BTD):
    return jax.nn.softmax(MODEL.logits(params, h_BTD), axis=-1)


def alone(params, document):
    """The obvious way: one document, one row, no padding."""
    n = len(document)
    batch = {
        "ids": document.ids[None],
        "positions": np.arange(n, dtype=np.int32)[None],
        "segments": np.ones((1, n), np.int32),
    }
    h_BTD = states(params, batch)
    at = np.flatnonzero(document.weights)
    if STEP_HEAD in params:
        logits = np.asarray(h_BTD)[0] @ params[STEP_HEAD]["weight"] + params[STEP_HEAD]["bias"]
        return 1 / (1 + np.exp(-logits[at]))
    p_TV = np.asarray(probabilities(params, h_BTD))[0]
    label, other = p_TV[at - 1, document.ids[at]], p_TV[at - 1, document.others[at]]
    return label / (label + other)


@pytest.mark.parametrize("soft", [False, True])
def test_packed_rows_say_what_every_document_alone_says(soft):
    made, params = documents(soft), dict(PARAMS)
    if not soft:
        rng = np.random.default_rng(1)
        params[STEP_HEAD] = init_head(MODEL.config) | {"weight": rng.normal(size=MODEL.config.embed).astype(np.float32)}
    found = label_probabilities(MODEL, params, made, row_tokens=48, batch_rows=4)
    for document, p in zip(made, found, strict=True):
        assert p == pytest.approx(alone(params, document), abs=1e-5)


def test_a_long_document_has_none_and_hard_labels_need_a_head():
    made = documents(soft=True)
    long = max(range(len(made)), key=lambda i: len(made[i]))
    found = label_probabilities(MODEL, PARAMS, made, row_tokens=len(made[long]) - 1)
    assert found[long] is None and sum(p is not None for p in found) >= 1
    with pytest.raises(UserError, match="no step head"):
        label_probabilities(MODEL, PARAMS, documents(soft=False), row_tokens=48)


SMALL = bind(ModelConfig(16, 1, 8, 2, 2, 4, 16), TRAIN_RULES)
WEIGHTS = SMALL.init(0)


def weighed(n: int) -> list[Document]:
    rng = np.random.default_rng(0)
    return [
        Document(rng.integers(0, 16, length).astype(np.int32), rng.integers(0, 2, length).astype(np.float32))
        for length in rng.integers(3, 9, n)
    ]


@pytest.mark.parametrize("batch_rows", [1, 4])
def test_packing_and_batches_change_nothing(batch_rows):
    many = weighed(11)
    alone, weights = zip(
        *((held_out_loss(SMALL, WEIGHTS, [d], 16), d.weights[1:].sum()) for d in many if d.weights[1:].any()),
        strict=True,
    )
    together = held_out_loss(SMALL, WEIGHTS, many, 16, batch_rows)
    assert together == pytest.approx(np.average(alone, weights=weights), rel=1e-5)


def test_a_model_that_knows_nothing_has_the_loss_of_a_guess():
    zero = {name: leaf for name, leaf in WEIGHTS.items()} | {"embed": WEIGHTS["embed"] * 0}
    assert held_out_loss(SMALL, zero, weighed(5), 16) == pytest.approx(np.log(16), rel=1e-5)
