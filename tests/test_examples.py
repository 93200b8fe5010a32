"""Every script of examples/ runs as it stands, at its small size, and is short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.benchmark import checkpoint

FOLDER = Path(__file__).resolve().parents[1] / "examples"
# What each prints at its end, and whether it trains or loads a model.
SAID = {
    "own_problems": r"True False$",
    "own_scorer": r"solution_auc 1\.000",
    "own_benchmark": r"exam F1 1\.000.*\n.*rejected: exam\.jsonl:3: 'first_wrong_line' is 7",
    "own_row": r"outcome Spearman .*\nprefix Spearman .*\nlast-step Spearman 0\.\d+ sign errors 0\.\d+$",
    "own_strategy": r"accuracy 0\.\d+ drawn a problem \d",
    "open_run": r"4 votes: F1 ",
    "score_solution": r"first wrong step, from 0: (-?\d|None)",
    "evaluate_checkpoint": r"F1 .*without a verdict",
    "run_sweep": r"(?s)0\.7 4 votes: F1 .*1\.1 4 votes: F1 ",
    "own_world": r"tiny-0\.1m n=16 full exact .* F1 ",
    "own_protocol": r"tags F1 .*\ncode-first F1 .*\nprint.8 . 3 == 11.</verify>\n<analyze>8",
    "own_label_rule": r"tiny-0\.1m n=16 full halved .* F1 ",
}
FAST = ("own_problems", "own_scorer", "own_benchmark", "own_row", "own_strategy")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that all of them share, so that the quick sweep is computed once."""
    return tmp_path_factory.mktemp("examples")


def test_each_kind_has_one_and_each_is_short():
    scripts = {path.stem: path.read_text() for path in FOLDER.glob("*.py")}
    assert scripts.keys() == SAID.keys() and len(scripts) == 12
    assert [name for name, text in scripts.items() if text.count("\n") >= 60] == []


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SAID])
def test_an_example_runs_as_it_stands(name, place):
    words = []
    if name == "evaluate_checkpoint":
        words = [checkpoint.make(place / "model"), *checkpoint.SHORT]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *map(str, words)],
        cwd=place,
        env=os.environ | {"XLA_FLAGS": flags.strip(), "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SAID[name], done.stdout.strip()), done.stdout
