"""The training benchmark at its tiny sizes: all of it runs, and its numbers are made as it says."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "bench_train.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_train", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_train"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_train"]


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(FILE), *arguments],
        cwd=FILE.parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


@pytest.mark.slow
def test_both_libraries_train_the_same_model(tmp_path):
    pytest.importorskip("torch")
    done = command("--tiny", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["vs_torch_cpu_time"] > 0 and found["of_own_matmul"] > 0
    assert found["loss_gap"] < 1e-4 and found["missing"] == {}
    assert found["losses"]["jprm"][-1] < found["losses"]["jprm"][0] - 1e-3  # they did learn
    assert "vs_torch_cpu_time" in done.stdout and "floor 0.85" in done.stdout


@pytest.mark.slow
def test_without_torch_there_is_one_line_with_its_fix(tmp_path):
    hidden = tmp_path / "hidden" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('No module named torch')")
    path = os.pathsep.join([str(hidden.parent), os.environ.get("PYTHONPATH", "")])
    done = command("--tiny", "--json", str(tmp_path / "found.json"), env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["vs_torch_cpu_time"] is None and found["loss_gap"] is None
    assert found["of_own_matmul"] > 0
    assert "pip install -e '.[peers]'" in done.stdout


def test_too_many_threads_are_refused():
    done = command("--threads", "1000")
    assert done.returncode == 1 and "--threads 1000" in done.stderr


def test_the_numbers_are_medians_and_the_largest_gap(bench):
    losses = {"jprm": [3.0, 2.0, 1.0], "torch": [3.0, 2.25, 1.0]}
    cpu_s = {
        "jprm": {"step": [1.0, 9.0, 2.0], "matmul": [0.5, 0.5, 0.5]},
        "torch": {"step": [3.0, 3.0, 90.0], "matmul": [0.5, 0.5, 0.5]},
    }
    found = bench.summary(bench.TINY, losses, cpu_s, {"step": 4e9, "matmul": 2e9})
    assert found["vs_torch_cpu_time"] == 1.5
    assert found["of_own_matmul"] == pytest.approx(0.5)
    assert found["loss_gap"] == 0.25
    assert found["tokens_per_cpu_s"]["jprm"] == bench.TINY.rows * bench.TINY.tokens / 2
    text = bench.report(found | {"missing": {}})
    assert "0.500   (floor 0.55)" in text and "2.5e-01 (at most 1e-04)" in text
