"""The engine against the plain full forward pass, and against itself under other circumstances."""

import dataclasses

import numpy as np
import pytest

from jprm.mesh import Rules
from jprm.models import bind
from tests.sample.tiny import (
    BOTH,
    FAMILIES,
    GREEDY,
    SHARED,
    SIZES,
    TOP_K,
    VOCAB,
    WARM,
    full_log_probabilities,
    greedy_continuation,
    one_device,
    run,
    votes,
)

UNDER = pytest.mark.parametrize(
    "sizes, sampling",
    [
        pytest.param(SIZES, WARM, id="dense"),
        pytest.param(SHARED, TOP_K, id="shared", marks=pytest.mark.slow),
        pytest.param(dataclasses.replace(SHARED, attend_span=16), WARM, id="spans"),
        pytest.param(SIZES, TOP_K, id="dense, top-k", marks=pytest.mark.slow),
        pytest.param(SHARED, WARM, id="shared, no top-k", marks=pytest.mark.slow),
    ],
)


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        pytest.param("qwen2", SIZES, id="qwen2, dense"),
        pytest.param("qwen2", SHARED, id="qwen2, shared", marks=pytest.mark.slow),
        pytest.param("qwen3", SHARED, id="qwen3, shared"),
        pytest.param("llama", SIZES, id="llama, dense"),
        pytest.param("qwen3", SIZES, id="qwen3, dense", marks=pytest.mark.slow),
        pytest.param("llama", SHARED, id="llama, shared", marks=pytest.mark.slow),
    ],
)
def test_greedy_tokens_and_watched_log_probabilities_are_the_full_forward(family, sizes):
    model = bind(FAMILIES[family], Rules())
    params = model.init(3)
    engine = one_device(model, params, sizes, GREEDY, seed=0)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, VOCAB, n).tolist() for n in (1, 2, 8, 9, 25)]
    keywords = dict(max_tokens=9, logprob_ids=(7, 50))
    out = run(engine, [(prompt, [i], keywords) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        ((tokens, logprobs),) = out[i]
        assert tokens == greedy_continuation(model, params, prompt, 9)
        full = full_log_probabilities(model, params, prompt + tokens)
        np.testing.assert_allclose(logprobs, full[len(prompt) - 1 : -1][:, [7, 50]], atol=1e-4)


@BOTH
@pytest.mark.parametrize("n_forced", [1, 3, 4, 8, 20])
def test_forced_tokens_equal_one_long_prompt(qwen2, sizes, n_forced):
    model, params = qwen2
    rng = np.random.default_rng(n_forced)
    prompt, forced = rng.integers(0, VOCAB, 11).tolist(), rng.integers(0, VOCAB, n_forced).tolist()
    engine = one_device(model, params, sizes, GREEDY, seed=0)
    out = run(engine, [(prompt, [5], dict(max_tokens=6, logprob_ids=(2,)))], forced=[(forced, 7)])
    (first, _), (second, logprobs) = out[5]
    assert second == greedy_continuation(model, params, prompt + first + forced, 7)
    full = full_log_probabilities(model, params, prompt + first + forced + second)
    np.testing.assert_allclose(logprobs, full[-8:-1][:, [2]], atol=1e-4)


@BOTH
def test_clones_equal_separate_requests(qwen2, sizes):
    prompt, keywords = list(range(20)), dict(max_tokens=20, stops=(3, 4), logprob_ids=(3,))
    together = run(one_device(*qwen2, sizes, WARM, seed=1), [(prompt, range(40), keywords)])
    alone = run(one_device(*qwen2, sizes, WARM, seed=1), [(prompt, [i], keywords) for i in range(40)])
    assert len(together) == 40
    for i in range(40):
        assert together[i][0][0] == alone[i][0][0]
        assert together[i][0][1].tobytes() == alone[i][0][1].tobytes()
    assert len({tuple(tokens) for ((tokens, _),) in together.values()}) > 30


@UNDER
def test_votes_are_identical_to_the_bit_whatever_happens_around_them(qwen2, sizes, sampling):
    rng = np.random.default_rng(0)
    forced = [(rng.integers(0, VOCAB, n).tolist(), m) for n, m in ((3, 5), (11, 8))]
    requests = votes(rng, 64)
    plain = run(one_device(*qwen2, sizes, sampling, seed=9), requests, forced)
    assert len(plain) == 64
    for trial in range(2):
        shuffled = [
            (prompt, [i], keywords) for prompt, ids, keywords in requests for i in rng.permutation(ids).tolist()
        ]
        rng.shuffle(shuffled)
        delay = rng.integers(0, 7, (64, 2))
        row = {sample_id: r for r, sample_id in enumerate(plain)}
        engine = one_device(*qwen2, sizes, sampling, seed=9)
        # Other company in the slots, admitted first.
        extra = [(p, [2**60 + k], kw) for k, (p, _, kw) in enumerate(votes(rng, 40 * trial))]
        other = run(engine, extra + shuffled, forced, lambda i, k, delay=delay, row=row: delay[row.get(i, 0), k])
        for sample_id, stretches in plain.items():
            for (tokens, logprobs), (tokens2, logprobs2) in zip(stretches, other[sample_id], strict=True):
                assert tokens == tokens2
                assert logprobs.tobytes() == logprobs2.tobytes()


@pytest.mark.parametrize(
    "sizes, other",
    [
        pytest.param(SHARED, dict(decode_steps=7, slots=8, in_flight=1), id="shared"),
        pytest.param(SIZES, dict(decode_steps=7, slots=24, in_flight=2), id="dense", marks=pytest.mark.slow),
        pytest.param(SHARED, dict(slots=48, slot_groups=1), id="shared, more", marks=pytest.mark.slow),
        pytest.param(SIZES, dict(slots=48, slot_groups=1), id="dense, more", marks=pytest.mark.slow),
    ],
)
def test_tokens_do_not_depend_on_decode_steps_slots_or_what_is_under_way(qwen2, sizes, other):
    requests = votes(np.random.default_rng(4), 128)
    forced = [([5, 6, 7], 6)]
    plain, changed = (
        run(one_device(*qwen2, each, WARM, seed=2), requests, forced)
        for each in (sizes, dataclasses.replace(sizes, **other))
    )
    assert len(plain) == 128
    for sample_id, stretches in plain.items():
        assert [t for t, _ in stretches] == [t for t, _ in changed[sample_id]]


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(SIZES, id="dense"),
        pytest.param(dataclasses.replace(SHARED, prefix_tokens=60, own_tokens=60), id="shared", marks=pytest.mark.slow),
    ],
)
def test_caches_that_grow_give_the_bits_of_caches_that_do_not(qwen2, sizes):
    sizes = dataclasses.replace(sizes, attend_span=8)
    rng = np.random.default_rng(6)
    forced = [(rng.integers(0, VOCAB, n).tolist(), m) for n, m in ((3, 5), (11, 8))]
    requests = votes(rng, 128)
    grown = one_device(*qwen2, dataclasses.replace(sizes, first_entries=16), WARM, seed=9)
    before = [runner.entries for runner in grown._runners]
    assert all(own == 16 and prefix in (0, 16) for own, prefix in before)
    found = run(grown, requests, forced)
    assert all(now > then for now, then in zip((r.entries for r in grown._runners), before, strict=True))
    plain = run(one_device(*qwen2, sizes, WARM, seed=9), requests, forced)
    assert len(plain) == 128
    for sample_id, stretches in plain.items():
        for (tokens, logprobs), (tokens2, logprobs2) in zip(stretches, found[sample_id], strict=True):
            assert tokens == tokens2 and logprobs.tobytes() == logprobs2.tobytes()


