import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jprm.models import ModelConfig, bind
from jprm.train import TrainConfig
from jprm.train.optimizer import make_optimizer, muon_axes, schedule

CONFIG = ModelConfig(
    vocab_size=12, n_layers=2, embed=8, n_heads=2, n_kv_heads=1, head_dim=6, mlp=10,
    qk_norm=True, tied=False,
)  # fmt: skip
TRAIN = TrainConfig(steps=10, warmup_steps=4, learning_rate=0.5, weight_decay=0.1)


def test_muon_trains_the_matrices_of_the_layers_and_nothing_else():
    params = bind(CONFIG).spec()
    axes = muon_axes(params)
    chosen = {name for name, leaf in axes["layers"].items() if leaf is not None}
    assert chosen == {"q", "k", "v", "o", "gate", "up", "down"}
    assert axes["embed"] is axes["head"] is axes["norm"] is None
    for name in chosen:  # the axes give matrices whose sides are those of the 2-D weight
        shape, (inputs, outputs) = params["layers"][name].shape, axes["layers"][name]
        sides = [int(np.prod([shape[a] for a in side])) for side in (inputs, outputs)]
        expected = {"q": [8, 12], "k": [8, 6], "v": [8, 6], "o": [12, 8], "down": [10, 8]}
        assert sides == expected.get(name, [8, 10])
        assert {0, *inputs, *outputs} == set(range(len(shape)))


def first_updates(optimizer, grads, params):
    return jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p))(grads, params)[0]


def test_stacked_muon_is_muon_on_each_matrix():
    model = bind(CONFIG)
    params, grads = model.init(0), model.init(1)
    sides = {"q": (8, 12), "o": (12, 8), "down": (10, 8)}

    def matrices(tree):
        return {
            f"{name}{layer}": tree["layers"][name][layer].reshape(shape)
            for name, shape in sides.items()
            for layer in range(2)
        }

    updates = first_updates(make_optimizer(TRAIN), grads, params)
    alone = optax.contrib.muon(schedule(TRAIN, 0.5), weight_decay=0.1)
    expected = first_updates(alone, matrices(grads), matrices(params))
    for name, update in matrices(updates).items():
        np.testing.assert_allclose(update, expected[name], atol=1e-6)


def test_adam_s_share_moves_by_its_ratio_of_the_learning_rate():
    params = bind(CONFIG).init(0)
    optimizer = make_optimizer(TRAIN)
    ones = jax.tree.map(jnp.ones_like, params)
    updates = first_updates(optimizer, ones, params)
    rate = schedule(TRAIN, 0.5)(0) * TRAIN.adam_ratio
    for leaf in (updates["embed"], updates["head"], updates["layers"]["q_bias"]):
        np.testing.assert_allclose(leaf, -rate, rtol=1e-4)  # Adam's first step is the sign


def test_adamw_decays_matrices_and_embeddings_only():
    params = jax.tree.map(jnp.ones_like, bind(CONFIG).init(0))
    optimizer = make_optimizer(TRAIN.model_copy(update={"optimizer": "adamw"}))
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = first_updates(optimizer, zeros, params)
    moved = {"/".join(k.key for k in path) for path, leaf in leaves(updates) if leaf.any()}
    names = ("q", "k", "v", "o", "gate", "up", "down")
    assert moved == {"embed", "head", *(f"layers/{name}" for name in names)}


def leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def test_schedule_rises_from_the_first_step_and_ends_at_its_fraction():
    rate = schedule(TRAIN, 1.0)
    assert [float(rate(i)) for i in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert float(rate(10)) == pytest.approx(TRAIN.final_fraction)
    assert float(rate(7)) == pytest.approx((1 + TRAIN.final_fraction) / 2)
