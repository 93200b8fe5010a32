"""The example of an experiment of one's own does what `evaluate` does, for each checkpoint and temperature."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from jprm.cli import guarded, main
from jprm.score import scorer
from tests.experiments.benchmark import checkpoint

FILE = Path(__file__).resolve().parents[2] / "experiments" / "temperature.py"


@scorer("half-right")
def half_right(problem, steps, seed):
    """Sees the errors of every second problem."""
    return [0.0 if "=4" in step and "has 1" in problem else 1.0 for step in steps]


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("temperature", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short():
    assert len(FILE.read_text().splitlines()) < 120


def test_every_checkpoint_and_temperature_is_a_row(example, tmp_path, capsys):
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(12))
    models = [tmp_path / name for name in "ab"]
    for model in models:
        model.mkdir()
        (model / "config.json").write_text(json.dumps({"name": model.name}))
    words = [f"data={data}", f"models={json.dumps(list(map(str, models)))}", "temperatures=[1.0, 0.5]"]
    words += ["scorer=half-right", f"directory={tmp_path / 'run'}"]
    assert guarded(lambda: example.run(words)) == 0
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert [(row["model"], row["temperature"]) for row in rows] == [("a", 1.0), ("a", 0.5), ("b", 1.0), ("b", 0.5)]
    assert all(row["f1_low"] <= row["f1"] <= row["f1_high"] for row in rows) and "F1 against temperature" in out
    assert "<svg" in (tmp_path / "run" / "report.html").read_text()
    # the stages are those of `evaluate`, and so are the numbers
    assert "computed 3, reused 0" in out, "one file; a scorer without a model has the same votes at any temperature"
    assert guarded(lambda: example.run(words)) == 0
    assert "computed 0, reused 3" in capsys.readouterr().out
    assert guarded(lambda: example.run([*words, "n_votes=2"])) == 2
    assert re.fullmatch(r"error: .*n_votes \(4 there, 2 now\).*set directory=OTHER.*\n", capsys.readouterr().err)


@pytest.mark.slow
def test_its_numbers_are_those_of_evaluate(example, tmp_path, capsys, monkeypatch):
    data = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(4))
    model = checkpoint.make(tmp_path / "model")
    protocol = [word for word in checkpoint.SHORT if not word.startswith("sampling.temperature")]
    words = [f"data={data}", f"models=['{model}']", "temperatures=[0.5]", "n_votes=2", "workers=1", "slots=8"]
    words += [f"protocol={json.dumps(protocol)}", f"directory={tmp_path / 'run'}"]
    assert guarded(lambda: example.run(words)) == 0
    [row] = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    command = ["jprm", "evaluate", "--model", str(model), "--data", str(data), "--n", "2", "--workers", "1"]
    command += ["--slots", "8", "--out", str(tmp_path / "out"), "--json", str(tmp_path / "table.json")]
    monkeypatch.setattr("sys.argv", [*command, *protocol, "sampling.temperature=0.5"])
    assert main() == 0
    overall = json.loads((tmp_path / "table.json").read_text())["overall"]
    assert overall["f1"]["value"] == row["f1"]
