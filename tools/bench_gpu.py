"""The sampling engine on one accelerator, against its ceilings and `transformers`; under 9 minutes.

    python tools/bench_gpu.py [--json FILE] [--models qwen2.5-1.5b qwen2.5-7b] [--tiny] [--train]

Random bf16 weights in the shapes of Qwen2.5. For each model:

ceilings    bf16 matrix products, and copying memory
prefill     32 prompts of 2048 tokens
decode      fork mode: 256 slots, 32 prompts of 2048 tokens with 8 votes each; with shared prefix
            rows, and dense (every slot holds its prompt)
tools       the same votes in three stretches with a tool of 0.5 s between them, against no waits
transformers  `generate` with a static cache and compiled decoding, and continuous batching

The libraries run in processes of their own, one after the other. What does not start before the
time is up (`--budget-s`) is left out and named. `--tiny` runs all of it at sizes for a CPU, to test
this file: its numbers mean nothing. `--train` measures a training step instead: `bench_gpu_train.py`.
"""

import argparse
import dataclasses
import heapq
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured: groups x votes slots, prompts, stretches of new tokens."""

    groups: int = 32
    votes: int = 8
    prompt_tokens: int = 2048
    new_tokens: int = 192
    block_tokens: int = 512
    chunk_steps: int = 16
    tool_s: float = 0.5
    matmul: int = 8192
    copy_mb: int = 4096
    torch_batches: tuple[int, ...] = (256, 128, 64)
    torch_tokens: int = 64

    @property
    def slots(self) -> int:
        """Votes of all groups."""
        return self.groups * self.votes


FULL = Sizes()
TINY = Sizes(4, 2, 32, 12, 16, 4, 0.05, 128, 1, (8,), 4)


def best_s(run: Callable[[], Any], times: int = 5) -> float:
    """The shortest of several runs, after one that is not counted."""
    run()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _prompts(sizes: Sizes, vocab: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, vocab, sizes.prompt_tokens).tolist() for _ in range(sizes.groups)]


def _model(preset_name: str, tiny: bool):
    from jprm.mesh import Rules
    from jprm.models import bind, preset

    vocab = 512 if tiny else 151_936 if preset_name == "qwen2.5-1.5b" else 152_064
    return bind(preset("tiny-0.5m" if tiny else preset_name, vocab), Rules())


def _random_weights(model):
    """bf16 weights drawn on the device: drawing 7B in NumPy takes minutes."""
    import jax
    import jax.numpy as jnp

    leaves, tree = jax.tree.flatten(model.spec())
    draw = jax.jit(lambda key, shape: 0.02 * jax.random.normal(key, shape, jnp.bfloat16), static_argnums=1)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    return jax.tree.unflatten(tree, [draw(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])


def ceilings(sizes: Sizes) -> dict:
    """bf16 TFLOP/s of one large product; GB/s read and written by a copy."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((sizes.matmul, sizes.matmul), jnp.bfloat16)
    product = jax.jit(lambda a: a @ a)
    x = jnp.zeros(sizes.copy_mb << 18, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    matmul_s = best_s(lambda: product(a).block_until_ready())
    copy_s = best_s(lambda: copy(x).block_until_ready())
    return {"matmul_tflops": 2 * sizes.matmul**3 / matmul_s / 1e12, "copy_gb_per_s": 2 * x.nbytes / copy_s / 1e9}


def _engine(model, params, sizes: Sizes, shared: bool):
    from jprm.sample import Engine, EngineConfig, SamplingParams

    own = 4 * sizes.new_tokens
    config = EngineConfig(
        slots=sizes.slots,
        slot_groups=1,
        context_tokens=sizes.prompt_tokens + own,
        decode_steps=sizes.chunk_steps,
        block_tokens=sizes.block_tokens,
        in_flight=2,
        prefix_rows=sizes.groups if shared else 0,
        row_slots=sizes.votes,
        prefix_tokens=sizes.prompt_tokens,
        own_tokens=own,
    )
    return Engine(model, params, config, SamplingParams(0.6, 20, 0.95), seed=0)


def _events(engine, n: int) -> list:
    events = []
    while len(events) < n:
        events += engine.poll()
    return events


def _stretches(engine, handles: list[int], sizes: Sizes, tool_s: float) -> float:
    """Three stretches of new tokens for each handle, `tool_s` between them; tokens per second."""
    tokens, rounds = sizes.new_tokens // 3, dict.fromkeys(handles, 0)
    tools: list[tuple[float, int]] = []
    began = time.perf_counter()
    for handle in handles:
        # unequal first stretches, so that not all wait at the same time
        engine.extend(handle, [], max_tokens=1 + (handle * 7) % tokens)
    while rounds:
        for event in engine.poll():
            rounds[event.handle] += 1
            if rounds[event.handle] == 4:
                del rounds[event.handle]
            else:
                heapq.heappush(tools, (time.perf_counter() + tool_s, event.handle))
        while tools and (tools[0][0] < time.perf_counter() or not engine.busy):
            due, handle = heapq.heappop(tools)
            time.sleep(max(0.0, due - time.perf_counter()))
            engine.extend(handle, [5] * 8, max_tokens=tokens)
    drawn = sum(1 + (handle * 7) % tokens + 3 * tokens for handle in handles)
    return drawn / (time.perf_counter() - began)


def jprm(preset_name: str, sizes: Sizes, tiny: bool, left: Callable[[], bool]) -> Iterator[dict]:
    """Rows of this engine: prefill, decode and tools, shared and dense."""
    model = _model(preset_name, tiny)
    params = _random_weights(model)
    engine = None
    for shared in (True, False):
        engine = None  # its caches go before the next ones come
        if not left():
            yield {"left_out": f"{preset_name} jprm {'shared' if shared else 'dense'}"}
            continue
        engine = _engine(model, params, sizes, shared)
        name = {"engine": "jprm shared" if shared else "jprm dense", "model": preset_name}
        began = time.perf_counter()
        handles = []
        for g, prompt in enumerate(_prompts(sizes, model.config.vocab_size)):
            ids = range(g * sizes.votes, (g + 1) * sizes.votes)
            handles += engine.submit(prompt, ids, max_tokens=1, logprob_ids=(1, 2))
        _events(engine, sizes.slots)
        tokens = sizes.groups * sizes.prompt_tokens
        yield name | {"workload": "prefill", "tokens_per_s": tokens / (time.perf_counter() - began)}
        began = time.perf_counter()
        for handle in handles:
            engine.extend(handle, [], max_tokens=sizes.new_tokens)
        _events(engine, sizes.slots)
        rate = sizes.slots * sizes.new_tokens / (time.perf_counter() - began)
        yield name | {"workload": "decode", "tokens_per_s": rate, "progress": str(engine.progress)}
        if not shared or not left():
            continue
        for handle in handles:
            engine.release(handle)
        for tool_s in (0.0, sizes.tool_s):
            handles = []
            for g, prompt in enumerate(_prompts(sizes, model.config.vocab_size)):
                ids = range(g * sizes.votes, (g + 1) * sizes.votes)
                handles += engine.submit(prompt, ids, max_tokens=1)
            _events(engine, sizes.slots)
            rate = _stretches(engine, handles, sizes, tool_s)
            yield name | {"workload": f"tools {tool_s} s", "tokens_per_s": rate}
            for handle in handles:
                engine.release(handle)


def transformers(preset_name: str, sizes: Sizes, tiny: bool, left: Callable[[], bool]) -> Iterator[dict]:
    """Rows of `transformers`: static cache and compiled decoding; continuous batching."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch_peer import torch_model  # pyright: ignore[reportMissingImports]
    from transformers import GenerationConfig

    c = _model(preset_name, tiny).config
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_grad_enabled(False)
    with torch.device(device):
        model = torch_model(c, "bfloat16", bos_token_id=None, eos_token_id=None, pad_token_id=0).eval()
    prompts = _prompts(sizes, c.vocab_size)
    draw = dict(do_sample=True, temperature=0.6, top_k=20, top_p=0.95, pad_token_id=0)
    name = {"model": preset_name, "workload": "decode with its prefill"}
    for batch in sizes.torch_batches:
        if not left():
            yield {"left_out": f"{preset_name} transformers static, batch {batch}"}
            break
        ids = torch.tensor(prompts[: max(1, batch // sizes.votes)], device=device)

        def generate(ids=ids):
            model.generate(
                ids,
                max_new_tokens=sizes.torch_tokens,
                min_new_tokens=sizes.torch_tokens,
                num_return_sequences=sizes.votes,
                cache_implementation="static",
                **draw,
            )

        try:
            seconds = best_s(generate, times=1)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            yield {"left_out": f"{preset_name} transformers static, batch {batch}: out of memory"}
            continue
        tokens = len(ids) * sizes.votes * sizes.torch_tokens
        engine = f"transformers static + compile, batch {len(ids) * sizes.votes}"
        yield name | {"engine": engine, "tokens_per_s": tokens / seconds}
        break
    if not left():
        yield {"left_out": f"{preset_name} transformers continuous batching"}
        return
    continuous = GenerationConfig(
        max_new_tokens=sizes.torch_tokens,
        num_return_sequences=sizes.votes,
        eos_token_id=-1,
        use_cuda_graph=device == "cuda",
        **draw,
    )
    began = time.perf_counter()
    out = model.generate_batch(prompts, generation_config=continuous, progress_bar=False)
    tokens = sum(len(each.generated_tokens) for each in out.values())
    rate = tokens / (time.perf_counter() - began)
    yield name | {"engine": "transformers continuous batching", "tokens_per_s": rate}


PARTS = {"jprm": jprm, "transformers": transformers}


def run_part(args, sizes: Sizes) -> None:
    """Measure one library in this process."""
    found: dict = {"rows": [], "left_out": []}

    def left() -> bool:
        return time.time() < args.until

    if args.part == "jprm":
        import jax

        device = jax.local_devices()[0]
        found |= {"device": device.device_kind, "jax": jax.__version__} | ceilings(sizes)
    for preset_name in args.models:
        try:
            for row in PARTS[args.part](preset_name, sizes, args.tiny, left):
                found["left_out" if "left_out" in row else "rows"].append(row.get("left_out", row))
                print(row, file=sys.stderr, flush=True)
                args.json.write_text(json.dumps(found))
        except ModuleNotFoundError as error:
            found["left_out"].append(f"{args.part}: {error}; install the extra `peers`")
    args.json.write_text(json.dumps(found))


def main() -> None:
    """Run the parts one after the other, print what they found, write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--models", nargs="+", default=["qwen2.5-1.5b", "qwen2.5-7b"])
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU, to test this file")
    parser.add_argument("--budget-s", type=float, default=510.0, help="start nothing after this")
    parser.add_argument("--train", action="store_true", help="a training step instead of sampling")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        import bench_gpu_train

        bench_gpu_train.run(args.models, args.tiny, args.budget_s, args.json)
        return
    sizes = TINY if args.tiny else FULL
    if args.part:
        run_part(args, sizes)
        return
    began = time.time()
    found: dict = {"rows": [], "left_out": [], "sizes": dataclasses.asdict(sizes)}
    # the peers get the last two fifths: what is measured here comes first
    shares = {"jprm": 0.6, "transformers": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        for part, share in shares.items():
            file = Path(folder) / f"{part}.json"
            command = [sys.executable, __file__, "--part", part, "--json", str(file)]
            command += ["--until", str(began + share * args.budget_s), "--models", *args.models]
            done = subprocess.run(command + ["--tiny"] * args.tiny)
            if done.returncode:
                found["left_out"].append(f"{part} ended with code {done.returncode}")
            if file.exists():
                measured = json.loads(file.read_text())
                found["rows"] += measured.pop("rows")
                found["left_out"] += measured.pop("left_out")
                found |= measured
    found["seconds"] = round(time.time() - began)
    for row in found["rows"]:
        print(f"{row['model']:14} {row['engine']:46} {row['workload']:24} {row['tokens_per_s']:10,.0f} tokens/s")
    print({key: value for key, value in found.items() if key != "rows"})
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
