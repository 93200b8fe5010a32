"""What an engine promises beside its tokens: stops, statistics, errors, no copies, no compilation."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from jprm.errors import UserError
from jprm.sample import EngineConfig, cache, decode
from jprm.sample.slots import EngineStats, SlotGroup
from tests.sample.tiny import (
    BOTH,
    GREEDY,
    SHARED,
    SIZES,
    TOP_K,
    VOCAB,
    WARM,
    greedy_continuation,
    one_device,
    run,
    votes,
)


def test_stops_end_a_stretch_only_when_drawn(qwen2):
    model, params = qwen2
    engine = one_device(model, params, SIZES, GREEDY, seed=0)
    prompt = [5, 9, 2]
    wanted = greedy_continuation(model, params, prompt, 6)
    stop = wanted[3]
    cut = wanted.index(stop) + 1
    (handle,) = engine.submit(prompt, [1], max_tokens=6, stops=(stop,))
    (event,) = next_events(engine)
    assert (event.tokens, event.finish) == (wanted[:cut], "stop")
    engine.extend(handle, [stop] * 3, max_tokens=0)
    (event,) = next_events(engine)
    assert (event.tokens, event.finish, event.logprobs.shape) == ([], "length", (0, 0))
    engine.extend(handle, [stop], max_tokens=1)
    (event,) = next_events(engine)
    assert event.tokens == greedy_continuation(model, params, prompt + wanted[:cut] + [stop] * 4, 1)
    engine.release(handle)


def next_events(engine):
    while engine.busy:
        if events := engine.poll():
            return events
    return []


def test_seed_and_sample_id_change_the_draws(qwen2):
    def tokens(seed, sample_id):
        return run(one_device(*qwen2, SIZES, WARM, seed), [([1, 2], [sample_id], dict(max_tokens=16))])[sample_id][0][0]

    drawn = [tokens(1, 5), tokens(2, 5), tokens(1 << 40, 5), tokens(1, 6), tokens(1, 5 << 32)]
    assert len(set(map(tuple, drawn))) == 5
    assert tokens(1, 5) == drawn[0]


def test_equal_sample_ids_are_equal_samples(qwen2):
    engine = one_device(*qwen2, SIZES, WARM, seed=1)
    handles = engine.submit([1, 2, 3], [7, 7, 7], max_tokens=10)
    tokens = {}
    while len(tokens) < 3:
        tokens |= {event.handle: event.tokens for event in engine.poll()}
    assert len(handles) == 3 and tokens[handles[0]] == tokens[handles[1]] == tokens[handles[2]]


@BOTH
def test_nothing_compiles_after_the_engine_is_made(qwen2, sizes):
    programs = [decode.prefill, cache.clone, decode.decode_steps]
    programs += [cache.promote] if sizes.prefix_rows else []
    fresh = dataclasses.replace(sizes, slots=6, context_tokens=56)  # of no other test
    counts = [program._cache_size() for program in programs]
    engine = one_device(*qwen2, fresh, WARM, seed=1)
    before = [program._cache_size() for program in programs]
    assert before[-1] > counts[-1]
    run(engine, votes(np.random.default_rng(7), 50), [([4] * 12, 3), ([4], 2)])
    one_device(*qwen2, fresh, WARM, seed=2)
    assert [program._cache_size() for program in programs] == before


@pytest.mark.parametrize(
    ("sizes", "span"),
    [
        pytest.param(SIZES, 0, id="dense"),
        pytest.param(SHARED, 24, id="shared, spans"),
        pytest.param(SIZES, 24, id="dense, spans", marks=pytest.mark.slow),
        pytest.param(SHARED, 0, id="shared", marks=pytest.mark.slow),
    ],
)
def test_the_compiled_decode_steps_copies_no_cache(qwen2, sizes, span):
    model, params = qwen2
    device = SingleDeviceSharding(jax.devices()[0])
    own = cache.new_cache(model, 8, 64, jnp.float32, device, span)
    rows = cache.new_cache(model, 4, 32, jnp.float32, device, span) if sizes.prefix_rows else None
    config = dataclasses.replace(sizes, slots=8, slot_groups=1, prefix_rows=4 if rows else 0)
    inputs = SlotGroup(config, EngineStats()).next_work().inputs
    carry = decode.Carry(np.zeros(8, np.int32), np.zeros(8, bool))
    triggers, seed = np.zeros(VOCAB, bool), np.zeros(2, np.uint32)
    arguments = model, WARM, params, own, rows, inputs, carry, triggers, seed, span
    compiled = decode.decode_steps.lower(*arguments).compile()
    shapes = {",".join(map(str, x.shape)) for x in jax.tree.leaves((own, rows))}
    text = compiled.as_text()
    copies = re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|copy-start|slice|dynamic-slice)\(", text)
    assert not shapes & set(copies)
    later_pieces = len(jax.tree.leaves((own, rows))) // 2 - model.config.n_layers * (2 if rows else 1)
    assert text.count(" conditional(") == later_pieces, "what a piece costs is paid where it is not read"
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(own)]
    own, _, _ = decode.decode_steps(*arguments)
    assert [x.unsafe_buffer_pointer() for x in jax.tree.leaves(own)] == pointers


def test_the_cache_is_updated_in_place(qwen2):
    model, params = qwen2
    rows, own = (
        cache.new_cache(model, 8, 64, jnp.float32, SingleDeviceSharding(jax.devices()[0]), 16) for _ in range(2)
    )
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(rows)]
    ids, eight = np.zeros((4, 8), np.int32), np.arange(8, dtype=np.int32)
    rows = decode.prefill(model, params, rows, ids, np.arange(4), np.zeros(4, np.int32), 4)
    rows = cache.clone(rows, np.zeros(8, np.int32), eight, 8)
    rows = cache.promote(rows, own, eight, eight, eight, eight + 3, 8)
    assert [x.unsafe_buffer_pointer() for x in jax.tree.leaves(rows)] == pointers


def test_stats_count_tokens(qwen2):
    engine = one_device(*qwen2, SIZES, GREEDY, seed=0)
    out = run(engine, [([1] * 9, range(4), dict(max_tokens=5))], [([2] * 3, 2)])
    stats = engine.stats
    assert stats.generated == 4 * 7 == sum(len(t) for stretches in out.values() for t, _ in stretches)
    assert stats.forced == 4 * 3
    assert stats.prefilled + stats.cloned >= 4 * 8
    assert stats.slot_steps >= stats.generated


@BOTH
def test_bad_requests_raise_before_anything_runs_and_others_go_on(qwen2, sizes):
    engine = one_device(*qwen2, sizes, GREEDY, seed=0)
    prompt = [3, 1, 4]
    handles = engine.submit(prompt, range(3), max_tokens=20)
    bad = [
        ("fit", dict(prompt=[1] * 60)),
        ("empty", dict(prompt=[])),
        ("no sample ids", dict(sample_ids=[])),
        ("logprob id 61", dict(logprob_ids=(61,))),
        ("stop id -1", dict(stops=(-1,))),
        ("max_tokens = 0", dict(max_tokens=0)),
        ("2 values of max_tokens for 1 sample", dict(max_tokens=[1, 2])),
        ("handle 77 is unknown", dict(parent=77)),
        ("has not stopped", dict(parent=handles[0])),
    ]
    good = dict(prompt=[1], sample_ids=[9], max_tokens=5)
    tokens = {}
    while len(tokens) < 3:
        words, change = bad.pop() if bad else ("empty", dict(prompt=[]))
        request = good | change
        with pytest.raises(UserError, match=words):
            engine.submit(request.pop("prompt"), request.pop("sample_ids"), **request)
        tokens |= {event.handle: event.tokens for event in engine.poll()}
    wanted = greedy_continuation(*qwen2, prompt, 20)
    assert [tokens[handle] for handle in handles] == [wanted] * 3


def test_bad_sizes_are_named(qwen2):
    with pytest.raises(UserError, match="slots = 5 must be a multiple of slot_groups = 2"):
        EngineConfig(slots=5, slot_groups=2)
    with pytest.raises(UserError, match="prefix_rows = 3 must be a multiple of slot_groups = 2"):
        EngineConfig(prefix_rows=3)
    with pytest.raises(UserError, match="decode_steps = 0 must be at least 1"):
        EngineConfig(decode_steps=0)
    with pytest.raises(UserError, match="seed"):
        one_device(*qwen2, SIZES, GREEDY, seed=-1)
    with pytest.raises(UserError, match="trigger id 61"):
        one_device(*qwen2, SIZES, GREEDY, seed=0, triggers=[61])


@pytest.mark.parametrize(("sizes", "sampling"), [(SIZES, GREEDY), (SIZES, WARM), (SHARED, TOP_K)])
def test_logits_that_are_not_finite_are_reported(qwen2, sizes, sampling):
    model, params = qwen2
    broken = params | {"norm": params["norm"] * jnp.nan}
    engine = one_device(model, broken, sizes, sampling, seed=0)
    engine.submit([1], [1], max_tokens=3)
    with pytest.raises(FloatingPointError, match="not finite"):
        while engine.busy:
            engine.poll()
