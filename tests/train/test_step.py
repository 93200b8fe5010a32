from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import make_mesh, sharding
from jprm.models import ModelConfig, bind
from jprm.train import TrainConfig
from jprm.train.optimizer import make_optimizer
from jprm.train.step import init_state, make_step

CONFIG = ModelConfig(vocab_size=32, n_layers=1, embed=16, n_heads=4, n_kv_heads=2, head_dim=4, mlp=32)
TRAIN = TrainConfig(steps=3, batch_rows=16, row_tokens=12, warmup_steps=1)
ROWS, TOKENS = 16, 12


@pytest.fixture(scope="module")
def batch():
    """Two documents and padding in a row; unequal numbers of trained tokens in the rows."""
    rng = np.random.default_rng(0)
    segments = np.tile(np.repeat([1, 2, 0], [5, 5, 2]), (ROWS, 1)).astype(np.int32)
    positions = np.tile([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0], (ROWS, 1)).astype(np.int32)
    trained = (positions > 0) & (rng.random((ROWS, TOKENS)) < np.linspace(0.1, 1, ROWS)[:, None])
    ids = rng.integers(0, 32, (ROWS, TOKENS)).astype(np.int32)
    weights = trained.astype(np.float32)
    return dict(ids=ids, positions=positions, segments=segments, weights=weights)


def run(batch, config=TRAIN, steps=2):
    """Metrics of every step, and the state after the last."""
    model, optimizer = bind(CONFIG), make_optimizer(config)
    state = init_state(model, model.init(0), optimizer, config.steps)
    step = make_step(model, config, optimizer)
    metrics = []
    for _ in range(steps):
        placed = jax.device_put(batch, sharding(model.rules("batch", None)))
        state, values = step(state, placed)
        metrics.append({name: float(value) for name, value in values.items()})
    return metrics, state


def assert_same_run(got, expected):
    (metrics, state), (expected_metrics, expected_state) = got, expected
    for a, b in zip(metrics, expected_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    scale = 1e-5 * expected_metrics[0]["grad_norm"]  # the moments are sums of gradients
    parts = zip(*map(jax.tree.leaves, (state.optimizer, expected_state.optimizer)), strict=True)
    for a, b in parts:
        np.testing.assert_allclose(a, b, atol=scale)
    parts = zip(*map(jax.tree.leaves, (state.params, expected_state.params)), strict=True)
    for a, b in parts:  # a gradient of rounding errors alone becomes a whole step under Adam
        np.testing.assert_allclose(a, b, atol=1e-3 * TRAIN.learning_rate)


@pytest.fixture(scope="module")
def alone(batch):
    return run(batch)


@pytest.mark.parametrize(
    "shape",
    [(2, 2, 2), pytest.param((1, 8, 1), marks=pytest.mark.slow), pytest.param((4, 1, 2), marks=pytest.mark.slow)],
)
def test_eight_devices_compute_what_one_does(batch, alone, shape):
    _, fsdp, tensor = shape
    with jax.set_mesh(make_mesh(*shape)):
        metrics, state = run(batch)
        gate = state.params["layers"]["gate"]
        assert {s.data.shape for s in gate.addressable_shards} == {(1, 16 // fsdp, 32 // tensor)}
        moments = [x for x in jax.tree.leaves(state.optimizer) if x.shape == gate.shape]
        assert moments and all(x.sharding == gate.sharding for x in moments)
        got = metrics, jax.device_get(state)
    assert_same_run(got, alone)


@pytest.mark.slow
def test_microbatches_of_rematerialised_layers_give_the_step_of_the_whole_batch(batch, alone):
    assert_same_run(run(batch, TRAIN.model_copy(update={"microbatches": 4, "remat": "layers"})), alone)


def test_one_row_at_a_time_gives_the_gradient_of_the_whole_batch(batch, alone):
    """The rows have unequal numbers of trained tokens: a mean of means would be another gradient."""
    assert len(set(batch["weights"].sum(1))) > 4
    assert_same_run(run(batch, TRAIN.model_copy(update={"microbatches": ROWS, "remat": "layers"})), alone)


@pytest.mark.parametrize("microbatches", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_bfloat16_gradients_are_those_of_f32_to_its_precision(batch, microbatches):
    model = bind(CONFIG)

    class Keep:  # an optimizer that shows what it was given
        init = staticmethod(lambda params: jax.tree.map(jnp.zeros_like, params))
        update = staticmethod(lambda grads, state, params: (jax.tree.map(jnp.zeros_like, grads), grads))

    def grads(**changes):
        config = TRAIN.model_copy(update=changes)
        optimizer: Any = Keep()
        state = init_state(model, model.init(0), optimizer, config.steps)
        return make_step(model, config, optimizer)(state, jax.device_put(batch))[0].optimizer

    expected = grads()
    got = grads(compute_dtype="bfloat16", microbatches=microbatches)
    assert {x.dtype for x in jax.tree.leaves(got)} == {np.dtype(np.float32)}

    def norm(tree):
        return np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))

    apart = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), got, expected)
    assert norm(apart) < 0.03 * norm(jax.device_get(expected))  # bf16 holds 8 bits


def test_bfloat16_passes_keep_f32_weights_and_learn(batch):
    metrics, state = run(batch, TRAIN.model_copy(update={"compute_dtype": "bfloat16"}), steps=3)
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {np.dtype(np.float32)}
    assert metrics[2]["loss"] < metrics[0]["loss"]


def test_a_kernel_that_cannot_run_is_refused_before_compilation():
    config = TRAIN.model_copy(update={"attention": "cudnn", "compute_dtype": "bfloat16"})
    with pytest.raises(UserError, match="cudnn runs on NVIDIA GPUs"):
        make_step(bind(CONFIG), config, make_optimizer(config))


@pytest.mark.parametrize(
    "changes",
    [
        {"remat": "dots", "attention": "xla"},
        pytest.param({"remat": "dots"}, marks=pytest.mark.slow),
        pytest.param({"attention": "xla"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ways_to_run_the_passes_change_no_step(batch, alone, changes):
    assert_same_run(run(batch, TRAIN.model_copy(update=changes)), alone)


def test_losses_are_recorded_in_the_state(alone):
    metrics, state = alone
    assert int(state.step) == 2
    expected = [*(m["loss"] for m in metrics), 0]
    np.testing.assert_allclose(state.losses, expected, rtol=1e-6)
