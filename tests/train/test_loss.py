"""The loss of the next token: against optax, packed, in chunks, and over meshes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jprm.aot.hlo import traffic
from jprm.data import Document, Rows, pack
from jprm.mesh import make_mesh, sharding
from jprm.models import ModelConfig, bind
from jprm.train import loss
from jprm.train.config import TrainConfig
from jprm.train.loss import cross_entropy, loss_and_weight

CONFIG = ModelConfig(vocab_size=20, n_layers=1, embed=8, n_heads=2, n_kv_heads=1, head_dim=4, mlp=8)


def packed(lengths, capacity, seed=0):
    rng = np.random.default_rng(seed)
    documents = [
        Document(rng.integers(0, 20, n, dtype=np.int32), rng.integers(0, 3, n).astype(np.float32)) for n in lengths
    ]
    return documents, Rows(documents, pack(lengths, capacity, seed)).stacked()


def test_cross_entropy_is_optax_s():
    logits = np.random.default_rng(0).standard_normal((3, 5, 7), np.float32)
    targets = np.arange(15, dtype=np.int32).reshape(3, 5) % 7
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    np.testing.assert_allclose(cross_entropy(logits, targets), expected, rtol=1e-6)


def test_a_packed_batch_has_the_sums_of_its_documents_alone():
    model = bind(CONFIG)
    params = model.init(0)
    sums = jax.jit(lambda batch: loss_and_weight(model, params, batch))
    documents, batch = packed([7, 7, 7, 7, 7], 16)
    total, weight = sums(batch)
    alone = [sums(Rows([d], pack([7], 7, 0)).stacked()) for d in documents]
    np.testing.assert_allclose(total, sum(t for t, _ in alone), rtol=1e-5)
    assert weight == sum(w for _, w in alone) == sum(d.weights[1:].sum() for d in documents)


def test_chunks_of_the_tokens_change_nothing(monkeypatch):
    model = bind(CONFIG)
    _, batch = packed([5, 9, 3], 12)

    def value_and_grads():
        objective = lambda p: loss_and_weight(model, p, batch)  # noqa: E731
        return jax.jit(jax.value_and_grad(objective, has_aux=True))(model.init(0))

    whole = value_and_grads()
    assert loss._chunks(2, 12, 20, 2 * 3 * 20) == 4
    monkeypatch.setattr(loss, "_chunks", lambda *sizes: 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, value_and_grads())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("mesh", [dict(fsdp=8), dict(data=2, fsdp=2, tensor=2), dict(data=4)], ids=str)
def test_chunks_on_a_mesh_have_the_loss_and_gradients_of_one_device(mesh, tied):
    """With one MiB of logits each device has several chunks; the loss says so by its loop."""
    config = dataclasses.replace(CONFIG, vocab_size=16_384, n_kv_heads=2, tied=tied)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocab_size, (8, 64), dtype=np.int32)
    batch = {"ids": ids, "positions": np.tile(np.arange(64, dtype=np.int32), (8, 1)), "segments": np.ones_like(ids)}
    batch["weights"] = (rng.random(ids.shape) > 0.3).astype(np.float32)

    def value_and_grads():
        model = bind(config)
        rows = sharding(model.rules("batch", None))
        placed = {name: x if rows is None else jax.device_put(x, rows) for name, x in batch.items()}
        loss_of = lambda p, b: loss_and_weight(model, p, b, TrainConfig(logits_mb=1))  # noqa: E731
        found = jax.jit(jax.value_and_grad(loss_of, has_aux=True)).lower(model.init(0), placed).compile()
        assert "while" in found.as_text()
        return jax.tree.map(np.asarray, found(model.init(0), placed))

    (total, weight), grads = value_and_grads()
    with jax.set_mesh(make_mesh(**mesh)):
        (total_on_mesh, weight_on_mesh), grads_on_mesh = value_and_grads()
    np.testing.assert_allclose(total_on_mesh, total, rtol=1e-6)
    assert weight_on_mesh == weight
    for found, expected in zip(jax.tree.leaves(grads_on_mesh), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())  # sums in another order


def test_a_head_is_gathered_once_for_all_chunks():
    model_config, mesh = dataclasses.replace(CONFIG, vocab_size=16_384), make_mesh(fsdp=8)
    with jax.set_mesh(mesh):
        model = bind(model_config)
        rows = sharding(model.rules("batch", None))
        shape = {
            name: jax.ShapeDtypeStruct((8, 256), jnp.int32, sharding=rows) for name in ("ids", "positions", "segments")
        }
        shape["weights"] = jax.ShapeDtypeStruct((8, 256), jnp.float32, sharding=rows)
        sent = []
        for logits_mb in (1, 4):
            config = TrainConfig(logits_mb=logits_mb)
            loss_of = jax.grad(lambda p, b, config=config: loss_and_weight(model, p, b, config)[0])
            sent.append(traffic(jax.jit(loss_of).lower(model.spec(), shape).compile().as_text()).total_bytes)
    assert loss._chunks(1, 256, 16_384, 1 << 18) == 4 * loss._chunks(1, 256, 16_384, 4 << 18)
    assert sent[0] <= 1.01 * sent[1]


def test_chunks_divide_the_tokens_and_respect_the_limit():
    limit = loss.DEFAULT.logits_mb << 18
    for rows_, tokens, vocab in [(8, 256, 320), (4, 1024, 151_936), (1, 7, limit), (2, 6, limit)]:
        chunks = loss._chunks(rows_, tokens, vocab, limit)
        assert tokens % chunks == 0
        assert rows_ * tokens // chunks * vocab <= limit or chunks == tokens
    assert loss._chunks(4, 1024, 151_936, limit) == 64
