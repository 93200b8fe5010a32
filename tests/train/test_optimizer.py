import math

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


def chosen_parameters(seed, *names):
    """A tree of few leaves, none of them zero: each of Muon's matrices is long to compile."""
    params = bind(CONFIG).init(seed)
    layers = {name: params["layers"][name] + 0.1 for name in names}
    return {"embed": params["embed"], "layers": layers}


def first_updates(optimizer, grads, params):
    return jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p))(grads, params)[0]


def test_stacked_muon_is_muon_on_each_matrix():
    sides = {"q": (8, 12), "o": (12, 8)}
    params, grads = (chosen_parameters(seed, *sides) for seed in (0, 1))

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


def test_the_ratio_scales_adam_s_share_and_not_muon_s():
    params, grads = (chosen_parameters(seed, "k", "q_bias") for seed in (0, 1))
    doubled = TRAIN.model_copy(update={"adam_ratio": 2 * TRAIN.adam_ratio})
    once, twice = (first_updates(make_optimizer(c), grads, params) for c in (TRAIN, doubled))
    np.testing.assert_allclose(twice["layers"]["k"], once["layers"]["k"], rtol=1e-6)
    for before, after in ((once["embed"], twice["embed"]), (once["layers"]["q_bias"], twice["layers"]["q_bias"])):
        assert np.abs(before).min() > 0
        np.testing.assert_allclose(after, 2 * before, rtol=1e-5)


def test_adamw_decays_matrices_and_embeddings_only():
    params = jax.tree.map(jnp.ones_like, chosen_parameters(0, "q", "down", "q_bias", "mlp_norm"))
    params["norm"] = jnp.ones(8)
    optimizer = make_optimizer(TRAIN.model_copy(update={"optimizer": "adamw"}))
    updates = first_updates(optimizer, jax.tree.map(jnp.zeros_like, params), params)
    assert updates["embed"].all() and not updates["norm"].any()
    moved = {name for name, leaf in updates["layers"].items() if leaf.any()}
    assert moved == {"q", "down"}


def test_schedule_rises_from_the_first_step_and_ends_at_its_fraction():
    rate = schedule(TRAIN, 1.0)
    assert [float(rate(i)) for i in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert float(rate(10)) == pytest.approx(TRAIN.final_fraction)
    assert float(rate(7)) == pytest.approx((1 + TRAIN.final_fraction) / 2)


def test_cosine_is_half_a_wave():
    rate = schedule(TRAIN.model_copy(update={"schedule": "cosine"}), 1.0)
    end = TRAIN.final_fraction
    for step in (4, 6, 7, 10):
        wave = (1 + math.cos(math.pi * (step - 4) / 6)) / 2
        assert float(rate(step)) == pytest.approx(end + (1 - end) * wave, rel=1e-6)


def test_wsd_stays_at_its_peak_until_the_decay():
    config = TRAIN.model_copy(update={"schedule": "wsd", "decay_fraction": 0.4})
    rate = schedule(config, 1.0)
    assert [float(rate(i)) for i in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [float(rate(i)) for i in (4, 5, 6)] == [1, 1, 1]
    assert float(rate(8)) == pytest.approx((1 + config.final_fraction) / 2)
    assert float(rate(10)) == pytest.approx(config.final_fraction)
    # a longer run has the same beginning: its decay can be branched off anywhere
    longer = schedule(config.model_copy(update={"steps": 100}), 1.0)
    assert [float(longer(i)) for i in range(7)] == [float(rate(i)) for i in range(7)]


def test_adamw_decays_adapters_and_the_head_s_weight():
    params = {
        "lora": {"q": {"a": jnp.ones((2, 3, 1)), "b": jnp.ones((2, 1, 3))}},
        "step_head": {"weight": jnp.ones(3), "bias": jnp.ones(())},
    }
    optimizer = make_optimizer(TRAIN.model_copy(update={"optimizer": "adamw"}))
    updates = first_updates(optimizer, jax.tree.map(jnp.zeros_like, params), params)
    assert updates["lora"]["q"]["a"].all() and updates["lora"]["q"]["b"].all()
    assert updates["step_head"]["weight"].all() and not updates["step_head"]["bias"].any()


def test_a_switch_is_still_a_remat_policy():
    assert TrainConfig.model_validate({"remat": True}).remat == "layers"
    assert TrainConfig.model_validate({"remat": False}).remat == "none"
    assert TrainConfig.model_validate({"remat": "dots"}).remat == "dots"
    with pytest.raises(ValueError, match="'none', 'dots' or 'layers'"):
        TrainConfig.model_validate({"remat": "all"})
