"""Attention in parts: spans against all slots at once, and a line against its company."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm.sample.attend import attend_filled, attend_part
from jprm.sample.cache import piece_lengths
from tests.sample.tiny import GREEDY, SHARED, SIZES, VOCAB, greedy_continuation, one_device, run

LINES, KV, QUERIES, DIM = 3, 2, 4, 8


def arrays(seed, slots):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(LINES, KV, QUERIES, DIM)).astype(np.float32)
    k, v = (rng.normal(size=(LINES, KV, slots, DIM)).astype(np.float32) for _ in range(2))
    return q, k, v


def cut(x, span):
    """The pieces of a cache's lines."""
    ends = np.cumsum(piece_lengths(x.shape[2], span))
    return [x[:, :, end - n : end] for end, n in zip(ends, piece_lengths(x.shape[2], span), strict=True)]


in_spans = jax.jit(attend_filled, static_argnums=5)
at_once = jax.jit(attend_part)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([(1, 8), (7, 1), (40, 8), (40, 13), (40, 40)]))  # each is compiled
def test_spans_are_all_slots_at_once(data, shape):
    slots, span = shape
    lengths = np.array(data.draw(st.lists(st.integers(1, slots), min_size=LINES, max_size=LINES)))
    q, k, v = arrays(slots, slots)
    visible = np.arange(slots) < lengths[:, None, None]
    in_pieces = in_spans(q, cut(k, span), cut(v, span), visible, np.int32(lengths.max()), span)
    in_one = in_spans(q, [k], [v], visible, np.int32(lengths.max()), span)
    parts = in_pieces, in_one, at_once(q, k, v, visible)
    pieces, one, expected = (np.asarray(part.out_BKXH) / np.asarray(part.total_BKX1) for part in parts)
    np.testing.assert_allclose(pieces, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 5000), st.integers(0, 600))
def test_pieces_add_up_and_lie_on_spans(entries, span):
    lengths = piece_lengths(entries, span)
    assert sum(lengths) == entries and min(lengths) >= 1
    assert all(start % span == 0 for start in np.cumsum(lengths)[:-1] if span)
    assert len(lengths) == 1 if span == 0 else len(lengths) <= 2 + np.log2(max(1, entries / span))


@given(st.integers(1, 100), st.integers(0, 6), st.data())
def test_a_cache_that_grows_ends_in_the_pieces_of_one_that_was_made_long(span, doublings, data):
    held = span << doublings
    entries = data.draw(st.integers(held + 1, 2 * held))
    assert [*piece_lengths(held, span), entries - held] == piece_lengths(entries, span)


def test_a_line_s_bits_do_not_depend_on_how_far_others_made_it_go():
    q, k, v = arrays(0, 50)
    run = jax.jit(lambda q, k, v, seen, filled: attend_filled(q, cut(k, 8), cut(v, 8), seen, filled, 8))
    seen = np.arange(50) < np.array([5, 17, 24])[:, None, None]
    near, far = (run(q, k, v, seen, np.int32(filled)) for filled in (24, 50))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*map(jax.device_get, (near, far)), strict=True))


@pytest.mark.parametrize(
    "sizes", [pytest.param(SIZES, id="dense", marks=pytest.mark.slow), pytest.param(SHARED, id="shared")]
)
def test_an_engine_that_reads_spans_writes_the_greedy_tokens(qwen2, sizes):
    model, params = qwen2
    sizes = dataclasses.replace(sizes, attend_span=16)
    engine = one_device(model, params, sizes, GREEDY, seed=0)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, VOCAB, n).tolist() for n in (1, 9, 25, 30)]
    out = run(engine, [(prompt, [i], dict(max_tokens=20)) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        assert out[i][0][0] == greedy_continuation(model, params, prompt, 20)
