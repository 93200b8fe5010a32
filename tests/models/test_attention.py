import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.mesh import TRAIN_RULES, make_mesh, sharding
from jprm.models import ModelConfig, attention, bind, segment_attention

CONFIG = ModelConfig(vocab_size=24, n_layers=2, embed=16, n_heads=4, n_kv_heads=2, head_dim=4, mlp=16)


def test_a_packed_row_gives_every_document_the_numbers_it_has_alone():
    model = bind(CONFIG)
    params = model.init(0)

    @jax.jit
    def log_probs(ids, positions, segments):
        hidden = model.hidden(params, ids, positions, segment_attention(segments))
        return jax.nn.log_softmax(model.logits(params, hidden))

    alone = np.random.default_rng(0).integers(0, 24, (3, 20))  # the second lies in both query blocks
    positions = np.tile(np.arange(20), (3, 1))
    packed = [np.append(x, np.zeros(4, int))[None] for x in (alone, positions, positions * 0)]
    packed[2] = np.repeat([1, 2, 3, 0], [20, 20, 20, 4])[None]
    got = log_probs(*packed)[0]
    assert np.isfinite(got).all()
    expected = log_probs(alone, positions, np.ones_like(alone))
    np.testing.assert_allclose(got[:60].reshape(3, 20, -1), expected, atol=1e-5)


def test_query_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 64, heads, 8), np.float32) for heads in (4, 2, 2))
    segments = np.repeat(np.array([[1, 2, 0, 0], [1, 1, 1, 2]], np.int32), 16, axis=1)

    def outputs(blocks):
        monkeypatch.setattr(attention, "BLOCKS", blocks)
        return jax.jit(lambda q, k, v: segment_attention(segments)(0, q, k, v))(q, k, v)

    whole = outputs(1)
    np.testing.assert_allclose(outputs(2), whole, atol=1e-6)
    np.testing.assert_allclose(outputs(4), whole, atol=1e-6)
    mask = (segments[:, :, None] == segments[:, None, :]) & np.tril(np.ones((64, 64), bool))
    plain = jax.jit(jax.nn.dot_product_attention)(q, k, v, mask=mask[:, None])
    np.testing.assert_allclose(whole, plain, atol=1e-6)


WHOLE_KEYS = dataclasses.replace(TRAIN_RULES, kv_heads=None)


@pytest.mark.parametrize(
    ("mesh", "rules"),
    [(None, TRAIN_RULES), ((2, 2, 2), TRAIN_RULES), ((2, 1, 4), WHOLE_KEYS)],
    ids=["one device", "mesh", "keys on every device"],
)
def test_the_kernels_of_jax_nn_give_what_the_einsums_do(mesh, rules):
    """ "xla" takes the road of cudnn: the same call, another implementation."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((4, 64, heads, 8), np.float32) for heads in (4, 2, 2, 4)]
    segments = np.repeat(np.array([[1, 2, 0, 0], [1, 1, 1, 2], [1] * 4, [1, 2, 3, 4]], np.int32), 16, 1)
    real = np.asarray(segments) > 0

    def outputs_and_grads(impl, q, k, v, g, segments):
        def scored(q, k, v):
            out = segment_attention(segments, rules, impl)(0, q, k, v)
            return jnp.sum(out * g * (segments > 0)[..., None, None]), out

        return jax.jit(jax.value_and_grad(scored, (0, 1, 2), has_aux=True))(q, k, v)

    (_, expected), expected_grads = outputs_and_grads("einsum", *arrays, segments)
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(make_mesh(*mesh)):
        heads = sharding(rules("batch", None, "heads", None))
        kv_heads = sharding(rules("batch", None, "kv_heads", None))
        placed = map(jax.device_put, arrays, [heads, kv_heads, kv_heads, heads])
        there = jax.device_put(segments, sharding(rules("batch", None)))
        (_, got), grads = jax.device_get(outputs_and_grads("xla", *placed, there))
    np.testing.assert_allclose(got[real], np.asarray(expected)[real], atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, expected_grads)
