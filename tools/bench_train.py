"""A training step beside transformers with torch eager: the same weights, the same batch, in turns.

    python tools/bench_train.py [--json FILE] [--quick] [--threads N]

Two processes, pinned to the same cores with the same number of threads, take one step after the
other: jprm's own compiled step (`jprm.train.step`), and Qwen2ForCausalLM with SDPA attention, torch's
fused AdamW and clipping. A Qwen2 with 7M parameters in f32, 16 rows of 256 tokens, all trained.
Compared is CPU time of the process, which depends little on who else uses the machine.

vs_torch_cpu_time  torch's CPU time of a step over ours (floor 0.85)
of_own_matmul      the step's FLOP/s of CPU time over those of a 1536^3 product in f32, measured
                   between the steps of the same process (floor 0.55)
loss_gap           largest difference of the losses before, between and after the first 6 steps
                   (at most 1e-4)

torch comes with the extra `peers`; without it the first and the last are null. `--tiny` runs all of
it at sizes that only test this file.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jprm.train.distributed import keep_freed_memory

FLOORS = {"vs_torch_cpu_time": 0.85, "of_own_matmul": 0.55}
MAX_LOSS_GAP = 1e-4
COMPARED_STEPS = 6
LEARNING_RATE, WEIGHT_DECAY, B1, B2, EPS, CLIP = 1e-3, 0.01, 0.9, 0.95, 1e-8, 1.0


@dataclasses.dataclass(frozen=True)
class Size:
    """Shapes of the model and the batch, the side of the product, and how many steps are timed."""

    embed: int = 256
    layers: int = 4
    mlp: int = 1408
    vocab: int = 4096
    rows: int = 16
    tokens: int = 256
    matmul: int = 1536
    timed: int = 16


FULL = Size()
QUICK = dataclasses.replace(FULL, timed=5)
TINY = Size(embed=32, layers=2, mlp=48, vocab=64, rows=2, tokens=16, matmul=64, timed=2)


def model_config(size: Size):
    """Heads as in the smallest Qwen2: twice as many for queries as for keys."""
    from jprm.models import ModelConfig

    head_dim = size.embed // 4
    shape = (size.vocab, size.layers, size.embed, 4, 2, head_dim, size.mlp)
    return ModelConfig(*shape)


def token_ids(size: Size) -> np.ndarray:
    """The batch of every step."""
    rng = np.random.default_rng(0)
    return rng.integers(0, size.vocab, (size.rows, size.tokens)).astype(np.int32)


def jprm(size: Size, weights: Path) -> dict[str, Callable[[], Any]]:
    """What the process of jprm answers to; it writes the weights that both start from."""
    import jax
    import jax.numpy as jnp

    from jprm.models import bind
    from jprm.models.costs import train_flops
    from jprm.models.hf_export import to_hf
    from jprm.train import TrainConfig
    from jprm.train.optimizer import make_optimizer
    from jprm.train.step import init_state, make_step

    config = TrainConfig(
        steps=1000,
        batch_rows=size.rows,
        row_tokens=size.tokens,
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        adam_b2=B2,
        clip_norm=CLIP,
        warmup_steps=0,
        final_fraction=1,
    )
    model, optimizer = bind(model_config(size)), make_optimizer(config)
    params = model.init(0)
    to_hf(weights, model, params)
    state = init_state(model, params, optimizer, config.steps)
    step_fn = make_step(model, config, optimizer)
    ids = token_ids(size)
    first, rest = np.zeros((size.rows, 1)), np.ones((size.rows, size.tokens - 1))
    batch = {
        "ids": ids,
        "positions": np.tile(np.arange(size.tokens, dtype=np.int32), (size.rows, 1)),
        "segments": np.ones_like(ids),
        "weights": np.concatenate([first, rest], 1).astype(np.float32),
    }

    def step() -> float:
        nonlocal state
        state, metrics = step_fn(state, jax.device_put(batch))
        return float(metrics["loss"])

    a = jnp.ones((size.matmul, size.matmul))
    product = jax.jit(lambda a: a @ a)
    flops = size.rows * train_flops(model.config, size.tokens, context=size.tokens)
    return {
        "step": step,
        "matmul": lambda: product(a).block_until_ready(),
        "flops": lambda: {"step": flops, "matmul": 2 * size.matmul**3},
        "version": lambda: f"jax {jax.__version__}",
    }


def torch(size: Size, weights: Path) -> dict[str, Callable[[], Any]]:
    """What the process of torch answers to."""
    import torch  # pyright: ignore[reportMissingImports]
    import transformers

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model: Any = transformers.Qwen2ForCausalLM.from_pretrained(
        weights, dtype=torch.float32, attn_implementation="sdpa"
    ).train()
    named = dict(model.named_parameters())
    matrices = [p for p in named.values() if p.ndim > 1]
    vectors = [p for p in named.values() if p.ndim < 2]
    groups = [dict(params=matrices, weight_decay=WEIGHT_DECAY), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(B1, B2), eps=EPS, fused=True)
    ids = torch.from_numpy(token_ids(size)).long()

    def step() -> float:
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    a = torch.ones(size.matmul, size.matmul)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return {"step": step, "matmul": lambda: a @ a, "version": lambda: versions}


LIBRARIES = {"jprm": jprm, "torch": torch}


def serve(library: str, size: Size, weights: Path, threads: int) -> None:
    """Answer each line (a command) with a line of JSON: its result, and the CPU time it took."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    keep_freed_memory()  # torch gains by it as well
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    try:
        commands = LIBRARIES[library](size, weights)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        result = commands[line.strip()]()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        value = None if line.strip() == "matmul" else result
        answer = {"value": value, "cpu_s": cpu_s, "wall_s": wall_s}
        print(json.dumps(answer), file=answers, flush=True)


