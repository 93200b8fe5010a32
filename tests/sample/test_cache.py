"""The two shapes of a cache against one another: what is written and copied, attention, and whole engines."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from jprm.sample import Engine, cache
from jprm.sample.attend import attend_part
from tests.sample.tiny import BOTH, SHARED, SIZES, WARM, one_device, run, votes

LINES, KV, DIM = 4, 2, 8


@pytest.fixture
def heads_last(monkeypatch):
    """Caches as they are on TPU, here."""
    monkeypatch.setattr(cache, "HEADS_LAST", {"cpu"})


def side_by_side(x):
    """BKSH as B, S, K * H."""
    B, K, S, H = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, S, K * H)


def both_shapes(entries, span, seed):
    """One cache of a layer with random contents in both shapes."""
    rng = np.random.default_rng(seed)
    lengths = cache.piece_lengths(entries, span)
    pieces = [rng.normal(size=(LINES, KV, n, DIM)).astype(np.float32) for n in lengths]
    first = {kind: [[jnp.asarray(x) for x in pieces]] for kind in "kv"}
    return first, {kind: [[jnp.asarray(side_by_side(x)) for x in pieces]] for kind in "kv"}


def lines(pieces):
    """All entries of all lines, B, S, K * H, in either shape."""
    return np.concatenate([np.asarray(x if x.ndim == 3 else side_by_side(x)) for x in pieces], 1)


@pytest.mark.parametrize("span", [0, 4])
def test_what_is_written_and_copied_is_the_same_in_both_shapes(span):
    rng = np.random.default_rng(span)
    for seed in range(20):
        apart, joined = both_shapes(int(rng.integers(5, 30)), span, seed)
        rows_apart, rows_joined = both_shapes(int(rng.integers(5, 30)), span, seed + 100)
        expected = lines(apart["k"][0])
        # 1. A token of every line; entries past the end are dropped.
        at = rng.integers(0, expected.shape[1] + 3, LINES)
        new = rng.normal(size=(LINES, KV, DIM)).astype(np.float32)
        for line, entry in enumerate(at):
            if entry < expected.shape[1]:
                expected[line, entry] = new[line].reshape(-1)
        found = [cache.written(x["k"][0], np.arange(LINES), at, new) for x in (apart, joined)]
        for pieces in found:
            np.testing.assert_array_equal(lines(pieces), expected)
        apart["k"][0], joined["k"][0] = found
        # 2. Longer lines hold what they held, and zeros.
        longer = cache.lengthened(joined, cache.entries_of(joined) + 3)
        np.testing.assert_array_equal(lines(longer["k"][0])[:, :-3], expected)
        assert not lines(longer["k"][0])[:, -3:].any()
        # 3. A slot's entries go into a row, from an entry to another.
        end = int(rng.integers(1, cache.entries_of(rows_apart) + 1))
        start = int(rng.integers(0, end))
        end = min(end, start + cache.entries_of(apart))
        expected_rows = lines(rows_apart["k"][0])
        expected_rows[3, start:end] = expected[1, : end - start]
        columns = [np.array([i]) for i in (1, 3, start, end)]
        for own, rows in ((apart, rows_apart), (joined, rows_joined)):
            np.testing.assert_array_equal(lines(cache.promote(rows, own, *columns, 1)["k"][0]), expected_rows)
        # 4. A line is copied to another.
        expected[2] = expected[0]
        for own in (apart, joined):
            copied = cache.clone(own, np.array([0]), np.array([2]), 1)
            np.testing.assert_array_equal(lines(copied["k"][0]), expected)


@pytest.mark.parametrize("queries", [1, 6, 128, 192])
@pytest.mark.parametrize("kv_heads, tensor", [(1, 1), (4, 1), (4, 2), (4, 4)])
def test_attention_is_the_same_in_both_shapes(queries, kv_heads, tensor):
    rng = np.random.default_rng(queries)
    q = rng.normal(size=(3, kv_heads, queries, DIM)).astype(np.float32)
    k, v = (rng.normal(size=(3, kv_heads, 20, DIM)).astype(np.float32) for _ in range(2))
    visible = np.arange(20) < np.array([1, 7, 20])[:, None, None]
    apart = attend_part(q, k, v, visible)
    joined = attend_part(q, side_by_side(k), side_by_side(v), visible, tensor)
    for x, y in zip(apart, joined, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


@BOTH
def test_an_engine_draws_the_same_tokens_in_both_shapes(qwen2, sizes, request):
    requests, forced = votes(np.random.default_rng(3), 48), [([5, 6, 7], 6), ([9] * 11, 4)]
    sizes = dataclasses.replace(sizes, attend_span=16, first_entries=16)
    apart = run(one_device(*qwen2, sizes, WARM, seed=2), requests, forced)
    request.getfixturevalue("heads_last")
    engine = one_device(*qwen2, sizes, WARM, seed=2)
    assert {x.ndim for x in jax.tree.leaves(engine._runners[0]._own)} == {3}
    joined = run(engine, requests, forced)
    assert len(apart) == 48
    for sample_id, stretches in apart.items():
        for (tokens, logprobs), (tokens2, logprobs2) in zip(stretches, joined[sample_id], strict=True):
            assert tokens == tokens2
            np.testing.assert_allclose(logprobs, logprobs2, atol=1e-4)


def test_devices_that_share_heads_hold_their_share(qwen2, heads_last):
    requests, forced = votes(np.random.default_rng(6), 32), [([5, 6, 7], 6)]
    alone = run(one_device(*qwen2, SIZES, WARM, seed=1), requests, forced)
    sizes = dataclasses.replace(SHARED, slots=8, slot_groups=1, prefix_rows=3, tensor=2)
    engine = Engine(*qwen2, sizes, WARM, seed=1, devices=jax.devices()[:2])
    piece = engine._runners[0]._own["k"][0][0]
    assert piece.sharding.shard_shape(piece.shape) == (*piece.shape[:2], piece.shape[2] // 2)
    drawn = run(engine, requests, forced)
    for sample_id, stretches in alone.items():
        assert [t for t, _ in stretches] == [t for t, _ in drawn[sample_id]]


def test_shapes_are_those_of_the_cache_that_is_made(qwen2):
    where = SingleDeviceSharding(jax.devices()[0])
    arguments = qwen2[0], 3, 40, jnp.bfloat16, where, 8
    made, shapes = cache.new_cache(*arguments), cache.cache_shapes(*arguments)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made) == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
    assert cache.entries_of(made) == 40
