"""Several devices, the memory plan, and progress."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import ModelConfig, bind, parameter_count
from jprm.sample import Engine, EngineConfig, MemoryPlan
from jprm.sample.plan import memory_plan
from tests.sample.tiny import BOTH, GREEDY, SHARED, SIZES, WARM, full_log_probabilities, one_device, run, votes


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(dict(lanes=24, banks=3, prefix_rows=9), id="data parallel"),
        pytest.param(dict(lanes=16, banks=2, prefix_rows=6, tensor=2), id="tensor parallel"),
    ],
)
def test_many_devices_draw_the_tokens_of_one(qwen2, sizes):
    model, params = qwen2
    requests, forced = votes(np.random.default_rng(6), 64), [([5, 6, 7], 6)]
    one = one_device(model, params, SHARED, WARM, seed=1)
    with jax.set_mesh(make_mesh(data=2, fsdp=4)):
        spec = bind(model.config).spec()
        trained = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), params, spec)
    sizes = dataclasses.replace(SHARED, **sizes)
    devices = jax.devices()[: sizes.banks * sizes.tensor]
    many = Engine(model, trained, sizes, WARM, seed=1, devices=devices)
    places = [bank._own["k"][0].sharding.device_set for bank in many._banks]
    assert set.union(*places) == set(devices) and {len(p) for p in places} == {sizes.tensor}
    alone, drawn = (run(engine, requests, forced) for engine in (one, many))
    for sample_id, stretches in alone.items():
        assert [t for t, _ in stretches] == [t for t, _ in drawn[sample_id]]


def test_more_devices_than_there_are_is_refused(qwen2):
    with pytest.raises(UserError, match="tensor = 2 needs as many devices; there are 1"):
        Engine(*qwen2, dataclasses.replace(SIZES, tensor=2), GREEDY, seed=0, devices=jax.devices()[:1])


@BOTH
def test_the_plan_counts_what_is_allocated(qwen2, sizes):
    engine = one_device(*qwen2, sizes, GREEDY, seed=0)
    bank = engine._banks[0]
    plan = engine.plan
    own = sum(x.nbytes for x in jax.tree.leaves(bank._own))
    assert plan.lanes * plan.lane_bytes == sizes.banks * own
    rows = sum(x.nbytes for x in jax.tree.leaves(bank._prefix))
    assert plan.rows * plan.row_bytes == sizes.banks * rows
    assert plan.weights_bytes == sum(x.nbytes for x in jax.tree.leaves(bank._place.params))


def test_a_7b_model_in_bf16():
    qwen = ModelConfig(152064, 28, 3584, 28, 4, 128, 18944, tied=False)
    config = EngineConfig(lanes=256, banks=1, context_tokens=2560, prefix_rows=64, prefix_tokens=2048, own_tokens=512)
    plan = memory_plan(qwen, config, 2, 1)
    assert plan.weights_bytes == 2 * parameter_count(qwen)
    assert plan.lane_bytes == 512 * 57_344 and plan.row_bytes == 2048 * 57_344
    two = memory_plan(qwen, dataclasses.replace(config, tensor=2), 2, 2)
    assert two.lane_bytes * 2 == plan.lane_bytes and two.weights_bytes * 2 == plan.weights_bytes


@pytest.mark.parametrize(
    "limit, words",
    [
        (999, "weights.*several devices with `tensor`"),
        (1000 + 150 + 1050 - 1, "lower lanes \\(about 9 of 10 fit\\)"),
        (1000 + 160, "lower prefix_rows or prefix_tokens"),
    ],
)
def test_what_does_not_fit_names_the_knob(limit, words):
    plan = MemoryPlan(weights_bytes=1000, lanes=10, lane_bytes=100, rows=3, row_bytes=50, step_bytes=50)
    with pytest.raises(UserError, match=words):
        plan.check(limit, "gpu:0")
    plan.check(plan.total_bytes, "gpu:0")


def test_an_engine_that_does_not_fit_allocates_nothing(qwen2):
    with pytest.raises(UserError, match="do not fit into.*lower lanes"):
        Engine(*qwen2, dataclasses.replace(SIZES, lanes=1 << 32, banks=1), GREEDY, seed=0)


def test_progress_counts_lanes_and_estimates_the_rest(qwen2):
    engine = one_device(*qwen2, SIZES, GREEDY, seed=0)
    assert engine.progress.eta_s is None
    handles = engine.submit([1, 2], range(20), max_tokens=4)
    assert (engine.progress.running, engine.progress.queued) == (0, 20)
    while not (events := engine.poll()):
        pass
    waiting = len(events)
    progress = engine.progress
    assert (progress.waiting, progress.lanes, progress.queued) == (waiting, 16, 4)
    assert progress.running == 16 - waiting and progress.tokens_per_s > 0
    engine.release(events[0].handle)
    assert engine.progress.eta_s > 0 and "16 lanes" in str(engine.progress)
    assert len(handles) == 20


def test_bf16_weights_make_bf16_caches_and_draw(qwen2):
    model, params = qwen2
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    sizes = dataclasses.replace(SHARED, banks=1)
    engine = Engine(model, half, sizes, GREEDY, seed=1)
    assert engine._banks[0]._prefix["v"][0].dtype == jnp.bfloat16
    out = run(engine, [([3, 4, 5], range(4), dict(max_tokens=9, watch=(2,)))])
    ((tokens, watched),) = out[0]
    assert all(t == tokens for ((t, _),) in out.values())
    full = full_log_probabilities(model, params, [3, 4, 5, *tokens])
    np.testing.assert_allclose(watched[:1], full[2:3, [2]], atol=0.1)