def test_shared_tokens_are_the_dense_ones(qwen2):
    requests = votes(np.random.default_rng(5), 128)
    forced = [([5, 6, 7], 6), ([9] * 11, 4)]
    dense, shared = (run(one_device(*qwen2, sizes, WARM, seed=2), requests, forced) for sizes in (SIZES, SHARED))
    assert len(dense) == 128
    for sample_id, stretches in dense.items():
        for (tokens, logprobs), (tokens2, logprobs2) in zip(stretches, shared[sample_id], strict=True):
            assert tokens == tokens2
            np.testing.assert_allclose(logprobs, logprobs2, atol=1e-4)


def test_a_continued_sample_equals_one_long_prompt(qwen2):
    """Three generations of a forking conversation, with siblings still running in the same row."""
    model, params = qwen2
    engine = one_device(*qwen2, SHARED, GREEDY, seed=0)
    prompt, parent, tokens = [4, 9, 11], None, {}
    for step in range(3):
        ids = range(10 * step, 10 * step + 4)
        handles = engine.submit(prompt, ids, max_tokens=6, logprob_ids=(2,), parent=parent)
        if parent is not None:
            engine.release(parent)
        events = {}
        while handles[0] not in events:
            events |= {event.handle: event for event in engine.poll()}
        wanted = greedy_continuation(model, params, prompt, 6)
        full = full_log_probabilities(model, params, prompt + wanted)
        for event in events.values():
            if event.handle in handles:
                assert event.tokens == wanted
                np.testing.assert_allclose(event.logprobs, full[-7:-1][:, [2]], atol=1e-4)
            if event.handle != handles[0]:
                engine.release(event.handle)
        parent, tokens = handles[0], prompt + wanted
        prompt = [*tokens, 1, 2, 3]
    assert engine.stats.promoted > 0
    assert engine.stats.prefilled < 3 + 2 * 6, "history is not fed again"


def test_a_stop_string_over_several_tokens_and_false_alarms(qwen2):
    """A stop is tokens (a, b); b alone is a false alarm and leaves no trace."""
    requests = [([5, 9, 2], range(24), dict(max_tokens=30, logprob_ids=(3,)))]
    free = run(one_device(*qwen2, SIZES, WARM, seed=4), requests)
    pairs = [pair for ((t, _),) in free.values() for pair in zip(t, t[1:], strict=False)]
    first, last = max(set(pairs), key=pairs.count)
    asked = []

    def stop_when(drawn):
        asked.append(tuple(drawn))
        return tuple(drawn[-2:]) == (first, last)

    for sizes in (SIZES, dataclasses.replace(SIZES, in_flight=2), SHARED):
        asked.clear()
        engine = one_device(*qwen2, sizes, WARM, seed=4, triggers=[last])
        keywords = requests[0][2] | dict(stop_when=stop_when)
        out = run(engine, [(requests[0][0], requests[0][1], keywords)])
        alarms = 0
        for sample_id, ((tokens, logprobs),) in out.items():
            ((whole, log_probabilities),) = free[sample_id]
            pair = zip(whole, whole[1:], strict=False)
            ends = [i + 2 for i, p in enumerate(pair) if p == (first, last)]
            end = ends[0] if ends else len(whole)
            assert tokens == whole[:end]
            np.testing.assert_allclose(logprobs, log_probabilities[:end], atol=1e-5)
            alarms += whole[:end].count(last)
        assert len(asked) == alarms > len(out), "each trigger is asked about once"