class Library:
    """One library in a process of its own, on cores that are shared with the other's."""

    def __init__(self, name: str, size_name: str, weights: Path, threads: int):
        command = [sys.executable, __file__, "--serve", name, "--size", size_name]
        command += ["--weights", str(weights), "--threads", str(threads)]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "JAX_PLATFORMS": "cpu",
        }
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.missing: str | None = self._answer().get("missing")

    def ask(self, command: str) -> dict:
        """Run one command there: its value, cpu_s and wall_s."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"bench_train: a library ended with code {self._process.wait()}, see above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(size_name: str, threads: int) -> dict:
    """Steps of both in turns, products between them; the numbers of the JSON file."""
    size = SIZES[size_name]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        libraries = {name: Library(name, size_name, weights, threads) for name in LIBRARIES}
        missing = {name: lib.missing for name, lib in libraries.items() if lib.missing}
        running = {name: lib for name, lib in libraries.items() if not lib.missing}
        losses: dict[str, list[float]] = {name: [] for name in running}
        cpu_s: dict[str, dict[str, list[float]]] = {name: {"step": [], "matmul": []} for name in running}
        for turn in range(COMPARED_STEPS + 1 + size.timed):
            for name, library in running.items():
                step, product = library.ask("step"), library.ask("matmul")
                losses[name].append(step["value"])
                if turn >= 2:  # the first compile and fill caches
                    cpu_s[name]["step"].append(step["cpu_s"])
                    cpu_s[name]["matmul"].append(product["cpu_s"])
        flops = running["jprm"].ask("flops")["value"]
        versions = [library.ask("version")["value"] for library in running.values()]
        for library in libraries.values():
            library.close()
    return summary(size, losses, cpu_s, flops) | {
        "missing": missing,
        "versions": versions,
        "threads": threads,
        "size": dataclasses.asdict(size),
        "load": round(os.getloadavg()[0], 1),
    }


def summary(size: Size, losses: dict, cpu_s: dict, flops: dict) -> dict:
    """The three numbers, and what they are made of. The torch keys are null without torch."""
    medians = {name: {what: statistics.median(times) for what, times in of.items()} for name, of in cpu_s.items()}
    rate = {name: {what: flops[what] / s / 1e9 for what, s in of.items()} for name, of in medians.items()}
    ours, theirs = medians["jprm"], medians.get("torch")
    compared = slice(0, COMPARED_STEPS + 1)
    gap = None
    if theirs:
        gap = float(np.abs(np.subtract(losses["jprm"], losses["torch"])[compared]).max())
    return {
        "vs_torch_cpu_time": theirs["step"] / ours["step"] if theirs else None,
        "of_own_matmul": rate["jprm"]["step"] / rate["jprm"]["matmul"],
        "loss_gap": gap,
        "cpu_s_per_step": {name: of["step"] for name, of in medians.items()},
        "tokens_per_cpu_s": {name: size.rows * size.tokens / of["step"] for name, of in medians.items()},
        "gflops": rate,
        "losses": {name: values[compared] for name, values in losses.items()},
    }


def report(found: dict) -> str:
    """A line for each number, and for whatever is below its floor or missing."""
    lines = [
        f"{name:6} {found['cpu_s_per_step'][name]:7.3f} CPU-s a step, "
        f"{found['tokens_per_cpu_s'][name]:7.0f} tokens/CPU-s, {rates['step']:5.0f} of "
        f"{rates['matmul']:.0f} GFLOP/s"
        for name, rates in found["gflops"].items()
    ]
    for name, floor in FLOORS.items():
        if found[name] is not None:
            lines.append(f"{name:18} {found[name]:.3f}   (floor {floor})")
    if found["loss_gap"] is not None:
        lines.append(f"{'loss_gap':18} {found['loss_gap']:.1e} (at most {MAX_LOSS_GAP:.0e})")
    for library, error in found["missing"].items():
        lines.append(f"{library}: {error}; nothing to compare with: pip install -e '.[peers]'")
    return "\n".join(lines)


SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def main() -> None:
    """Measure, print, write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--tiny", action="store_true", help="sizes that only test this file")
    parser.add_argument("--threads", type=int, default=1, help="threads and cores of each process")
    parser.add_argument("--serve", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, SIZES[args.size], args.weights, args.threads)
        return
    available = len(os.sched_getaffinity(0))
    if not 1 <= args.threads <= available:
        sys.exit(f"--threads {args.threads}: this process may use 1 to {available} cores")
    found = measure("tiny" if args.tiny else "quick" if args.quick else "full", args.threads)
    print(report(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
