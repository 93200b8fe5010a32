"""The draw against numpy with a sort, and against the exact distribution.

Functions run compiled, as in the engine: each operation alone would be compiled for every shape.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jprm.errors import UserError
from jprm.sample import SamplingParams, draw

LOGITS = np.random.default_rng(0).normal(0, 2, 330).astype(np.float32)


def sorted_probabilities(logits, sampling):
    """vLLM's order, literally: temperature, sort, keep k, renormalise, keep the smallest set of
    mass top_p.
    """
    scaled = logits.astype(np.float64) / sampling.temperature
    p = np.exp(scaled - scaled.max())
    order = np.argsort(-p)
    if sampling.top_k:
        p[order[sampling.top_k :]] = 0
    p /= p.sum()
    if sampling.top_p < 1:
        above = np.cumsum(p[order]) - p[order]
        p[order[above >= sampling.top_p]] = 0
    return p / p.sum()


drawn_of = jax.jit(draw.draw, static_argnums=2)
weights_of = jax.jit(draw.weights, static_argnums=1)
top_k_of = jax.jit(draw.top_k, static_argnums=1)


@functools.partial(jax.jit, static_argnums=(1, 2))
def many(logits, sampling, n):
    keys = draw.sample_keys(jnp.array([0, 0], jnp.uint32), jnp.arange(2 * n, dtype=jnp.uint32).reshape(n, 2))
    uniform = draw.uniforms(keys, jnp.full(n, 7))
    return draw.draw(jnp.broadcast_to(logits, (n, len(logits))), uniform, sampling)


@pytest.mark.parametrize("sampling", [SamplingParams(), SamplingParams(0.6, 20, 0.95), SamplingParams(1.5, 0, 0.8)])
def test_draws_follow_the_distribution(sampling):
    expected = sorted_probabilities(LOGITS, sampling)
    n = 20_000
    counts = np.bincount(many(LOGITS, sampling, n), minlength=len(LOGITS))
    assert counts[expected == 0].sum() == 0
    common = expected * n >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum()) * n
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep]).pvalue > 1e-3


def cut_weights(logits, sampling):
    """The weights of all tokens, 0 for those that are not among the candidates."""
    weight, ids = weights_of(logits, sampling)
    if ids is None:
        return np.asarray(weight)
    full = np.zeros(logits.shape, np.float32)
    np.put_along_axis(full, np.asarray(ids), np.asarray(weight), -1)
    return full


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sampling", [SamplingParams(0.7, 1), SamplingParams(0.6, 20, 0.95), SamplingParams(1, 0, 0.5)])
def test_cuts_without_a_sort_equal_cuts_with_one(sampling, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (4, (25, 64, 199)[seed % 3])).astype(np.float32)
    weights = cut_weights(logits, sampling)
    for row, got in zip(logits, weights, strict=True):
        want = sorted_probabilities(row, sampling)
        np.testing.assert_array_equal(got > 0, want > 0)
        np.testing.assert_allclose(got / got.sum(), want, atol=1e-6)


def test_of_tied_tokens_top_k_keeps_the_first_and_top_p_keeps_all():
    logits = np.array([[2.0, 1.0, 1.0, 0.0]], np.float32)
    assert (cut_weights(logits, SamplingParams(1, top_k=2)) > 0).tolist() == [[True, True, False, False]]
    assert (cut_weights(logits, SamplingParams(1, top_p=0.7)) > 0).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(("vocab", "k"), [(5, 1), (5, 20), (37, 4), (330, 1), (330, 20), (4096, 4), (5000, 20)])
def test_top_k_of_two_levels_is_exact_with_ties(vocab, k):
    rng = np.random.default_rng(vocab + k)
    k = min(k, vocab)
    for x in (rng.normal(size=(6, vocab)), rng.integers(0, 6, (6, vocab))):
        x = x.astype(np.float32)
        wanted = np.argsort(-x, axis=-1, kind="stable")[:, :k]
        for got, want in zip(top_k_of(x, k), (np.take_along_axis(x, wanted, -1), wanted), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("vocab", "k", "tensor"), [(40, 4, 2), (40, 4, 4), (64, 16, 4), (64, 20, 4), (37, 4, 2)])
def test_top_k_of_shards_is_top_k(vocab, k, tensor):
    """Also where a shard has fewer than k entries, and where the shards are not equal."""
    rng = np.random.default_rng(vocab + k)
    for x in (rng.normal(size=(6, vocab)), rng.integers(0, 6, (6, vocab))):
        x = x.astype(np.float32)
        for got, want in zip(draw.top_k_of_shards(x, k, tensor), top_k_of(x, k), strict=True):
            np.testing.assert_array_equal(got, want)


def test_extreme_uniforms_give_tokens_of_positive_weight():
    logits = np.full((2, 50), -np.inf, np.float32)
    logits[:, [3, 29]] = 0
    got = drawn_of(logits, np.array([0, np.nextafter(np.float32(1), np.float32(0))], np.float32), SamplingParams())
    assert got.tolist() == [3, 29]


def test_greedy_takes_the_first_of_equals():
    assert drawn_of(np.array([[0.0, 5.0, 5.0]]), np.array([0.9]), SamplingParams(0)).tolist() == [1]


def test_the_uniform_depends_on_seed_both_halves_of_the_id_and_position():
    @jax.jit
    def uniform(seed, high, low, position):
        keys = draw.sample_keys(jnp.array([0, seed], jnp.uint32), jnp.array([[high, low]], jnp.uint32))
        return draw.uniforms(keys, jnp.array([position]))[0]

    cases = [(1, 2, 3, 4), (0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0)]
    assert len({float(uniform(*case)) for case in cases}) == len(cases)
    assert uniform(*cases[0]) == uniform(*cases[0])


def test_log_probabilities_are_raw():
    got = jax.jit(draw.log_probabilities)(LOGITS[None], np.array([[5, 300]]))
    np.testing.assert_allclose(got[0], np.log(np.exp(LOGITS) / np.exp(LOGITS).sum())[[5, 300]], atol=1e-5)


@pytest.mark.parametrize("bad", [dict(temperature=-1), dict(top_k=-1), dict(top_p=0), dict(temperature=float("nan"))])
def test_settings_out_of_range_are_named(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        SamplingParams(**bad)
