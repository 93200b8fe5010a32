"""Sampling from a model that another program serves: vLLM, sglang or sglang-jax, over OpenAI's protocol.

Enter by `OpenAISampler(url, codec, sampling, stop_texts=...)`, which is used like
`jprm.sample.Engine`: `submit`, `poll`, `extend`, `release`.

    sampler      conversations, threads and events: the public face
    turn         the completions of one turn, cut where the engine would stop
    dialect      what a server has and can do, found out at the start
    completions  one request to /v1/completions, and what its answer says
"""

from jprm.openai.dialect import Dialect
from jprm.openai.sampler import OpenAISampler
from jprm.openai.turn import ServerStats
