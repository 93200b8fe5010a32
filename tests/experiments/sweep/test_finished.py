"""What can be had of a finished sweep without sampling: a checkpoint, the report again, comparisons."""

import json
import shutil
import sys

import numpy as np
import pytest

from jprm.cli import main
from jprm.experiments.sweep.compare import compare
from jprm.models.hf_weights import from_hf
from jprm.tokenizer import Tokenizer
from jprm.train import load_params
from tests.experiments.sweep.tiny_sweep import table


def test_the_verifier_is_exported_with_tokenizer_and_card(finished, tmp_path, capsys, monkeypatch):
    directory, _ = finished
    run, out = directory / "embedded", tmp_path / "out"

    def export(*options):
        monkeypatch.setattr(sys, "argv", ["jprm", "export", "--out", str(out), *options])
        return main(), capsys.readouterr()

    code, said = export("--run", str(run), "--to", "gguf")
    assert code == 2 and said.err == "error: --to gguf: no such format; the only one is hf\n"
    code, said = export("--run", str(tmp_path))
    assert code == 2 and "no finished sweep there" in said.err
    assert export("--run", str(run))[0] == 0
    code, said = export("--run", str(run))
    assert code == 2 and f"{out}: is not empty" in said.err

    [weights] = [
        path
        for path in run.glob("stages/verifier-*/weights")
        if json.loads((path.parent / "inputs.json").read_text())["examples"] == 16
        and json.loads((path.parent / "inputs.json").read_text())["filtered"]
    ]
    params, _ = load_params(weights)
    model, exported = from_hf(out)
    assert np.array_equal(exported["layers"]["q"], params["layers"]["q"])
    assert np.array_equal(exported["head"], params["embed"].T)
    tokenizer = Tokenizer.load(out)
    assert tokenizer.vocab_size <= model.config.vocab_size
    config = json.loads((out / "config.json").read_text())
    assert config["eos_token_id"] == tokenizer.eos_id
    assert "| training steps | 8 |" in (out / "README.md").read_text()


def say(monkeypatch, capsys, *words):
    """What `python -m jprm WORDS` answers: exit code, output, error."""
    monkeypatch.setattr(sys, "argv", ["jprm", *map(str, words)])
    code = main()
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_report_is_written_again_without_a_model(finished, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(finished[0] / "embedded", tmp_path / "moved")
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    code, out, _ = say(monkeypatch, capsys, "report", run)
    assert code == 0 and "report.html: 4 of 4 cells" in out
    after = (run / "report.html").read_text()
    tables = [page[page.index("<h2>What was found") : page.index("<h2>Record")] for page in (before, after)]
    assert tables[0] == tables[1]
    assert say(monkeypatch, capsys, "report", run, "evaluate.votes_shown=[2]")[0] == 0
    assert (run / "report.html").read_text() != after
    for decides in ("verify.temperature=2", "verify.readout=vote"):  # where judging stopped
        code, _, err = say(monkeypatch, capsys, "report", run, decides)
        assert code == 2 and "decides what is sampled" in err
    code, _, err = say(monkeypatch, capsys, "report", run, "verify.readut=vote")
    assert code == 2 and "verify.readout" in err


def test_two_runs_are_compared_by_cell(finished, tmp_path, capsys, monkeypatch):
    run = finished[0] / "embedded"
    other = shutil.copytree(run, tmp_path / "other")
    [votes, *_] = sorted(
        path.parent
        for path in other.glob("stages/votes-*/inputs.json")
        if json.loads(path.read_text())["execution"] == "executed"
    )
    shutil.rmtree(votes)  # one cell that only the first run has
    found = compare(run, other)
    assert {(row.first.cell.name, row.votes) for row in found.rows} == {
        (cell, k) for cell in {row.first.cell.name for row in found.rows} for k in (1, 2)
    }
    differences = [row.gain.difference for row in found.rows]
    assert all(d.value == 0 and d.low <= 0 <= d.high for d in differences)
    assert [reason for _, reason in found.left_out] == [f"not in {other}"]

    code, out, _ = say(monkeypatch, capsys, "compare", run, run, "--cells", "n=16 full exact s=0 executed", "invented")
    assert code == 0 and "B minus A" in out
    rows = {(row["cell"], row["n_votes"]): row["f1"] for row in table(finished[0])}
    [pair] = [row for row in compare(run, run, ("n=16 full exact s=0 executed", "invented")).rows if row.votes == 2]
    of = [rows[m.cell.name, 2] for m in (pair.first, pair.second)]
    assert pair.gain.difference.value == pytest.approx(of[1] - of[0])
    code, _, err = say(monkeypatch, capsys, "compare", run, run, "--cells", "full", "x y")
    assert code == 2 and "'full' is in" in err
    code, _, err = say(monkeypatch, capsys, "compare", run, tmp_path)
    assert code == 2 and "no finished sweep there" in err
