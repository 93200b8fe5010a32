"""The main job at a size of seconds: it resumes to the bit, reuses, plans, and answers mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jprm.cli import main, sweep_main
from jprm.models.hf_weights import from_hf
from jprm.pipeline.compare import compare
from jprm.tokenizer import Tokenizer
from jprm.train import load_params

ROOT = Path(__file__).resolve().parents[2]
# Labels by construction and planted errors: a model this little trained writes no solutions to roll out.
TINY = [
    "base.steps=12",
    "base.documents=400",
    "base.checkpoint_every=4",
    "train.steps=8",
    "train.checkpoint_every=3",
    "labels.source=planted",
    "labels.problems=12",
    "model.lanes=16",
    "evaluate.benchmarks=['planted']",
    "evaluate.problems=12",
    "evaluate.candidates_problems=0",
    "evaluate.votes_shown=[1, 2]",
    "verify.n_votes=2",
    "verify.workers=1",
    "grid.labels=exact",
    "grid.sizes=['tiny-0.1m']",
    "grid.train_examples=[8, 16]",
    "grid.ablations=['invented', 'unfiltered']",
]


def table(directory: Path) -> list[dict]:
    """The rows without what may differ: the time it took."""
    rows = [
        json.loads(line)
        for line in (directory / "embedded" / "results.jsonl").read_text().splitlines()
    ]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny sweep: (directory, its table)."""
    directory = tmp_path_factory.mktemp("runs")
    assert sweep_main([f"directory={directory}", *TINY]) == 0
    return directory, table(directory)


def test_a_row_per_cell_and_number_of_votes(finished):
    _, rows = finished
    assert len(rows) == 4 * 2, "two grid cells and two variants, at one and two votes"
    wanted = {
        *(
            "cell",
            "model_params",
            "train_examples",
            "n_votes",
            "mode",
            "code",
            "labels",
            "f1",
            "f1_low",
            "f1_high",
        ),
        *("error_acc", "correct_acc", "n_items", "none_share", "tokens", "flops", "seed"),
    }
    assert all(wanted <= set(row) for row in rows)
    assert {row["code"] for row in rows} == {"executed", "invented"}
    assert all(0 <= row["none_share"] <= 1 and row["n_items"] == rows[0]["n_items"] for row in rows)
    by_votes = {(row["cell"], row["n_votes"]): row["tokens"] for row in rows}
    assert all(abs(by_votes[cell, 2] - 2 * t) <= 1 for (cell, n), t in by_votes.items() if n == 1)


def test_a_second_run_computes_nothing(finished, capsys):
    directory, rows = finished
    started = time.monotonic()
    assert sweep_main([f"directory={directory}", *TINY]) == 0
    assert time.monotonic() - started < 15
    assert "computed 0, reused" in capsys.readouterr().out
    assert table(directory) == rows


def test_another_seed_is_another_table(finished, tmp_path):
    _, rows = finished
    assert sweep_main([f"directory={tmp_path}", *TINY, "grid.seeds=[1]"]) == 0
    other = table(tmp_path)
    assert [r["train_loss"] for r in other] != [r["train_loss"] for r in rows]


def test_the_report_stands_alone(finished):
    page = (finished[0] / "embedded" / "report.html").read_text()
    assert "induction-ready" in page and "<svg" in page
    assert "http-equiv" not in page and 'src="http' not in page and "@import" not in page


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
    tables = [
        page[page.index("<h2>What was found") : page.index("<h2>Record")]
        for page in (before, after)
    ]
    assert tables[0] == tables[1]
    assert say(monkeypatch, capsys, "report", run, "verify.readout=vote")[0] == 0
    assert (run / "report.html").read_text() != after
    code, _, err = say(monkeypatch, capsys, "report", run, "verify.temperature=2")
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
    assert all(row.difference.value == 0 == row.difference.low for row in found.rows)
    assert [reason for _, reason in found.left_out] == [f"not in {other}"]

    code, out, _ = say(
        monkeypatch,
        capsys,
        "compare",
        run,
        run,
        "--cells",
        "n=16 full exact s=0 executed",
        "invented",
    )
    assert code == 0 and "B minus A" in out
    rows = {(row["cell"], row["n_votes"]): row["f1"] for row in table(finished[0])}
    [pair] = [
        row
        for row in compare(run, run, ("n=16 full exact s=0 executed", "invented")).rows
        if row.votes == 2
    ]
    of = [rows[m.cell.name, 2] for m in (pair.first, pair.second)]
    assert pair.difference.value == pytest.approx(of[1] - of[0])
    code, _, err = say(monkeypatch, capsys, "compare", run, run, "--cells", "full", "x y")
    assert code == 2 and "'full' is in" in err
    code, _, err = say(monkeypatch, capsys, "compare", run, tmp_path)
    assert code == 2 and "no finished sweep there" in err


def test_plan_says_what_is_there_and_starts_nothing(finished, tmp_path, capsys):
    assert sweep_main([f"directory={finished[0]}", *TINY, "--plan"]) == 0
    assert "about 0 min left" in capsys.readouterr().out
    assert sweep_main([f"directory={tmp_path}", *TINY, "--plan"]) == 0
    assert ", 0 done" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_in_each_stage_it_ends_in_the_same_table(finished, tmp_path):
    command = [sys.executable, "experiments/sweep.py", f"directory={tmp_path}", *TINY]
    stages = ["base-", "labels-", "benchmark-", "verifier-", "votes-"]
    for kind in stages:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            unfinished = [
                stage
                for stage in (tmp_path / "embedded" / "stages").glob(f"{kind}*")
                if not (stage / "DONE").exists()
            ]
            if unfinished:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.001)
        assert process.wait() in (0, -signal.SIGKILL)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert table(tmp_path) == finished[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian.steps=5"], 'did you mean "train.steps"?'),
        (["train.steps=many"], "train.steps"),
        (["--fast"], "--fast"),
        (["a.toml", "b.toml"], "two configuration files"),
        (["absent.toml"], "absent.toml"),
        (["configs/sweep/gsm8k.toml"], "data.root"),
        (["configs/sweep/gsm8k.toml", "data.root=nowhere", "--plan"], "nowhere"),
        (["model.policy=tiny-9m", "--plan"], "tiny-9m"),
        (["verify.n_votes=4"], "votes_shown"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert sweep_main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_a_typo_is_answered_before_jax_is_imported():
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "experiments/sweep.py", "trian.steps=5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and time.monotonic() - started < 10
    assert "| jax" not in done.stderr


def test_damage_is_named_and_nothing_is_lost(finished, tmp_path, capsys):
    directory = tmp_path / "runs"
    subprocess.run(["cp", "-r", str(finished[0]), str(directory)], check=True)
    stage = next((directory / "embedded" / "stages").glob("votes-*"))
    done = (stage / "DONE").read_text()
    (stage / "DONE").write_text(done[:20])
    assert sweep_main([f"directory={directory}", *TINY]) == 2
    assert str(stage / "DONE") in capsys.readouterr().err
    (stage / "DONE").write_text(done)
    rationales = stage / "rationales.jsonl"
    rationales.write_text("{broken\n" + rationales.read_text())
    assert sweep_main([f"directory={directory}", *TINY]) == 2
    assert f"{rationales}:1" in capsys.readouterr().err


def test_a_run_directory_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert sweep_main([f"directory={tmp_path / 'file'}", *TINY]) == 2
    assert "cannot write the run directory" in capsys.readouterr().err
