import jax
import numpy as np
import optax

from jprm.data import Document, Rows, pack
from jprm.models import ModelConfig, bind
from jprm.train import loss
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


def test_chunks_divide_the_tokens_and_respect_the_limit():
    limit = loss.DEFAULT.logits_mb << 18
    for rows_, tokens, vocab in [(8, 256, 320), (4, 1024, 151_936), (1, 7, limit), (2, 6, limit)]:
        chunks = loss._chunks(rows_, tokens, vocab, limit)
        assert tokens % chunks == 0
        assert rows_ * tokens // chunks * vocab <= limit or chunks == tokens
    assert loss._chunks(4, 1024, 151_936, limit) == 64
