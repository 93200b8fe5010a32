"""Several devices, the memory needed, and progress."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import make_mesh
from jprm.models import ModelConfig, bind, parameter_count, split_layers
from jprm.sample import Engine, EngineConfig, EngineMemory
from jprm.sample.device import Replica
from jprm.sample.memory import engine_memory
from tests.sample.tiny import BOTH, GREEDY, SHARED, SIZES, WARM, full_log_probabilities, one_device, run, votes


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, id="data parallel"),
        pytest.param(dict(slots=8, slot_groups=1, prefix_rows=3, tensor=2), id="tensor parallel"),
        pytest.param(dict(tensor=2), id="both", marks=pytest.mark.slow),
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
    devices = jax.devices()[: sizes.slot_groups * sizes.tensor]
    many = Engine(model, trained, sizes, WARM, seed=1, devices=devices)
    places = [runner._own["k"][0][0].sharding.device_set for runner in many._runners]
    assert set.union(*places) == set(devices) and {len(p) for p in places} == {sizes.tensor}
    alone, drawn = (run(engine, requests, forced) for engine in (one, many))
    for sample_id, stretches in alone.items():
        assert [t for t, _ in stretches] == [t for t, _ in drawn[sample_id]]


@pytest.mark.parametrize("n", [1, 2])
def test_layers_that_are_split_already_lie_where_the_others_do(qwen2, n):
    model, params = qwen2
    stacked, split = (Replica(model, given, jax.devices()[:n]).params for given in (params, split_layers(params)))
    assert jax.tree.structure(stacked) == jax.tree.structure(split)
    for one, other in zip(*map(jax.tree.leaves, (stacked, split)), strict=True):
        assert np.array_equal(one, other) and one.sharding.is_equivalent_to(other.sharding, one.ndim)


def test_more_devices_than_there_are_is_refused(qwen2):
    with pytest.raises(UserError, match="tensor = 2 needs as many devices; there are 1"):
        Engine(*qwen2, dataclasses.replace(SIZES, tensor=2), GREEDY, seed=0, devices=jax.devices()[:1])


@BOTH
def test_the_need_counts_what_is_allocated(qwen2, sizes):
    engine = one_device(*qwen2, sizes, GREEDY, seed=0)
    runner = engine._runners[0]
    memory = engine.memory
    own = sum(x.nbytes for x in jax.tree.leaves(runner._own))
    assert memory.slots * memory.slot_bytes == sizes.slot_groups * own
    rows = sum(x.nbytes for x in jax.tree.leaves(runner._prefix))
    assert memory.rows * memory.row_bytes == sizes.slot_groups * rows
    assert memory.weights_bytes == sum(x.nbytes for x in jax.tree.leaves(runner._replica.params))


def test_a_7b_model_in_bf16():
    qwen = ModelConfig(152064, 28, 3584, 28, 4, 128, 18944, tied=False)
    config = EngineConfig(
        slots=256, slot_groups=1, context_tokens=2560, prefix_rows=64, prefix_tokens=2048, own_tokens=512
    )
    memory = engine_memory(qwen, config, 2, 1)
    assert memory.weights_bytes == 2 * parameter_count(qwen)
    assert memory.slot_bytes == 512 * 57_344 and memory.row_bytes == 2048 * 57_344
    two = engine_memory(qwen, dataclasses.replace(config, tensor=2), 2, 2)
    assert two.slot_bytes * 2 == memory.slot_bytes and two.weights_bytes * 2 == memory.weights_bytes


@pytest.mark.parametrize(
    "limit, words",
    [
        (999, "weights.*several devices with `tensor`"),
        (1000 + 150 + 1050 - 1, "lower slots \\(about 9 of 10 fit\\)"),
        (1000 + 160, "lower prefix_rows or prefix_tokens"),
    ],
)
def test_what_does_not_fit_names_the_knob(limit, words):
    memory = EngineMemory(weights_bytes=1000, slots=10, slot_bytes=100, rows=3, row_bytes=50, step_bytes=50)
    with pytest.raises(UserError, match=words):
        memory.check(limit, "gpu:0")
    memory.check(memory.total_bytes, "gpu:0")


def test_an_engine_that_does_not_fit_allocates_nothing(qwen2):
    with pytest.raises(UserError, match="do not fit into.*lower slots"):
        Engine(*qwen2, dataclasses.replace(SIZES, slots=1 << 32, slot_groups=1), GREEDY, seed=0)


def test_progress_counts_samples(qwen2):
    engine = one_device(*qwen2, SIZES, GREEDY, seed=0)
    handles = engine.submit([1, 2], range(20), max_tokens=4)
    assert (engine.progress.running, engine.progress.queued) == (0, 20)
    while not (events := engine.poll()):
        pass
    waiting = len(events)
    progress = engine.progress
    assert (progress.waiting, progress.slots, progress.queued) == (waiting, 16, 4)
    assert progress.running == 16 - waiting and progress.tokens_per_s > 0
    engine.release(events[0].handle)
    assert "16 slots" in str(engine.progress)
    assert len(handles) == 20


def test_bf16_weights_make_bf16_caches_and_draw(qwen2):
    model, params = qwen2
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    sizes = dataclasses.replace(SHARED, slot_groups=1)
    engine = Engine(model, half, sizes, GREEDY, seed=1)
    assert engine._runners[0]._prefix["v"][0][0].dtype == jnp.bfloat16
    out = run(engine, [([3, 4, 5], range(4), dict(max_tokens=9, logprob_ids=(2,)))])
    ((tokens, logprobs),) = out[0]
    assert all(t == tokens for ((t, _),) in out.values())
    full = full_log_probabilities(model, params, [3, 4, 5, *tokens])
    np.testing.assert_allclose(logprobs[:1], full[2:3, [2]], atol=0.1)
