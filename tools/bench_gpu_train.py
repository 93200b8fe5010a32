"""A training step on one accelerator, against its own matrix product and transformers with torch.

    python tools/bench_gpu.py --train [--json FILE] [--models qwen2.5-1.5b qwen2.5-7b] [--tiny]

Random weights in the shapes of Qwen2.5, rows of 4096 tokens that are all trained. f32 master weights
and bf16 passes as far as they fit: 7B keeps its first moments in bf16. For each recomputation policy
and kernel: MFU (causal FLOPs from `jprm.models.costs` over the data sheet's bf16 peak), tokens/s, the
share of the 8192^3 bf16 product that was measured in the same run, peak memory.

Each row is measured in a process of its own, since a process keeps the memory it took. What does not
fit is left out and named.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jprm.models.costs import train_flops


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table."""

    library: str
    model: str
    rows: int
    remat: str = "none"
    attention: str = "auto"
    moment: str = "float32"

    def __str__(self) -> str:
        if self.library == "transformers":
            return f"{self.model} transformers, {self.rows} rows, recompute {self.remat}"
        return f"{self.model} jprm, {self.rows} rows, recompute {self.remat}, {self.attention}"


CASES = {
    "qwen2.5-1.5b": (
        Case("jprm", "qwen2.5-1.5b", 8, "none"),
        Case("jprm", "qwen2.5-1.5b", 8, "dots"),
        Case("jprm", "qwen2.5-1.5b", 8, "layers"),
        Case("jprm", "qwen2.5-1.5b", 8, "layers", "einsum"),
        Case("transformers", "qwen2.5-1.5b", 4, "none"),
    ),
    "qwen2.5-7b": (
        Case("jprm", "qwen2.5-7b", 4, "layers", moment="bfloat16"),
        Case("jprm", "qwen2.5-7b", 2, "dots", moment="bfloat16"),
        Case("transformers", "qwen2.5-7b", 2, "layers"),
    ),
}
TOKENS, TINY_TOKENS = 4096, 64
STEPS, WARM_STEPS = 8, 2
LOGITS_MB = 4096  # tiles of 7,000 tokens: smaller ones leave the product of the head short of work
VOCAB = {"qwen2.5-1.5b": 151_936, "qwen2.5-7b": 152_064}


def model_of(name: str, tiny: bool):
    """The preset, or a tiny one in its place."""
    from jprm.models import bind, preset

    return bind(preset("tiny-0.5m" if tiny else name, 512 if tiny else VOCAB[name]))


def token_ids(case: Case, vocab: int, tokens: int) -> np.ndarray:
    """The batch of every step."""
    rng = np.random.default_rng(0)
    return rng.integers(1, vocab, (case.rows, tokens)).astype(np.int32)


