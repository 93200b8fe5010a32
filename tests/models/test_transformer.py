import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import DECODE_RULES, TRAIN_RULES, make_mesh
from jprm.models import ModelConfig, bind, preset, segment_attention

CONFIG = ModelConfig(vocab_size=24, n_layers=2, embed=16, n_heads=4, n_kv_heads=2, head_dim=6, mlp=20, rope_theta=50.0)
VARIANTS = {
    "qwen2": CONFIG,
    "qwen3": dataclasses.replace(CONFIG, qkv_bias=False, qk_norm=True, tied=False),
    "scaled": dataclasses.replace(CONFIG, embed_scale=4.0, n_kv_heads=4),
}


def perturbed(params, seed=0):
    """No parameter at 0 or 1, where an error in its use would not show."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.standard_normal(x.shape).astype("f"), params)


def logits_of(model, params, ids, **options):
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    attend = segment_attention(jnp.ones_like(ids), model.rules)
    return model.logits(params, model.hidden(params, ids, positions, attend, **options))


def reference_logits(c: ModelConfig, params, ids) -> np.ndarray:
    """One text, token by token and head by head, after Hugging Face's modeling_qwen2/qwen3."""
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(x, weight):
        return x / np.sqrt(np.mean(x * x) + c.norm_eps) * weight

    def rotary(x, position):
        half = c.head_dim // 2
        angle = position / c.rope_theta ** (np.arange(half) * 2 / c.head_dim)
        cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)
        return x * cos + np.concatenate([-x[half:], x[:half]]) * sin

    stream = [w["embed"][i] * c.embed_scale for i in ids]
    for layer in range(c.n_layers):
        p = {name: leaf[layer] for name, leaf in w["layers"].items()}
        keys, values, after = [], [], []
        for position, x in enumerate(stream):
            h = norm(x, p["attn_norm"])
            q, k, v = (np.einsum("d,dnh->nh", h, p[name]) for name in "qkv")
            if c.qkv_bias:
                q, k, v = q + p["q_bias"], k + p["k_bias"], v + p["v_bias"]
            if c.qk_norm:
                q = np.stack([norm(head, p["q_norm"]) for head in q])
                k = np.stack([norm(head, p["k_norm"]) for head in k])
            keys.append([rotary(head, position) for head in k])
            values.append(v)
            for n in range(c.n_heads):
                g = n // (c.n_heads // c.n_kv_heads)
                score = np.array([rotary(q[n], position) @ past[g] for past in keys])
                weight = np.exp(score / np.sqrt(c.head_dim))
                weight /= weight.sum()
                x = x + sum(a * past[g] for a, past in zip(weight, values, strict=True)) @ p["o"][n]
            h = norm(x, p["mlp_norm"])
            gate = h @ p["gate"]
            after.append(x + (gate / (1 + np.exp(-gate)) * (h @ p["up"])) @ p["down"])
        stream = after
    head = w["embed"].T if c.tied else w["head"]
    return np.stack([norm(x, w["norm"]) @ head for x in stream])


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_those_of_a_plain_reading_of_the_architecture(variant):
    model = bind(VARIANTS[variant])
    params = perturbed(model.init(0))
    ids = np.random.default_rng(1).integers(0, 24, (2, 7))
    got = jax.jit(lambda p: logits_of(model, p, jnp.asarray(ids)))(params)
    for row, text in enumerate(ids):
        np.testing.assert_allclose(got[row], reference_logits(model.config, params, text), atol=2e-5)


def test_no_token_sees_a_later_one():
    model = bind(CONFIG)
    params, ids = perturbed(model.init(0)), jnp.arange(8)[None]

    def at(embed, t):
        attend = segment_attention(jnp.ones((1, 8), jnp.int32))
        hidden = model.hidden(params | {"embed": embed}, ids, jnp.arange(8)[None], attend)
        return jnp.sum(hidden[0, t] ** 2)

    gradient = jax.jit(jax.grad(at))
    for t in (0, 3, 7):
        seen = np.abs(gradient(params["embed"], t)).max(-1) > 0
        assert seen.tolist() == [i <= t for i in range(8)] + [False] * 16


def test_scanned_unrolled_and_recomputed_layers_agree():
    model = bind(CONFIG)
    params, ids = perturbed(model.init(0)), jnp.arange(12).reshape(2, 6)

    def value_and_grads(**options):
        def objective(params):
            return jnp.sum(jax.nn.softmax(logits_of(model, params, ids, **options))[..., 0])

        return jax.jit(jax.value_and_grad(objective))(params)

    expected = value_and_grads(unroll=True)
    scanned = {"unroll": False}
    for options in (scanned, scanned | {"remat": "dots"}, scanned | {"remat": "layers"}):
        got = value_and_grads(**options)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), expected, got)


def test_initialisation_is_decided_by_the_seed_alone():
    model = bind(preset("tiny-0.1m", 40))
    first, again, other = model.init(2**40 + 1), model.init(2**40 + 1), model.init(1)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True))
    assert not np.array_equal(first["embed"], other["embed"])  # the high bits of a seed count
    with jax.set_mesh(make_mesh(2, 2, 2)):
        sharded = bind(model.config).init(2**40 + 1)
        gate = sharded["layers"]["gate"]
        assert gate.sharding.spec == TRAIN_RULES("layer", "embed", "mlp")
        assert {s.data.shape for s in gate.addressable_shards} == {(3, 32, 64)}
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, sharded)), strict=True))


def test_spec_describes_what_init_makes():
    model = bind(VARIANTS["qwen3"])
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), model.init(0))
    assert shapes == jax.tree.map(lambda s: (s.shape, s.dtype), model.spec())


def test_hidden_states_take_the_type_of_the_parameters_and_logits_are_f32():
    model = bind(CONFIG)
    params, ids = model.init(0), jnp.arange(12).reshape(2, 6)
    half = jax.tree.map(lambda x: np.asarray(x).astype(jnp.bfloat16), params)

    @jax.jit
    def both(params):
        hidden = model.hidden(params, ids, ids, segment_attention(jnp.ones_like(ids)))
        return hidden, model.logits(params, hidden)

    hidden, logits = both(half)
    assert hidden.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, both(params)[1], atol=0.1)


def test_a_mesh_that_splits_key_heads_unevenly_is_refused():
    with jax.set_mesh(make_mesh(tensor=4)):
        with pytest.raises(UserError, match="kv_heads = 2 does not divide"):
            bind(CONFIG, DECODE_RULES)


def test_equal_architectures_are_one_model_and_the_mesh_is_checked_each_time():
    config = preset("tiny-0.1m", 60)
    model = bind(config)
    assert bind(dataclasses.replace(config)) is model
    assert bind(config, DECODE_RULES) is not model and bind(dataclasses.replace(config, n_layers=1)) is not model
    with jax.set_mesh(make_mesh(tensor=8)), pytest.raises(UserError, match="does not divide among 8"):
        bind(config)


def test_key_heads_may_stay_whole_where_query_heads_are_split():
    model, ids = bind(CONFIG), jnp.arange(12).reshape(2, 6)
    params = perturbed(model.init(0))
    expected = jax.jit(lambda p: logits_of(model, p, ids))(params)
    rules = dataclasses.replace(DECODE_RULES, kv_heads=None)
    with jax.set_mesh(make_mesh(data=2, tensor=4)):
        split = bind(CONFIG, rules)
        placed = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), params, split.spec())
        got = jax.jit(lambda p: logits_of(split, p, ids))(placed)
        assert got.sharding.spec == rules("batch", None, "vocab")
    np.testing.assert_allclose(got, expected, atol=1e-5)
