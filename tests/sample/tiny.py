"""Tiny models, a plain full forward pass to compare with, and a loop that runs requests to their end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jprm.models import ModelConfig, segment_attention
from jprm.sample import Engine, EngineConfig, SamplingParams

VOCAB = 61
QWEN2 = ModelConfig(VOCAB, n_layers=2, embed=32, n_heads=4, n_kv_heads=2, head_dim=8, mlp=48)
FAMILIES = {
    "qwen2": QWEN2,
    "qwen3": dataclasses.replace(QWEN2, qkv_bias=False, qk_norm=True, n_kv_heads=4),
    "llama": dataclasses.replace(QWEN2, qkv_bias=False, tied=False, n_kv_heads=1, norm_eps=1e-5),
}
SIZES = EngineConfig(slots=16, slot_groups=2, context_tokens=64, decode_steps=4, block_tokens=8)
SHARED = dataclasses.replace(SIZES, prefix_rows=6, row_slots=3, prefix_tokens=30, own_tokens=50, in_flight=2)
BOTH = pytest.mark.parametrize("sizes", [SIZES, SHARED], ids=["dense", "shared"])
GREEDY, WARM, TOP_K = SamplingParams(0), SamplingParams(0.8, 0, 0.95), SamplingParams(0.6, 20, 0.95)


def one_device(*arguments, **keywords):
    """An engine on the first of the virtual devices: each one more compiles everything again."""
    return Engine(*arguments, devices=jax.devices()[:1], **keywords)


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
    logprobs), ...]}.

    requests: (prompt, sample ids, submit's keywords). delays(sample id, stretch) polls pass before
    a text is forced.
    """
    out, stretch, waiting, polls = {}, {}, [], 0
    for prompt, ids, keywords in requests:
        for handle in engine.submit(prompt, ids, **keywords):
            stretch[handle] = 0
    while stretch:
        for event in engine.poll():
            out.setdefault(event.sample_id, []).append((event.tokens, event.logprobs))
            assert len(event.tokens) == len(event.logprobs)
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
    while engine.busy:  # a visit under way when the last event came
        assert engine.poll() == []
    return out


def votes(rng, n):
    """n samples of several prompts, some prompts shared; ids of 63 bits."""
    ids = [int(i) for i in rng.integers(0, 2**63 - 1, n)]
    requests = []
    while ids:
        prompt = rng.integers(0, VOCAB, int(rng.integers(2, 24))).tolist()
        take = int(rng.integers(1, 9))
        requests.append((prompt, ids[:take], dict(max_tokens=12, stops=(1, 2, 3), logprob_ids=(1, 40))))
        ids = ids[take:]
    return requests
