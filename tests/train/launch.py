"""`python -m jprm train` in processes of its own, to be killed."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240  # of one wait; a shared machine stalls
HEARTBEAT_S = 6


def write_data(path: Path, rows: int = 60) -> Path:
    """Conversations of unequal lengths."""
    with open(path, "w") as file:
        for i in range(rows):
            said = " ".join(f"{i} + {j} = {i + j}." for j in range(1 + i % 4))
            messages = [{"role": "user", "content": f"What is {i} and so on?"}, {"role": "assistant", "content": said}]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def write_config(folder: Path, **train: object) -> Path:
    """A configuration of a tiny run whose results land in `folder`, and its data."""
    data = write_data(folder / "data.jsonl")
    settings = {"steps": 16, "batch_rows": 8, "row_tokens": 64, "checkpoint_every": 3}
    settings |= {"optimizer": "adamw", "learning_rate": 1e-3, "warmup_steps": 2} | train
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    path = folder / "config.toml"
    path.write_text(
        f'directory = "{folder}"\n[model]\npreset = "tiny-0.1m"\n'
        f'[data]\npath = "{data}"\nvocab_size = 400\n[train]\n{lines}\n'
    )
    return path


def start(config: Path, cache: str, *overrides: str, processes: int = 1, devices: int = 1) -> list[subprocess.Popen]:
    """The command in so many processes of so many devices; standard error goes to stderr-<number>."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        # of a flag given twice the last counts
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jprm", "train", "--config", str(config), *overrides]
    if processes > 1:
        command += ["--processes", str(processes), "--coordinator", f"127.0.0.1:{_free_port()}"]
        command += ["--heartbeat", str(HEARTBEAT_S)]
    started = []
    for i in range(processes):
        which = ["--process-id", str(i)] if processes > 1 else []
        with open(config.with_name(f"stderr-{i}"), "w") as errors:
            started.append(
                subprocess.Popen(
                    [*command, *which], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors
                )
            )
    return started


def wait(started: Sequence[subprocess.Popen]) -> list[int]:
    """Exit codes; every process is gone afterwards."""
    try:
        return [process.wait(LIMIT_S) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def run_to_end(config: Path, cache: str, *overrides: str, **options: int) -> None:
    codes = wait(start(config, cache, *overrides, **options))
    assert set(codes) == {0}, config.with_name("stderr-0").read_text()


def until(condition: Callable[[], bool], started: Sequence[subprocess.Popen]) -> None:
    """Waits for the condition while all processes live."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline and all(p.poll() is None for p in started)
        time.sleep(0.005)


def log(run: Path) -> list[dict]:
    """The complete lines of a run's log."""
    try:
        *lines, _ = (run / "log.jsonl").read_text().split("\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def losses(run: Path) -> list[float]:
    """The loss of every step, each of which is there once."""
    rows = log(run)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def weights(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
