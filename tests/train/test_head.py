"""The step head and soft labels: closed forms, finite differences, and a tiny world that is learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.models import ModelConfig, bind
from jprm.train import TrainConfig
from jprm.train.loss import binary_cross_entropy, init_head, loss_and_weight, step_logits, step_loss_and_weight
from jprm.train.optimizer import make_optimizer
from jprm.train.step import init_state, make_step

CONFIG = ModelConfig(vocab_size=16, n_layers=1, embed=16, n_heads=2, n_kv_heads=2, head_dim=8, mlp=16)
MODEL = bind(CONFIG)


def batch_of(ids, weights, **more):
    rows, tokens = ids.shape
    positions = np.tile(np.arange(tokens, dtype=np.int32), (rows, 1))
    arrays = dict(ids=ids, positions=positions, segments=np.ones_like(ids), weights=weights)
    return arrays | more


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 16, (3, 8)).astype(np.int32)
    weights = np.zeros((3, 8), np.float32)
    weights[0, 3] = weights[0, 7] = weights[1, 5] = 1
    weights[2, 2] = 0.5
    return batch_of(ids, weights, targets=rng.random((3, 8), np.float32))


@pytest.mark.parametrize(("logit", "target"), [(0.0, 0.3), (2.0, 1.0), (-1.5, 0.0), (40.0, 0.25)])
def test_binary_cross_entropy_is_its_closed_form(logit, target):
    p = 1 / (1 + np.exp(-np.float64(logit)))
    other = 1 / (1 + np.exp(np.float64(logit)))
    expected = -target * np.log(p) - (1 - target) * np.log(other)
    np.testing.assert_allclose(binary_cross_entropy(logit, target), expected, rtol=1e-6, atol=1e-7)


def test_an_untrained_head_says_one_half(batch):
    params = MODEL.init(0) | {"step_head": init_head(CONFIG)}
    total, weight = jax.jit(lambda p: step_loss_and_weight(MODEL, p, batch))(params)
    assert weight == 3.5
    assert total / weight == pytest.approx(np.log(2), rel=1e-6)


def test_gradients_of_the_head_are_finite_differences(batch):
    params = MODEL.init(0) | {"step_head": init_head(CONFIG)}
    head = jax.tree.map(
        lambda x: np.random.default_rng(2).standard_normal(x.shape).astype(np.float32), params["step_head"]
    )

    @jax.jit
    def loss(head):
        return step_loss_and_weight(MODEL, params | {"step_head": head}, batch)[0]

    grads = jax.grad(loss)(head)
    direction = jax.tree.map(lambda x: np.random.default_rng(3).standard_normal(x.shape).astype(np.float32), head)
    moved = [jax.tree.map(lambda x, d, s=s: x + s * d, head, direction) for s in np.float32([1e-2, -1e-2])]
    difference = (loss(moved[0]) - loss(moved[1])) / 2e-2
    slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (grads, direction)), strict=True))
    assert difference == pytest.approx(float(slope), rel=1e-2)


def test_soft_labels_mix_the_losses_of_both_tokens(batch):
    params = MODEL.init(0)
    rng = np.random.default_rng(1)
    others = rng.integers(0, 16, (3, 8)).astype(np.int32)

    @jax.jit
    def loss(targets):
        return loss_and_weight(MODEL, params, batch | {"others": others, "targets": targets})[0]

    ones = np.ones((3, 8), np.float32)
    plain = {name: x for name, x in batch.items() if name != "targets"}
    first = jax.jit(lambda params: loss_and_weight(MODEL, params, plain))(params)[0]
    np.testing.assert_allclose(loss(ones), first, rtol=1e-6)
    np.testing.assert_allclose(loss(0.25 * ones), 0.25 * first + 0.75 * loss(0 * ones), rtol=1e-5)


@pytest.mark.parametrize("microbatches", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_head_learns_which_steps_are_right(microbatches):
    """A step is right when its first token is small: only attention can bring that to its end."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 16, (64, 4)).astype(np.int32)
    targets = np.repeat((ids[:, :1] < 8).astype(np.float32), 4, axis=1)
    weights = np.zeros((64, 4), np.float32)
    weights[:, 3] = 1
    config = TrainConfig(
        steps=80, batch_rows=64, row_tokens=4, warmup_steps=5, optimizer="adamw",
        learning_rate=0.01, objective="step_head", microbatches=microbatches,
    )  # fmt: skip
    optimizer = make_optimizer(config)
    params = MODEL.init(0) | {"step_head": init_head(CONFIG)}
    state = init_state(MODEL, params, optimizer, config.steps)
    step = make_step(MODEL, config, optimizer)
    batch = jax.device_put(batch_of(ids, weights, targets=targets))
    for _ in range(config.steps):
        state, metrics = step(state, batch)
    assert metrics["loss"] < 0.1  # guessing has log 2
    assert np.sign(step_logits(state.params, jnp.ones((1, 1, 16)))).shape == (1, 1)
