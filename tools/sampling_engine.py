"""The engine of jprm in the sampling benchmark. Started by `bench_sampling.py`.

decode, tools       the workloads that the peers run, too
curve               tokens per second and cost of a vote for N = 1 .. 128 votes of one prompt
rollouts            prompts of 64 tokens with 32 to 128 samples each, about 40 tokens a sample (a stop
                    or 60 tokens end it)
verification        prompts of 76 tokens with 8 votes each; 3 rounds of 20 to 36 generated tokens, a
                    tool that takes 20 ms, 3 forced tokens, 2 generated ones, 16 forced ones

The last two are those of the default sweep, at its model sizes. Weights are random: only lengths
matter here.
"""

import dataclasses
import heapq
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from sampling_workloads import (
    FORCED_CODE,
    FORCED_OUTPUT,
    JUDGE_TOKENS,
    MAX_PROMPT,
    NEW_TOKENS,
    SHAPE,
    TEMPERATURE,
    TOOL_S,
    TOP_K,
    TOP_P,
    VOTES,
    Group,
    Row,
    Vote,
    prompt_of,
    timed,
    tool_groups,
)

from jprm.mesh import Rules
from jprm.models import ModelConfig, bind, decode_flops, preset
from jprm.sample import Engine, EngineConfig, SamplingParams

SAMPLING = SamplingParams(TEMPERATURE, TOP_K, TOP_P)
CURVE = (1, 2, 4, 8, 16, 32, 64, 128)
SWEEP_VOCAB = 330
ROUNDS = 3


def _model(config: ModelConfig):
    model = bind(config, Rules())
    return model, model.init(0)


def votes_engine(model, params, prompt_tokens: int, votes: int, **sizes) -> Engine:
    """An engine with a slot for each vote, all on one row."""
    config = EngineConfig(
        slots=votes,
        slot_groups=1,
        context_tokens=prompt_tokens + NEW_TOKENS,
        block_tokens=64,
        prefix_rows=1,
        row_slots=votes,
        prefix_tokens=prompt_tokens,
        own_tokens=NEW_TOKENS,
        max_logprob_ids=0,
    )
    return Engine(model, params, dataclasses.replace(config, **sizes), SAMPLING, seed=1)


def drain(engine: Engine) -> None:
    """Run until nothing is left, releasing every handle at its event."""
    while engine.busy:
        for event in engine.poll():
            engine.release(event.handle)


def decode(engine: Engine, prompt_tokens: int, votes: int) -> int:
    """`votes` samples of one prompt."""
    before = engine.stats.generated
    prompt = prompt_of(np.random.default_rng(0), prompt_tokens)
    engine.submit(prompt, range(votes), max_tokens=NEW_TOKENS)
    drain(engine)
    return engine.stats.generated - before


def tool_engine(model, params) -> Engine:
    """64 slots, rows for groups of 8: 8 full ones, and some that linger with a few votes."""
    config = EngineConfig(
        slots=64,
        slot_groups=1,
        context_tokens=MAX_PROMPT + 224,
        decode_steps=4,
        block_tokens=64,
        prefix_rows=11,
        row_slots=8,
        prefix_tokens=MAX_PROMPT,
        own_tokens=224,
        max_logprob_ids=0,
    )
    return Engine(model, params, config, SAMPLING, seed=1)


def tools(engine: Engine, groups: list[Group], tool_s: float = TOOL_S) -> int:
    """Every vote: analysis, forced code opening, code, tool, forced output, judgement."""
    votes: dict[int, Vote] = {}
    stage: dict[int, int] = {}
    running_tools: list[tuple[float, int]] = []
    for g, group in enumerate(groups):
        lengths = [vote.analysis for vote in group.votes]
        ids = range(g << 32, (g << 32) + len(lengths))
        handles = engine.submit(group.prompt, ids, max_tokens=lengths)
        votes |= zip(handles, group.votes, strict=True)
    while votes:
        for event in engine.poll():
            handle, vote = event.handle, votes[event.handle]
            stage[handle] = stage.get(handle, 0) + 1
            if stage[handle] == 1:
                engine.extend(handle, [5] * FORCED_CODE, max_tokens=vote.code)
            elif stage[handle] == 2:
                heapq.heappush(running_tools, (time.perf_counter() + tool_s, handle))
            else:
                engine.release(handle)
                del votes[handle]
        while running_tools and (running_tools[0][0] < time.perf_counter() or not engine.busy):
            due, handle = heapq.heappop(running_tools)
            time.sleep(max(0.0, due - time.perf_counter()))
            engine.extend(handle, [6] * FORCED_OUTPUT, max_tokens=JUDGE_TOKENS)
    return sum(vote.tokens for group in groups for vote in group.votes)


def sweep_engine(model, params, context_tokens: int, temperature: float, slots: int) -> Engine:
    """An engine as a sweep makes it."""
    config = EngineConfig(slots=slots, context_tokens=context_tokens)
    return Engine(model, params, config, SamplingParams(temperature), seed=1)


