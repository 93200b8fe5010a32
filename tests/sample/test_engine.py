"""The engine on tiny models against the plain full forward pass, and against itself under other
circumstances.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.errors import UserError
from jprm.mesh import Rules
from jprm.models import ModelConfig, bind, segment_attention
from jprm.sample import Engine, EngineConfig, SamplingParams, decode
from jprm.sample.bank import Bank

VOCAB = 61
QWEN2 = ModelConfig(VOCAB, n_layers=2, embed=32, n_heads=4, n_kv_heads=2, head_dim=8, mlp=48)
FAMILIES = {
    "qwen2": QWEN2,
    "qwen3": dataclasses.replace(QWEN2, qkv_bias=False, qk_norm=True, n_kv_heads=4),
    "llama": dataclasses.replace(QWEN2, qkv_bias=False, tied=False, n_kv_heads=1, norm_eps=1e-5),
}
SIZES = EngineConfig(lanes=16, banks=2, context_tokens=64, chunk_steps=4, block_tokens=8)
SHARED = dataclasses.replace(
    SIZES, prefix_rows=6, row_lanes=3, prefix_tokens=30, own_tokens=50, in_flight=2
)
BOTH = pytest.mark.parametrize("sizes", [SIZES, SHARED], ids=["dense", "shared"])
GREEDY, WARM = SamplingParams(0), SamplingParams(0.8, 0, 0.95)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    model = bind(FAMILIES[request.param], Rules())
    return model, model.init(3)


@pytest.fixture(scope="module")
def qwen2():
    model = bind(QWEN2, Rules())
    # Biases start at zero; give them values, or nothing here would see them.
    noise = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)  # noqa: E731
    params = model.init(3)
    layers = {
        name: noise(x) if name.endswith("bias") else x for name, x in params["layers"].items()
    }
    return model, params | {"layers": layers}


def full_log_probabilities(model, params, tokens):
    """Log-probabilities at every position of one sequence, without any cache."""
    padded = np.zeros((1, SIZES.context_tokens), np.int32)  # one shape, one compilation
    padded[0, : len(tokens)] = tokens
    segments = jnp.arange(padded.shape[1])[None] < len(tokens)

    @jax.jit
    def forward(params, ids, segments):
        positions = jnp.arange(ids.shape[1])[None]
        h = model.hidden(params, ids, positions, segment_attention(segments.astype(jnp.int32)))
        return jax.nn.log_softmax(model.logits(params, h)[0])

    key = id(model)
    forward = _COMPILED.setdefault(key, forward)
    return np.asarray(forward(params, padded, segments))[: len(tokens)]


_COMPILED = {}


def greedy_continuation(model, params, tokens, n):
    tokens = list(tokens)
    for _ in range(n):
        tokens.append(int(full_log_probabilities(model, params, tokens)[-1].argmax()))
    return tokens[-n:]


def run(engine, requests, forced=(), delays=None):
    """Draw every request; feed each sample the forced texts in turn. Returns {sample id: [(tokens,
    watched), ...]}.

    requests: (prompt, sample ids, submit's keywords). delays(sample id, stretch) polls pass before
    a text is forced.
    """
    out, stretch, waiting, polls = {}, {}, [], 0
    for prompt, ids, keywords in requests:
        for handle in engine.submit(prompt, ids, **keywords):
            stretch[handle] = 0
    while stretch:
        for event in engine.poll():
            out.setdefault(event.sample_id, []).append((event.tokens, event.watched))
            assert len(event.tokens) == len(event.watched)
            done = stretch[event.handle] == len(forced)
            if done:
                engine.release(event.handle)
                del stretch[event.handle]
            else:
                delay = delays(event.sample_id, stretch[event.handle]) if delays else 0
                waiting.append((polls + delay, event.handle))
        for due, handle in [w for w in waiting if w[0] <= polls]:
            waiting.remove((due, handle))
            tokens, max_tokens = forced[stretch[handle]]
            stretch[handle] += 1
            engine.extend(handle, tokens, max_tokens=max_tokens)
        polls += 1
        assert polls < 10_000
    while engine.busy:  # a chunk under way when the last event came
        assert engine.poll() == []
    return out


@BOTH
def test_greedy_tokens_and_watched_log_probabilities_are_the_full_forward(family, sizes):
    model, params = family
    engine = Engine(model, params, sizes, GREEDY, seed=0)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, VOCAB, n).tolist() for n in (1, 2, 8, 9, 25)]
    keywords = dict(max_tokens=9, watch=(7, 50))
    out = run(engine, [(prompt, [i], keywords) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        ((tokens, watched),) = out[i]
        assert tokens == greedy_continuation(model, params, prompt, 9)
        full = full_log_probabilities(model, params, prompt + tokens)
        np.testing.assert_allclose(watched, full[len(prompt) - 1 : -1][:, [7, 50]], atol=1e-4)


@BOTH
@pytest.mark.parametrize("n_forced", [1, 3, 4, 8, 20])
def test_forced_tokens_equal_one_long_prompt(qwen2, sizes, n_forced):
    model, params = qwen2
    rng = np.random.default_rng(n_forced)
    prompt, forced = rng.integers(0, VOCAB, 11).tolist(), rng.integers(0, VOCAB, n_forced).tolist()
    engine = Engine(model, params, sizes, GREEDY, seed=0)
    out = run(engine, [(prompt, [5], dict(max_tokens=6, watch=(2,)))], forced=[(forced, 7)])
    (first, _), (second, watched) = out[5]
    assert second == greedy_continuation(model, params, prompt + first + forced, 7)
    full = full_log_probabilities(model, params, prompt + first + forced + second)
    np.testing.assert_allclose(watched, full[-8:-1][:, [2]], atol=1e-4)


@BOTH
def test_clones_equal_separate_requests(qwen2, sizes):
    prompt, keywords = list(range(20)), dict(max_tokens=20, stops=(3, 4), watch=(3,))
    together = run(Engine(*qwen2, sizes, WARM, seed=1), [(prompt, range(40), keywords)])
    alone = run(Engine(*qwen2, sizes, WARM, seed=1), [(prompt, [i], keywords) for i in range(40)])
    assert len(together) == 40
    for i in range(40):
        assert together[i][0][0] == alone[i][0][0]
        assert together[i][0][1].tobytes() == alone[i][0][1].tobytes()
    assert len({tuple(tokens) for ((tokens, _),) in together.values()}) > 30


def test_stops_end_a_stretch_only_when_drawn(qwen2):
    model, params = qwen2
    engine = Engine(model, params, SIZES, GREEDY, seed=0)
    prompt = [5, 9, 2]
    wanted = greedy_continuation(model, params, prompt, 6)
    stop = wanted[3]
    cut = wanted.index(stop) + 1
    (handle,) = engine.submit(prompt, [1], max_tokens=6, stops=(stop,))
    (event,) = _next_events(engine)
    assert (event.tokens, event.finish) == (wanted[:cut], "stop")
    engine.extend(handle, [stop] * 3, max_tokens=0)
    (event,) = _next_events(engine)
    assert (event.tokens, event.finish, event.watched.shape) == ([], "length", (0, 0))
    engine.extend(handle, [stop], max_tokens=1)
    (event,) = _next_events(engine)
    assert event.tokens == greedy_continuation(model, params, prompt + wanted[:cut] + [stop] * 4, 1)
    engine.release(handle)


def _next_events(engine):
    while engine.busy:
        if events := engine.poll():
            return events
    return []


def votes(rng, n):
    """n samples of several prompts, some prompts shared; ids of 63 bits."""
    ids = [int(i) for i in rng.integers(0, 2**63 - 1, n)]
    requests = []
    while ids:
        prompt = rng.integers(0, VOCAB, int(rng.integers(2, 24))).tolist()
        take = int(rng.integers(1, 9))
        requests.append((prompt, ids[:take], dict(max_tokens=12, stops=(1, 2, 3), watch=(1, 40))))
        ids = ids[take:]
    return requests


TOP_K = SamplingParams(0.6, 20, 0.95)
UNDER = pytest.mark.parametrize(
    "sizes, sampling",
    [
        pytest.param(SIZES, WARM, id="dense"),
        pytest.param(SHARED, TOP_K, id="shared"),
        pytest.param(SIZES, TOP_K, id="dense, top-k", marks=pytest.mark.slow),
        pytest.param(SHARED, WARM, id="shared, no top-k", marks=pytest.mark.slow),
    ],
)


@UNDER
def test_votes_are_identical_to_the_bit_whatever_happens_around_them(qwen2, sizes, sampling):
    rng = np.random.default_rng(0)
    forced = [(rng.integers(0, VOCAB, n).tolist(), m) for n, m in ((3, 5), (11, 8))]
    requests = votes(rng, 256)
    plain = run(Engine(*qwen2, sizes, sampling, seed=9), requests, forced)
    assert len(plain) == 256
    for trial in range(2):
        shuffled = [
            (prompt, [i], keywords)
            for prompt, ids, keywords in requests
            for i in rng.permutation(ids).tolist()
        ]
        rng.shuffle(shuffled)
        delay = rng.integers(0, 7, (256, 2))
        row = {sample_id: r for r, sample_id in enumerate(plain)}
        engine = Engine(*qwen2, sizes, sampling, seed=9)
        # Other company in the lanes, admitted first.
        extra = [(p, [2**60 + k], kw) for k, (p, _, kw) in enumerate(votes(rng, 40 * trial))]
        other = run(
            engine,
            extra + shuffled,
            forced,
            lambda i, k, delay=delay, row=row: delay[row.get(i, 0), k],
        )
        for sample_id, stretches in plain.items():
            for (tokens, watched), (tokens2, watched2) in zip(
                stretches, other[sample_id], strict=True
            ):
                assert tokens == tokens2
                assert watched.tobytes() == watched2.tobytes()


@pytest.mark.parametrize(
    "sizes, other",
    [
        pytest.param(SHARED, dict(chunk_steps=7, lanes=8, in_flight=1), id="shared"),
        pytest.param(SIZES, dict(chunk_steps=7, lanes=24, in_flight=2), id="dense"),
        pytest.param(SHARED, dict(lanes=48, banks=1), id="shared, more", marks=pytest.mark.slow),
        pytest.param(SIZES, dict(lanes=48, banks=1), id="dense, more", marks=pytest.mark.slow),
    ],
)
def test_tokens_do_not_depend_on_chunks_lanes_or_what_is_under_way(qwen2, sizes, other):
    requests = votes(np.random.default_rng(4), 256)
    forced = [([5, 6, 7], 6)]
    plain, changed = (
        run(Engine(*qwen2, each, WARM, seed=2), requests, forced)
        for each in (sizes, dataclasses.replace(sizes, **other))
    )
    assert len(plain) == 256
    for sample_id, stretches in plain.items():
        assert [t for t, _ in stretches] == [t for t, _ in changed[sample_id]]


def test_shared_tokens_are_the_dense_ones(qwen2):
    requests = votes(np.random.default_rng(5), 128)
    forced = [([5, 6, 7], 6), ([9] * 11, 4)]
    dense, shared = (
        run(Engine(*qwen2, sizes, WARM, seed=2), requests, forced) for sizes in (SIZES, SHARED)
    )
    assert len(dense) == 128
    for sample_id, stretches in dense.items():
        for (tokens, watched), (tokens2, watched2) in zip(
            stretches, shared[sample_id], strict=True
        ):
            assert tokens == tokens2
            np.testing.assert_allclose(watched, watched2, atol=1e-4)


def test_a_continued_sample_equals_one_long_prompt(qwen2):
    """Three generations of a forking conversation, with siblings still running in the same row."""
    model, params = qwen2
    engine = Engine(*qwen2, SHARED, GREEDY, seed=0)
    prompt, parent, tokens = [4, 9, 11], None, {}
    for step in range(3):
        ids = range(10 * step, 10 * step + 4)
        handles = engine.submit(prompt, ids, max_tokens=6, watch=(2,), parent=parent)
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
                np.testing.assert_allclose(event.watched, full[-7:-1][:, [2]], atol=1e-4)
            if event.handle != handles[0]:
                engine.release(event.handle)
        parent, tokens = handles[0], prompt + wanted
        prompt = [*tokens, 1, 2, 3]
    assert engine.stats.promoted > 0
    assert engine.stats.prefilled < 3 + 2 * 6, "history is not fed again"


def test_a_stop_string_over_several_tokens_and_false_alarms(qwen2):
    """A stop is tokens (a, b); b alone is a false alarm and leaves no trace."""
    requests = [([5, 9, 2], range(24), dict(max_tokens=30, watch=(3,)))]
    free = run(Engine(*qwen2, SIZES, WARM, seed=4), requests)
    pairs = [pair for ((t, _),) in free.values() for pair in zip(t, t[1:], strict=False)]
    first, last = max(set(pairs), key=pairs.count)
    asked = []

    def stop_when(drawn):
        asked.append(tuple(drawn))
        return tuple(drawn[-2:]) == (first, last)

    for sizes in (SIZES, dataclasses.replace(SIZES, in_flight=2), SHARED):
        asked.clear()
        engine = Engine(*qwen2, sizes, WARM, seed=4, triggers=[last])
        keywords = requests[0][2] | dict(stop_when=stop_when)
        out = run(engine, [(requests[0][0], requests[0][1], keywords)])
        alarms = 0
        for sample_id, ((tokens, watched),) in out.items():
            ((whole, log_probabilities),) = free[sample_id]
            pair = zip(whole, whole[1:], strict=False)
            ends = [i + 2 for i, p in enumerate(pair) if p == (first, last)]
            end = ends[0] if ends else len(whole)
            assert tokens == whole[:end]
            np.testing.assert_allclose(watched, log_probabilities[:end], atol=1e-5)
            alarms += whole[:end].count(last)
        assert len(asked) == alarms > len(out), "each trigger is asked about once"


def test_seed_and_sample_id_change_the_draws(qwen2):
    def tokens(seed, sample_id):
        return run(Engine(*qwen2, SIZES, WARM, seed), [([1, 2], [sample_id], dict(max_tokens=16))])[
            sample_id
        ][0][0]

    drawn = [tokens(1, 5), tokens(2, 5), tokens(1 << 40, 5), tokens(1, 6), tokens(1, 5 << 32)]
    assert len(set(map(tuple, drawn))) == 5
    assert tokens(1, 5) == drawn[0]


def test_equal_sample_ids_are_equal_samples(qwen2):
    engine = Engine(*qwen2, SIZES, WARM, seed=1)
    handles = engine.submit([1, 2, 3], [7, 7, 7], max_tokens=10)
    tokens = {}
    while len(tokens) < 3:
        tokens |= {event.handle: event.tokens for event in engine.poll()}
    assert len(handles) == 3 and tokens[handles[0]] == tokens[handles[1]] == tokens[handles[2]]


@BOTH
def test_nothing_compiles_after_the_engine_is_made(qwen2, sizes):
    programs = [decode.prefill, decode.clone, decode.chunk]
    programs += [decode.promote] if sizes.prefix_rows else []
    fresh = dataclasses.replace(sizes, lanes=6, context_tokens=56)  # of no other test
    counts = [program._cache_size() for program in programs]
    engine = Engine(*qwen2, fresh, WARM, seed=1)
    before = [program._cache_size() for program in programs]
    assert before[-1] > counts[-1]
    run(engine, votes(np.random.default_rng(7), 50), [([4] * 12, 3), ([4], 2)])
    Engine(*qwen2, fresh, WARM, seed=2)
    assert [program._cache_size() for program in programs] == before


@BOTH
def test_the_compiled_chunk_copies_no_cache(qwen2, sizes):
    model, params = qwen2
    device = jax.devices()[0]
    own = decode.new_cache(model, 8, 64, jnp.float32, device)
    rows = decode.new_cache(model, 4, 32, jnp.float32, device) if sizes.prefix_rows else None
    work = Bank(dataclasses.replace(sizes, lanes=8, banks=1, prefix_rows=4 if rows else 0)).work()
    names = decode.LaneInputs._fields[5:]
    lanes = decode.LaneInputs(
        *(getattr(work, name) for name in decode.LaneInputs._fields[:5]),
        np.zeros((8, 2), np.uint32),
        *(getattr(work, name) for name in names[1:]),
    )
    carry = decode.Carry(np.zeros(8, np.int32), np.zeros(8, bool))
    triggers, seed = np.zeros(VOCAB, bool), np.zeros(2, np.uint32)
    arguments = model, WARM, params, own, rows, lanes, carry, triggers, seed
    compiled = decode.chunk.lower(*arguments).compile()
    shapes = {"8,2,64,8", "4,2,32,8"}
    copies = re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|copy-start)\(", compiled.as_text())
    assert not shapes & set(copies)
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(own)]
    own, _, _ = decode.chunk(*arguments)
    assert [x.unsafe_buffer_pointer() for x in jax.tree.leaves(own)] == pointers


def test_the_cache_is_updated_in_place(qwen2):
    model, params = qwen2
    cache, own = (decode.new_cache(model, 8, 64, jnp.float32, jax.devices()[0]) for _ in range(2))
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(cache)]
    ids, eight = np.zeros((4, 8), np.int32), np.arange(8, dtype=np.int32)
    cache = decode.prefill(model, params, cache, ids, np.arange(4), np.zeros(4, np.int32), 4)
    cache = decode.clone(cache, np.zeros(8, np.int32), eight, 8)
    cache = decode.promote(cache, own, eight, eight, eight, eight + 3, 8)
    assert [x.unsafe_buffer_pointer() for x in jax.tree.leaves(cache)] == pointers


def test_stats_count_tokens(qwen2):
    engine = Engine(*qwen2, SIZES, GREEDY, seed=0)
    out = run(engine, [([1] * 9, range(4), dict(max_tokens=5))], [([2] * 3, 2)])
    stats = engine.stats
    assert (
        stats.generated == 4 * 7 == sum(len(t) for stretches in out.values() for t, _ in stretches)
    )
    assert stats.forced == 4 * 3
    assert stats.prefilled + stats.cloned >= 4 * 8
    assert stats.lane_steps >= stats.generated and stats.device_s > 0


def test_bad_requests_raise_before_anything_runs(qwen2):
    engine = Engine(*qwen2, SIZES, GREEDY, seed=0)
    with pytest.raises(UserError, match="60 tokens.*max_tokens = 5.*context_tokens = 64"):
        engine.submit([1] * 60, [1], max_tokens=5)
    with pytest.raises(UserError, match="watch id 61"):
        engine.submit([1], [1], max_tokens=5, watch=(61,))
    assert not engine.busy and engine.poll() == []
    with pytest.raises(UserError, match="multiple of banks"):
        EngineConfig(lanes=5, banks=2)
    with pytest.raises(UserError, match="seed"):
        Engine(*qwen2, SIZES, GREEDY, seed=-1)


@pytest.mark.parametrize("sampling", [GREEDY, WARM, SamplingParams(1, 5)])
def test_logits_that_are_not_finite_are_reported(qwen2, sampling):
    model, params = qwen2
    broken = params | {"norm": params["norm"] * jnp.nan}
    engine = Engine(model, broken, SIZES, sampling, seed=0)
    engine.submit([1], [1], max_tokens=3)
    with pytest.raises(FloatingPointError, match="not finite"):
        while engine.busy:
            engine.poll()
