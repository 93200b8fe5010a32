"""Sampling from a model that another program serves: vLLM, sglang or sglang-jax, over HTTP.

Enter by `ServedSampler(url, codec, sampling, stop_texts=...)`, which is used like
`jprm.sample.Engine`: `submit`, `poll`, `extend`, `release`.

    sampler      conversations, threads, events: the public face
    turn         completions, cut where the engine would stop
    dialect      what a server can do, found out at the start
    listing      its models; its refusals in words
    completions  one request to /v1/completions, and what its answer says
"""

from jprm.served.dialect import Dialect
from jprm.served.sampler import Event, ServedSampler
from jprm.served.turn import Stats

__all__ = ["Dialect", "Event", "ServedSampler", "Stats"]
