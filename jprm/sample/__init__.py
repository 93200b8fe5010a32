"""Sampling: prompts in, tokens and log-probabilities out, many sequences side by side.

Enter by `Engine(model, params, EngineConfig(...), SamplingParams(...), seed)`. `submit` a prompt
with sample ids, `poll` for events, `extend` a stopped handle with forced tokens (templates, output
of code) or `release` it.

    engine    the public face
    request   what callers ask for, checked, and the events they get
    schedule  queue, handles, which sample is in which lane       (no JAX)
    bank      the lanes of one cache as tapes of tokens           (no JAX)
    prefix    which prompt is in which shared row                 (no JAX)
    device    a bank's caches and weights on its device, and the programs of a visit
    decode    feed, copy, promote, decode, on the device; pure functions
    attend    attention in parts that merge by log-sum-exp
    draw      from logits to a token
    plan      what fits into memory
    config    SamplingParams, EngineConfig

A sample depends on the parameters, the seed, its id and its own tokens alone: to the bit, for fixed
engine sizes and f32.
"""

from jprm.sample.config import EngineConfig, SamplingParams
from jprm.sample.engine import Engine
from jprm.sample.plan import MemoryPlan
from jprm.sample.request import Event
from jprm.sample.schedule import Progress, Stats

__all__ = ["Engine", "EngineConfig", "Event", "MemoryPlan", "Progress", "SamplingParams", "Stats"]
