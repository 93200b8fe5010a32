"""The GPU benchmark of training: its rows by hand, and (before a release) all of it at tiny sizes."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from jprm.models.costs import train_flops

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(TOOLS))
    import bench_gpu_train  # pyright: ignore[reportMissingImports]

    yield bench_gpu_train
    sys.path.remove(str(TOOLS))


def test_a_row_has_its_shares(bench):
    case = bench.CASES["qwen2.5-7b"][0]
    found = {"peak_tflops": 989.4, "matmul_tflops": 790.0}
    row = bench.row_of(case, {"step_s": 1.5, "memory_bytes": 1e11}, found, tiny=False)
    model = bench.model_of("qwen2.5-7b", False).config
    tflops = 4 * train_flops(model, 4096, context=4096) / 1.5 / 1e12
    assert row["tokens_per_s"] == 4 * 4096 / 1.5
    assert row["mfu"] == pytest.approx(tflops / 989.4)
    # 44.9 GFLOP a token, the causal half of attention counted
    assert 44.5e9 < tflops * 1e12 / row["tokens_per_s"] < 45.3e9
    assert f"{row['mfu']:.1%}" in bench.line_of(row)


@pytest.mark.slow
@pytest.mark.release
def test_all_of_it_runs_at_tiny_sizes(bench, tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, str(TOOLS / "bench_gpu.py"), "--train", "--tiny", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=TOOLS.parent)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    names = [str(case) for cases in bench.CASES.values() for case in cases]
    if find_spec("torch"):
        left_out = []
    else:  # an extra of its own: without it the peer's rows are missed by name, the others are there
        left_out = [name for name in names if "transformers" in name]
    measured = [name for name in names if name not in left_out]
    assert [row["name"] for row in found["rows"]] == measured
    assert [line.split(": ")[0] for line in found["left_out"]] == left_out
    assert all("torch" in line for line in found["left_out"])
    assert all(row["loss"] > 0 and row["mfu"] > 0 for row in found["rows"])
