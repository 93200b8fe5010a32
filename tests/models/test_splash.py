"""Splash attention, run as plain JAX, against the einsum: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.models.attention import LEAST_BLOCK, segment_attention
from jprm.models.splash import BLOCKS, splash_attention


def arrays(rows, tokens, heads, kv_heads, head_dim, seed=0):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(rows, tokens, n, head_dim)).astype(np.float32) for n in (heads, kv_heads, kv_heads))
    ends = np.sort(rng.integers(1, tokens, (rows, 3)), 1)
    segments = (np.arange(tokens) >= ends[:, :, None]).sum(1).astype(np.int32) + 1
    segments[segments == 4] = 0  # padding
    return q, k, v, segments


@pytest.mark.parametrize("heads, kv_heads, head_dim, tokens", [(4, 2, 64, 256), (2, 2, 128, 128), (3, 1, 32, 384)])
def test_splash_is_the_einsum(heads, kv_heads, head_dim, tokens):
    q, k, v, segments = arrays(2, tokens, heads, kv_heads, head_dim)
    real = (segments > 0)[..., None, None]

    def summed(attend):
        def value(q, k, v):
            out = jnp.where(real, attend(q, k, v), 0)
            return (out * jnp.sin(jnp.arange(out.size).reshape(out.shape))).sum(), out

        (_, out), grads = jax.value_and_grad(value, (0, 1, 2), has_aux=True)(q, k, v)
        return out, *grads

    einsum = summed(lambda q, k, v: segment_attention(jnp.asarray(segments))(0, q, k, v))
    splash = summed(lambda q, k, v: splash_attention(q, k, v, jnp.asarray(segments), interpret=True))
    for found, expected in zip(splash, einsum, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_rows_that_auto_takes_have_a_block():
    assert min(BLOCKS) == LEAST_BLOCK and all(block % LEAST_BLOCK == 0 for block in BLOCKS)


def test_no_token_sees_another_document():
    q, k, v, segments = arrays(1, 256, 2, 1, 64)
    run = jax.jit(lambda v: splash_attention(q, k, v, jnp.asarray(segments), interpret=True))
    other = v.copy()
    other[segments == 1] += 1
    same = segments != 1
    assert np.array_equal(np.asarray(run(v))[same], np.asarray(run(other))[same])
    assert not np.array_equal(np.asarray(run(v))[~same], np.asarray(run(other))[~same])
