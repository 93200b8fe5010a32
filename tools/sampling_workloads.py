"""What the sampling benchmark asks of every engine: one model shape, decode and tool workloads.

No heavy imports: the peers that read this need no JAX, the engine needs no torch.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TEMPERATURE, TOP_K, TOP_P = 0.6, 20, 0.95  # GenPRM's published sampling settings
SHAPE: dict[str, Any] = dict(  # a Qwen2 of 6M parameters, f32, random weights
    vocab_size=4096, n_layers=4, embed=256, n_heads=8, n_kv_heads=2, head_dim=32, mlp=1408
)
NEW_TOKENS = 128
VOTES = 64
TOOL_S = 0.02
FORCED_CODE, FORCED_OUTPUT, JUDGE_TOKENS = 8, 16, 8
MAX_PROMPT = 256
MOST_RUNS, ENOUGH_S = 5, 8.0  # of one measurement


@dataclasses.dataclass(frozen=True)
class Vote:
    """Analysis, 8 forced tokens, code, a tool call, 16 forced tokens, a judgement of 8."""

    analysis: int
    code: int

    @property
    def tokens(self) -> int:
        """All that a vote adds to its prompt."""
        return self.analysis + FORCED_CODE + self.code + FORCED_OUTPUT + JUDGE_TOKENS


@dataclasses.dataclass(frozen=True)
class Group:
    """One prompt and the votes that share it."""

    prompt: list[int]
    votes: list[Vote]


def prompt_of(rng: np.random.Generator, tokens: int) -> list[int]:
    """Random token ids, without 0 (padding)."""
    return rng.integers(1, SHAPE["vocab_size"], tokens).tolist()


def tool_groups(groups: int, votes: int = 8, seed: int = 0) -> list[Group]:
    """Prompts of 160 to 256 tokens; log-normal lengths, about 48 of analysis and 24 of code."""
    rng = np.random.default_rng(seed)

    def length(mean: int, most: int) -> int:
        return int(np.clip(mean * np.exp(0.5 * rng.standard_normal() - 0.125), 6, most))

    return [
        Group(
            prompt_of(rng, int(rng.integers(160, MAX_PROMPT + 1))),
            [Vote(length(48, 120), length(24, 64)) for _ in range(votes)],
        )
        for _ in range(groups)
    ]


@dataclasses.dataclass
class Row:
    """One measurement. `tokens` are those a vote adds to its prompt, drawn and forced."""

    engine: str
    workload: str
    tokens: int
    wall_s: float
    cpu_s: float
    votes: int

    def as_dict(self) -> dict:
        """With the rates that are compared."""
        return dataclasses.asdict(self) | {
            "tokens_per_s": round(self.tokens / self.wall_s, 1),
            "tokens_per_cpu_s": round(self.tokens / self.cpu_s, 1),
            "cpu_s_per_vote": round(self.cpu_s / self.votes, 5),
        }


def timed(engine: str, workload: str, votes: int, run: Callable[[], int], most_runs: int = MOST_RUNS) -> Row:
    """The run with the median CPU time of this whole process; `run` returns how many tokens it made.

    Short runs are repeated: one second on a shared machine is no measurement.
    """
    rows: list[Row] = []
    while len(rows) < most_runs and sum(row.wall_s for row in rows) < ENOUGH_S:
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = run()
        spent_s = time.perf_counter() - wall, time.process_time() - cpu
        rows.append(Row(engine, workload, tokens, *spent_s, votes))
    return sorted(rows, key=lambda row: row.cpu_s / row.tokens)[len(rows) // 2]


def pin(core: int) -> None:
    """Keep this process on one core. Call before a library starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})
