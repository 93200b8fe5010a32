"""Probabilities from packed rows are those of every document alone, and of the formula."""

import jax
import numpy as np
import pytest

from jprm.data import Document
from jprm.errors import UserError
from jprm.mesh import TRAIN_RULES
from jprm.models import bind, preset
from jprm.train.head import KEY, init_head
from jprm.train.loss import DEFAULT_PASSES, hidden_states
from jprm.train.read_out import label_probabilities

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


def alone(params, document):
    """The obvious way: one document, one row, no padding."""
    n = len(document)
    batch = {
        "ids": document.ids[None],
        "positions": np.arange(n, dtype=np.int32)[None],
        "segments": np.ones((1, n), np.int32),
    }
    h_BTD = hidden_states(MODEL, params, batch, DEFAULT_PASSES)
    at = np.flatnonzero(document.weights)
    if KEY in params:
        logits = np.asarray(h_BTD)[0] @ params[KEY]["weight"] + params[KEY]["bias"]
        return 1 / (1 + np.exp(-logits[at]))
    p_TV = np.asarray(jax.nn.softmax(MODEL.logits(params, h_BTD), axis=-1))[0]
    label, other = p_TV[at - 1, document.ids[at]], p_TV[at - 1, document.others[at]]
    return label / (label + other)


@pytest.mark.parametrize("soft", [False, True])
def test_packed_rows_say_what_every_document_alone_says(soft):
    made, params = documents(soft), dict(PARAMS)
    if not soft:
        rng = np.random.default_rng(1)
        params[KEY] = init_head(MODEL.config) | {"weight": rng.normal(size=MODEL.config.embed).astype(np.float32)}
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