def _prompt(rng, n: int) -> list[int]:
    return rng.integers(10, SWEEP_VOCAB, n).tolist()


def _sample_ids(rng, n: int) -> list[int]:
    return rng.integers(0, 2**62, n).tolist()


def rollouts(engine: Engine, slots: int, seconds: float) -> int:
    """Keeps the queue full until the time is up."""
    rng, end, waiting = np.random.default_rng(0), time.perf_counter() + seconds, 0
    before = engine.stats.generated
    while time.perf_counter() < end:
        while waiting < slots:
            ids = _sample_ids(rng, int(rng.choice([32, 64, 128])))
            waiting += len(engine.submit(_prompt(rng, 64), ids, max_tokens=60, stops=range(8)))
        for event in engine.poll():
            engine.release(event.handle)
            waiting -= 1
    return engine.stats.generated - before


def verification(engine: Engine, slots: int, seconds: float) -> int:
    """Keeps the queue full; a vote alternates between analysis, tool and verdict."""
    rng, end = np.random.default_rng(0), time.perf_counter() + seconds
    before = engine.stats.generated
    analysis = lambda: int(rng.integers(20, 37))  # noqa: E731
    turns: dict[int, int] = {}
    running_tools: list[tuple[float, int]] = []
    while time.perf_counter() < end:
        while len(turns) < 2 * slots:
            handles = engine.submit(_prompt(rng, 76), _sample_ids(rng, 8), max_tokens=analysis(), logprob_ids=(1, 2))
            turns |= dict.fromkeys(handles, 0)
        for event in engine.poll():
            turn = turns[event.handle] = turns[event.handle] + 1
            if turn == 2 * ROUNDS:
                engine.release(event.handle)
                del turns[event.handle]
            elif turn % 2:
                heapq.heappush(running_tools, (time.perf_counter() + TOOL_S, event.handle))
            else:
                engine.extend(event.handle, _prompt(rng, 16), max_tokens=analysis())
        while running_tools and (running_tools[0][0] < time.perf_counter() or not engine.busy):
            due, handle = heapq.heappop(running_tools)
            time.sleep(max(0.0, due - time.perf_counter()))
            engine.extend(handle, [5, 6, 7], max_tokens=2)
    return engine.stats.generated - before


def ceilings() -> dict[str, float]:
    """What this core does at most: f32 matrix products, and reading memory."""
    a = jnp.ones((1024, 1024))
    product = jax.jit(lambda a: a @ a)
    big = np.ones(2**25, np.float32)

    def best(run, n=5):
        run()
        costs = []
        for _ in range(n):
            cpu = time.process_time()
            run()
            costs.append(time.process_time() - cpu)
        return min(costs)

    return {
        "matmul_gflops": round(2 * 1024**3 / best(lambda: product(a).block_until_ready()) / 1e9, 1),
        "read_gb_per_s": round(big.nbytes / best(lambda: big.max()) / 1e9, 1),
    }


def engine(quick: bool, preset_name: str, slots: int) -> Iterator[Row]:
    """Every row of jprm: peers' workloads, the curve in N, the sweep's workloads."""
    model, params = _model(ModelConfig(**SHAPE))
    for prompt_tokens in (256, 1024):
        for votes in (1, VOTES):
            here = votes_engine(model, params, prompt_tokens, votes)
            decode(here, prompt_tokens, votes)
            name = f"decode_p{prompt_tokens}" + ("" if votes == VOTES else f"_n{votes}")
            yield timed("jprm", name, votes, lambda e=here, p=prompt_tokens, n=votes: decode(e, p, n))
    groups = tool_groups(32)
    here = tool_engine(model, params)
    tools(here, groups[:8])
    yield timed("jprm", "tools", 8 * len(groups), lambda: tools(here, groups))
    if not quick:
        for prompt_tokens in (256, 1024, 2048):
            for votes in CURVE:
                here = votes_engine(model, params, prompt_tokens, votes)
                name = f"curve_p{prompt_tokens}_n{votes}"
                yield timed("jprm", name, votes, lambda e=here, p=prompt_tokens, n=votes: decode(e, p, n))
    model, params = _model(preset(preset_name, SWEEP_VOCAB))
    seconds = 4.0 if quick else 15.0
    for name, run, context_tokens, temperature in (
        ("rollouts", rollouts, 128, 1.0),
        ("verification", verification, 240, 0.6),
    ):
        here = sweep_engine(model, params, context_tokens, temperature, slots)
        yield timed("jprm", name, 1, lambda e=here, r=run: r(e, slots, seconds), most_runs=1)


def matmul_flops_per_token(prompt_tokens: int) -> float:
    """FLOPs of a decoded token of the peers' workloads, attention included."""
    return decode_flops(ModelConfig(**SHAPE), prompt_tokens, NEW_TOKENS) / NEW_TOKENS
