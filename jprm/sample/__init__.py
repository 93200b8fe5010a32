"""Sampling: prompts in, tokens and log-probabilities out, many sequences side by side.

Enter by `Engine(model, params, EngineConfig(...), SamplingParams(...), seed)`. Call `submit` with a
prompt and sample ids, `poll` for events, then `extend` a stopped handle with forced tokens (a
template, the output of code) or `release` it.

    engine    the public face: drives the devices from the scheduler's work
    schedule  the queue, the handles, and which sample is in which slot        (no JAX)
    slots     one slot group as token buffers, and the work of its next visit  (no JAX)
    prefix    requests, and which prompt is in which shared row                (no JAX)
    config    the sizes of the engine                                          (no JAX)
    device    a slot group's caches and weights on its device
    decode    prefill, copies and decode steps on the device; pure functions
    attend    attention in parts that merge by log-sum-exp; pure functions
    draw      from logits to a token; pure functions
    memory    what fits into a device

A sample depends on the parameters, the seed, its id and its own tokens alone: to the bit, for fixed
engine sizes and f32.
"""

from jprm.sample.config import EngineConfig
from jprm.sample.engine import Engine
from jprm.sample.memory import EngineMemory
from jprm.sample.schedule import EngineProgress
from jprm.sample.slots import EngineStats
from jprm.sampling import SampleEvent, SamplingParams
