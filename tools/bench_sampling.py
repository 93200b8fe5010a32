"""Tokens per second of the sampling engine on the two workloads of a sweep.

    python tools/bench_sampling.py [--quick] [--json FILE] [--model tiny-0.3m] [--lanes 128] ...

rollouts       prompts of 64 tokens with 32 to 128 samples each, about 40 tokens a sample (a stop
               or 60 tokens end it)
verification   prompts of 76 tokens with 8 votes each; 3 rounds of 20 to 36 generated tokens, a
               tool that takes 20 ms, 3 forced tokens, 2 generated ones, 16 forced ones

The weights are random: only lengths matter here. Wall-clock depends on who else uses the machine;
tokens per second of CPU time hardly do.
"""

import argparse
import heapq
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from jprm.models import bind, preset
from jprm.sample import Engine, EngineConfig, SamplingParams

VOCAB = 330
ROUNDS = 3


def _engine(args, context_tokens: int, temperature: float) -> Engine:
    config = EngineConfig(
        lanes=args.lanes,
        banks=args.banks,
        context_tokens=context_tokens,
        chunk_steps=args.chunk_steps,
    )
    return Engine(args.bound, args.params, config, SamplingParams(temperature), seed=1)


def _prompt(rng, n: int) -> list[int]:
    return rng.integers(10, VOCAB, n).tolist()


def _sample_ids(rng, n: int) -> list[int]:
    return rng.integers(0, 2**62, n).tolist()


def rollouts(args, rng, until) -> Iterator[Engine]:
    """Keeps the queue full until the time is up, releasing every handle at its event."""
    engine = _engine(args, 128, 1.0)
    waiting = 0
    yield engine
    while time.perf_counter() < until():
        while waiting < args.lanes:
            ids = _sample_ids(rng, int(rng.choice([32, 64, 128])))
            waiting += len(engine.submit(_prompt(rng, 64), ids, max_tokens=60, stops=range(8)))
        for event in engine.poll():
            engine.release(event.handle)
            waiting -= 1


def verification(args, rng, until) -> Iterator[Engine]:
    """Keeps the queue full; a vote alternates between analysis, tool and verdict."""
    engine = _engine(args, 240, 0.6)
    turns: dict[int, int] = {}
    tools: list[tuple[float, int]] = []
    yield engine
    while time.perf_counter() < until():
        while len(turns) < 2 * args.lanes:
            handles = engine.submit(
                _prompt(rng, 76), _sample_ids(rng, 8), max_tokens=_analysis(rng), watch=(1, 2)
            )
            turns |= dict.fromkeys(handles, 0)
        for event in engine.poll():
            turn = turns[event.handle] = turns[event.handle] + 1
            if turn == 2 * ROUNDS:
                engine.release(event.handle)
                del turns[event.handle]
            elif turn % 2:
                heapq.heappush(tools, (time.perf_counter() + args.tool_s, event.handle))
            else:
                engine.extend(event.handle, _prompt(rng, 16), max_tokens=_analysis(rng))
        while tools and (tools[0][0] < time.perf_counter() or not engine.busy):
            due, handle = heapq.heappop(tools)
            time.sleep(max(0.0, due - time.perf_counter()))
            engine.extend(handle, [5, 6, 7], max_tokens=2)


def _analysis(rng) -> int:
    return int(rng.integers(20, 37))


def measure(workload, args) -> dict:
    """One row: counts, seconds and rates of a workload that runs for `args.seconds`."""
    rng = np.random.default_rng(0)
    end = [0.0]
    began = time.perf_counter()
    running = workload(args, rng, lambda: end[0])
    engine = next(running)
    start_s = time.perf_counter() - began
    began, cpu = time.perf_counter(), time.process_time()
    end[0] = began + args.seconds
    for _ in running:
        pass
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    stats = engine.stats
    return {
        "workload": workload.__name__,
        "model": args.model,
        "lanes": args.lanes,
        "banks": args.banks,
        "chunk_steps": args.chunk_steps,
        "generated": stats.generated,
        "forced": stats.forced,
        "prefilled": stats.prefilled,
        "cloned": stats.cloned,
        "lane_use": round(stats.generated / stats.lane_steps, 3),
        "start_s": round(start_s, 2),
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "generated_per_s": round(stats.generated / wall_s),
        "generated_per_cpu_s": round(stats.generated / cpu_s),
        "load_average": round(os.getloadavg()[0], 1),
        "cpus": os.cpu_count(),
        "jax": jax.__version__,
    }


def main() -> None:
    """Measure both workloads, print a line for each, write JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 s a workload instead of 15")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--model", default="tiny-0.3m", help="preset")
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--banks", type=int, default=2)
    parser.add_argument("--chunk-steps", type=int, default=8)
    parser.add_argument("--tool-s", type=float, default=0.02, help="latency of the tool")
    args = parser.parse_args()
    args.seconds = 3.0 if args.quick else 15.0
    args.bound = bind(preset(args.model, VOCAB))
    args.params = args.bound.init(0)
    rows = []
    for workload in (rollouts, verification):
        rows.append(row := measure(workload, args))
        print(
            f"{row['workload']:13} {row['generated_per_s']:7,} tokens/s   "
            f"{row['generated_per_cpu_s']:7,} tokens/CPU-s   lane use {row['lane_use']:.2f}   "
            f"start {row['start_s']} s   load {row['load_average']}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
