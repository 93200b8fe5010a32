"""Attention in parts: spans against all slots at once, and a line against its company."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.sample.attend import attend_filled, attend_part
from tests.sample.tiny import GREEDY, SHARED, SIZES, VOCAB, greedy_continuation, one_device, run

LINES, KV, QUERIES, DIM = 3, 2, 4, 8


def arrays(seed, slots):
    keys = jax.random.split(jax.random.key(seed), 3)
    q = jax.random.normal(keys[0], (LINES, KV, QUERIES, DIM))
    k, v = (jax.random.normal(key, (LINES, KV, slots, DIM)) for key in keys[1:])
    return q, k, v


in_spans = jax.jit(attend_filled, static_argnums=5)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([(1, 8), (7, 1), (40, 8), (40, 13), (40, 40)]))  # each is compiled
def test_spans_are_all_slots_at_once(data, shape):
    slots, span = shape
    lengths = np.array(data.draw(st.lists(st.integers(1, slots), min_size=LINES, max_size=LINES)))
    q, k, v = arrays(slots, slots)
    visible = jnp.arange(slots) < lengths[:, None, None]
    whole = attend_part(q, k, v, visible)
    spans = in_spans(q, k, v, visible, jnp.int32(lengths.max()), span)
    found, expected = (part.out_BKXH / part.total_BKX1 for part in (spans, whole))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_line_s_bits_do_not_depend_on_how_far_others_made_it_go():
    q, k, v = arrays(0, 50)
    run = jax.jit(lambda q, k, v, seen, filled: attend_filled(q, k, v, seen, filled, 8))
    seen = jnp.arange(50) < jnp.array([5, 17, 24])[:, None, None]
    near, far = (run(q, k, v, seen, jnp.int32(filled)) for filled in (24, 50))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*map(jax.device_get, (near, far)), strict=True))


@pytest.mark.parametrize("sizes", [SIZES, SHARED], ids=["dense", "shared"])
def test_an_engine_that_reads_spans_writes_the_greedy_tokens(qwen2, sizes):
    model, params = qwen2
    sizes = dataclasses.replace(sizes, attend_span=16)
    engine = one_device(model, params, sizes, GREEDY, seed=0)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, VOCAB, n).tolist() for n in (1, 9, 25, 30)]
    out = run(engine, [(prompt, [i], dict(max_tokens=20)) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        assert out[i][0][0] == greedy_continuation(model, params, prompt, 20)