def jprm(case: Case, tiny: bool) -> dict[str, Any]:
    """Seconds of a step of `jprm.train.step`, and its memory."""
    import jax
    import jax.numpy as jnp
    import optax

    from jprm.train import TrainConfig
    from jprm.train.meter import memory_bytes
    from jprm.train.step import TrainState, make_step

    model, tokens = model_of(case.model, tiny), TINY_TOKENS if tiny else TOKENS
    settings: dict[str, Any] = {"remat": case.remat, "attention": case.attention}
    config = TrainConfig(
        steps=WARM_STEPS + STEPS,
        batch_rows=case.rows,
        row_tokens=tokens,
        optimizer="adamw",
        compute_dtype="bfloat16",
        logits_mb=LOGITS_MB,
        **settings,
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(1e-5, b2=0.95, weight_decay=0.01, mu_dtype=case.moment)
    )

    leaves, tree = jax.tree.flatten(model.spec())

    @jax.jit
    def fresh() -> TrainState:
        keys = jax.random.split(jax.random.key(0), len(leaves))
        drawn = [0.02 * jax.random.normal(key, leaf.shape, jnp.float32) for key, leaf in zip(keys, leaves, strict=True)]
        params = jax.tree.unflatten(tree, drawn)
        losses = jnp.zeros(config.steps)
        return TrainState(jnp.int32(0), params, optimizer.init(params), losses)

    state = fresh()
    ids = token_ids(case, model.config.vocab_size, tokens)
    batch = jax.device_put(
        {
            "ids": ids,
            "positions": np.tile(np.arange(tokens, dtype=np.int32), (case.rows, 1)),
            "segments": np.ones_like(ids),
            "weights": np.ones(ids.shape, np.float32),
        }
    )
    step = make_step(model, config, optimizer)
    seconds = []
    for _ in range(WARM_STEPS + STEPS):
        began = time.perf_counter()
        state, metrics = step(state, batch)
        loss = float(metrics["loss"])
        seconds.append(time.perf_counter() - began)
    return {"step_s": sorted(seconds[WARM_STEPS:])[STEPS // 2], "loss": loss} | {
        "memory_bytes": memory_bytes()[0],
        "first_s": seconds[0],
    }


def transformers(case: Case, tiny: bool) -> dict[str, Any]:
    """Seconds of a step of the same model in transformers: bf16 weights, SDPA, torch's fused AdamW, compiled on a GPU.

    bf16 weights and moments are less work and less memory than the f32 masters of the other rows.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from torch_peer import torch_model  # pyright: ignore[reportMissingImports]

    c, tokens = model_of(case.model, tiny).config, TINY_TOKENS if tiny else TOKENS
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = torch_model(c, "bfloat16", use_cache=False).train()
    if case.remat == "layers":
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), fused=True)
    run = torch.compile(model) if device == "cuda" else model
    ids = torch.from_numpy(token_ids(case, c.vocab_size, tokens)).long().to(device)
    seconds = []
    for _ in range(WARM_STEPS + STEPS):
        began = time.perf_counter()
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()
        seconds.append(time.perf_counter() - began)
    used = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return {"step_s": sorted(seconds[WARM_STEPS:])[STEPS // 2], "loss": value} | {
        "memory_bytes": used,
        "first_s": seconds[0],
    }


LIBRARIES = {"jprm": jprm, "transformers": transformers}


def matmul_tflops(side: int) -> dict[str, Any]:
    """bf16 TFLOP/s of one large product, and what runs it."""
    import jax
    import jax.numpy as jnp

    from jprm.train.meter import peak, product_flops_per_s

    known = peak(1)
    return {
        "matmul_tflops": product_flops_per_s(side, jnp.bfloat16) / 1e12,
        "peak_tflops": known.flops_per_s / 1e12,
        "peak_source": known.source,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def in_process(arguments: list[str], timeout_s: float) -> dict[str, Any]:
    """What this file prints into a file when it is run with these arguments; {"error"} if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, __file__, *arguments, "--json", str(out)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return {"error": f"longer than {timeout_s:.0f} s"}
        if done.returncode or not out.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return {"error": lines[-1][:300] if lines else f"ended with code {done.returncode}"}
        return json.loads(out.read_text())


def measure(models: list[str], tiny: bool, budget_s: float) -> dict[str, Any]:
    """All cases of these models, one after the other until the time is up."""
    began = time.monotonic()
    tiny_flag = ["--tiny"] * tiny
    found: dict[str, Any] = in_process(tiny_flag, budget_s)
    found |= {"rows": [], "left_out": []}
    if "error" in found:
        return found
    for name in models:
        for index, case in enumerate(CASES[name]):
            left = budget_s - (time.monotonic() - began)
            if left < 30 and not tiny:
                found["left_out"].append(f"{case}: no time left")
                continue
            result = in_process(["--case", name, str(index), *tiny_flag], left)
            if "error" in result:
                found["left_out"].append(f"{case}: {result['error']}")
                continue
            found["rows"].append(row_of(case, result, found, tiny))
            print(line_of(found["rows"][-1]), flush=True)
    found["seconds"] = round(time.monotonic() - began)
    return found


def row_of(case: Case, result: dict, found: dict, tiny: bool) -> dict[str, Any]:
    """Rates and shares of one case."""
    tokens = TINY_TOKENS if tiny else TOKENS
    flops = case.rows * train_flops(model_of(case.model, tiny).config, tokens, context=tokens)
    tflops = flops / result["step_s"] / 1e12
    return {
        "name": str(case),
        **dataclasses.asdict(case),
        **result,
        "tokens_per_s": case.rows * tokens / result["step_s"],
        "tflops": tflops,
        "mfu": tflops / found["peak_tflops"],
        "of_own_matmul": tflops / found["matmul_tflops"],
    }


def line_of(row: dict) -> str:
    """One row of the table."""
    return (
        f"{row['name']:58} {row['tokens_per_s']:9,.0f} tokens/s  MFU {row['mfu']:5.1%}  "
        f"of own product {row['of_own_matmul']:5.1%}  {row['memory_bytes'] / 1e9:6.1f} GB"
    )


def run(models: list[str], tiny: bool, budget_s: float, file: Path | None) -> None:
    """Measure all cases of these models, print them, write JSON if asked to."""
    found = measure(models, tiny, budget_s)
    print({key: value for key, value in found.items() if key != "rows"})
    if file:
        file.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Measure one thing for the process that asked for it."""
    parser = argparse.ArgumentParser(description="run this by tools/bench_gpu.py --train")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--case", nargs=2, metavar=("MODEL", "NUMBER"))
    args = parser.parse_args()
    if args.case:
        case = CASES[args.case[0]][int(args.case[1])]
        found = LIBRARIES[case.library](case, args.tiny)
    else:
        found = matmul_tflops(128 if args.tiny else 8192)
    args.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
