"""Sampling: prompts in, tokens and log-probabilities out, many sequences side by side.

Enter by `Engine(model, params, EngineConfig(...), SamplingParams(...), seed)`. `submit` a prompt
with sample ids, `poll` for events, `extend` a stopped handle with forced tokens (templates, output
of code) or `release` it.

    engine    the public face; one thread for each bank of lanes
    request   what callers ask for, checked, and the events they get
    schedule  queue, handles, which sample is in which lane       (no JAX)
    bank      the lanes of one cache as tapes of tokens           (no JAX)
    decode    feed, clone, decode, on the device; pure functions
    draw      from logits to a token
    config    SamplingParams, EngineConfig

A sample depends on the parameters, the seed, its id and its own tokens alone: to the bit, for fixed
engine sizes and f32.
"""

from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.engine import Engine
from jprm.sample.request import Event
from jprm.sample.schedule import Stats

__all__ = ["Engine", "EngineConfig", "Event", "SamplingParams", "Stats"]
