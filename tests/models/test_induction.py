import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.models import ModelConfig, bind, preset

TOKENS = 24


def attention_weights(model, params, ids):
    """Every layer's attention weights, NTS, of one text."""
    seen = []

    def attend(layer, q, k, v):
        score = jnp.einsum("tnh,snh->nts", q[0], k[0]) * q.shape[3] ** -0.5
        score = jnp.where(jnp.tril(jnp.ones(score.shape[1:], bool)), score, -jnp.inf)
        seen.append(jax.nn.softmax(score))
        return jnp.einsum("nts,snh->tnh", seen[-1], v[0])[None]

    def run(params):
        seen.clear()
        model.hidden(params, ids[None], jnp.arange(len(ids))[None], attend)
        return tuple(seen)

    return jax.device_get(jax.jit(run)(params))


@pytest.fixture(scope="module")
def weights():
    model = bind(preset("tiny-0.5m", 300))
    text = np.random.default_rng(0).permutation(300)[:TOKENS]
    return attention_weights(model, model.init(0), jnp.asarray(np.tile(text, 2)))


def test_heads_of_layer_0_look_back_by_their_offset(weights):
    for head in range(3):
        looked = weights[0][head].argmax(-1)
        queries = np.arange(8, 2 * TOKENS)
        assert np.mean(looked[queries] == queries - (head + 1)) > 0.9


def test_heads_of_layer_1_find_what_followed_the_last_time(weights):
    for head in range(3):  # a start, not a finished skill: the residual stream of layer 0 is noisy
        queries = np.arange(TOKENS + head, 2 * TOKENS - 1)
        on_target = weights[1][head][queries, queries - TOKENS + 1].mean()
        uniform = np.mean(1 / (queries + 1))
        assert on_target > 3 * uniform


def test_without_it_no_head_looks_back():
    config = preset("tiny-0.5m", 300)
    plain = bind(dataclasses.replace(config, induction_init=False))
    text = jnp.asarray(np.random.default_rng(0).permutation(300)[: 2 * TOKENS])
    found = attention_weights(plain, plain.init(0), text)[0].argmax(-1)
    for head in range(4):
        assert np.mean(found[head, 8:] == np.arange(7, 2 * TOKENS - 1)) < 0.5


def test_a_model_without_room_for_the_heads_is_left_alone():
    shapes = dict(vocab_size=9, n_layers=1, embed=8, n_heads=2, n_kv_heads=2, head_dim=4, mlp=8)
    plain, prepared = (bind(ModelConfig(**shapes, induction_init=flag)).init(0) for flag in (False, True))
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (plain, prepared)), strict=True))
