"""Sampling: prompts in, tokens and log-probabilities out, many sequences side by side.

Enter by `Engine(model, params, EngineConfig(...), SamplingParams(...), seed)`: `submit` a prompt
with sample ids, `poll` for events, `extend` a stopped handle with forced tokens (templates, output
of code) or `release` it.

    engine    the public face: banks of lanes, one thread each
    schedule  what runs where, on the host; no JAX
    decode    prefill, clone, decode chunk, on the device; pure functions
    draw      from logits to a token
    config    SamplingParams, EngineConfig

A vote depends on (parameters, seed, sample id, its own tokens) alone, to the bit, for fixed engine
sizes and f32.
"""

from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.engine import Engine
from jprm.sample.schedule import Event, Stats

__all__ = ["Engine", "EngineConfig", "Event", "SamplingParams", "Stats"]
