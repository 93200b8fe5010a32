"""The main job at a size of seconds: it resumes to the bit, reuses, plans, and answers mistakes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jprm.cli import sweep_main
from jprm.records import read_jsonl
from tests.experiments.sweep.tiny_sweep import TINY, table
from tests.pages import documented

ROOT = Path(__file__).resolve().parents[3]


def test_a_row_per_cell_and_number_of_votes(finished):
    _, rows = finished
    assert len(rows) == 4 * 2, "two grid cells and two variants, at one and two votes"
    assert all(row.keys() | {"seconds"} == documented("results.jsonl")["fields"] for row in rows)
    assert {row["code"] for row in rows} == {"executed", "invented"}
    assert all(0 <= row["none_share"] <= 1 and row["n_items"] == rows[0]["n_items"] for row in rows)
    by_votes = {(row["cell"], row["n_votes"]): row["tokens"] for row in rows}
    assert all(abs(by_votes[cell, 2] - 2 * t) <= 1 for (cell, n), t in by_votes.items() if n == 1)


def test_a_second_run_computes_nothing(finished, capsys):
    directory, rows = finished
    assert sweep_main([f"directory={directory}", *TINY]) == 0
    assert "computed 0, reused" in capsys.readouterr().out
    assert table(directory) == rows


def test_rationales_are_as_the_page_of_files_says(finished):
    [row, *_] = [
        row
        for path in (finished[0] / "embedded" / "stages").glob("votes-*/rationales.jsonl")
        for row in read_jsonl(path)
    ]
    assert row.keys() == documented("rationales.jsonl")["fields"]
    assert row["rationales"][0].keys() == documented("A rationale")["fields"]


@pytest.mark.slow
def test_another_seed_is_another_table(finished, tmp_path):
    _, rows = finished
    one_cell = ["grid.ablations=[]", "grid.train_examples=[16]"]
    assert sweep_main([f"directory={tmp_path}", *TINY, *one_cell, "grid.seeds=[1]"]) == 0
    assert {row["train_loss"] for row in table(tmp_path)}.isdisjoint(row["train_loss"] for row in rows)


def test_the_report_stands_alone(finished):
    page = (finished[0] / "embedded" / "report.html").read_text()
    assert "induction-ready" in page and "<svg" in page
    assert "http-equiv" not in page and 'src="http' not in page and "@import" not in page


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
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            unfinished = [
                stage for stage in (tmp_path / "embedded" / "stages").glob(f"{kind}*") if not (stage / "DONE").exists()
            ]
            if unfinished:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.001)
        assert process.wait() in (0, -signal.SIGKILL)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert table(tmp_path) == finished[1]


@pytest.mark.slow
@pytest.mark.release  # in each stage it is killed above
def test_killed_at_random_moments_it_ends_in_the_same_table(finished, tmp_path):
    command = [sys.executable, "experiments/sweep.py", f"directory={tmp_path}", *TINY]
    rng = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=2 + 8 * rng.random())
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.wait() in (0, -signal.SIGKILL)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert table(tmp_path) == finished[1]
    assert figures(tmp_path) == figures(finished[0])


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_do_every_stage_once(finished, tmp_path):
    chunks = ["launch.chunk_solutions=5", "launch.expiry_s=5", "launch.poll_s=0.2"]
    command = [sys.executable, "experiments/sweep.py", f"directory={tmp_path}", *TINY, *chunks]
    workers = [
        subprocess.Popen([*command, "--worker"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    stages = tmp_path / "embedded" / "stages"
    while not list(stages.glob("verifier-*/DONE")):
        time.sleep(0.05)
    workers[0].kill()
    workers[0].communicate()
    out, _ = workers[1].communicate(timeout=280)
    assert workers[1].returncode == 0 and "computed" in out
    assert table(tmp_path) == finished[1] and figures(tmp_path) == figures(finished[0])
    expected = {path.name for path in (finished[0] / "embedded" / "stages").iterdir()}
    assert {path.name for path in stages.iterdir()} == expected, "no part, no lease is left"


@pytest.mark.slow
def test_the_local_launcher_ends_in_the_same_table(finished, tmp_path):
    command = [sys.executable, "experiments/sweep.py", f"directory={tmp_path}", *TINY]
    launch = ["--launcher", "local", "--parallel", "2"]
    done = subprocess.run([*command, *launch], cwd=ROOT, capture_output=True, text=True, check=True, timeout=500)
    assert "computed 10, reused 0" in done.stdout
    assert table(tmp_path) == finished[1]
    for worker in ("local-0", "local-1"):
        left = tmp_path / "embedded" / "workers" / worker
        assert json.loads((left / "exit.json").read_text())["reason"] == "finished"
        assert "--worker" in (left / "command.txt").read_text() and (left / "log.txt").exists()


@pytest.mark.slow
def test_calibration_is_kept_for_the_next_plan(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jprm.experiments.sweep.machine_speed.SECONDS_EACH", 0.5)
    directory = copy_of(finished, tmp_path)
    more = [f"directory={directory}", *TINY, "grid.seeds=[0, 1]", "--plan"]
    assert sweep_main(more) == 0
    assert "on two CPU cores" in capsys.readouterr().out
    assert sweep_main([*more, "--calibrate"]) == 0
    first = capsys.readouterr().out
    assert "at the speed measured on this machine" in first and " hours" in first
    assert sweep_main(more) == 0
    assert capsys.readouterr().out.splitlines()[-1] == first.splitlines()[-1]


def figures(directory: Path) -> dict[str, str]:
    """The figures without the one whose axis is the time it took."""
    folder = directory / "embedded" / "figures"
    drawn = {path.stem: path.read_text() for path in sorted(folder.iterdir())}
    assert drawn.pop("f1_against_seconds")
    return drawn


def copy_of(finished, tmp_path) -> Path:
    shutil.copytree(finished[0], tmp_path / "runs")
    return tmp_path / "runs"


def rationales(directory: Path) -> dict[int, dict[str, list]]:
    """Of the only verifier's votes, by their number and the solution."""
    found = {}
    for stage in (directory / "embedded" / "stages").glob("votes-*"):
        inputs = json.loads((stage / "inputs.json").read_text())
        rows = (stage / "rationales.jsonl").read_text().splitlines()
        found[inputs["n_votes"]] = {row["solution_id"]: row["rationales"] for row in map(json.loads, rows)}
    return found


def test_votes_added_later_equal_those_drawn_at_once(finished, tmp_path, capsys):
    one_cell = [*TINY, "grid.ablations=[]", "grid.train_examples=[16]"]
    more = [*one_cell, "verify.n_votes=4", "--replace"]
    later = copy_of(finished, tmp_path)
    other = [path for path in (later / "embedded" / "stages").glob("votes-*")]
    wanted = finished_votes(later)
    for path in other:
        if path != wanted:
            shutil.rmtree(path)
    at_once = tmp_path / "once"
    shutil.copytree(later, at_once)
    shutil.rmtree(at_once / "embedded" / "stages" / wanted.name)
    for directory in (later, at_once):
        assert sweep_main([f"directory={directory}", *more]) == 0
        assert "computed 1, reused" in capsys.readouterr().out
    assert table(later) == table(at_once)
    assert rationales(later)[4] == rationales(at_once)[4]
    # and fewer are read off more: nothing is drawn
    assert sweep_main([f"directory={at_once}", *one_cell, "--replace"]) == 0
    assert rationales(at_once)[2] == rationales(later)[2]


def finished_votes(directory: Path) -> Path:
    """The stage of the main cell's votes."""
    for stage in (directory / "embedded" / "stages").glob("votes-*"):
        inputs = json.loads((stage / "inputs.json").read_text())
        [verifier] = (directory / "embedded" / "stages").glob(f"*-{inputs['from verifier']}")
        trained = json.loads((verifier / "inputs.json").read_text())
        if trained["examples"] == 16 and trained["filtered"] and inputs["execution"] == "executed":
            return stage
    raise AssertionError("no such stage")


def test_a_cell_that_fails_is_a_row_with_its_reason_and_the_others_go_on(finished, tmp_path, capsys):
    directory = copy_of(finished, tmp_path)
    too_many = [f"directory={directory}", *TINY, "grid.train_examples=[8, 16, 36]", "grid.ablations=[]", "--replace"]
    assert sweep_main(too_many) == 3
    out = capsys.readouterr().out
    assert "1 of 3 cells failed" in out and "failed: tiny-0.1m n=36 full" in out
    rows = table(directory)
    [failed] = [row for row in rows if row["status"] != "ok"]
    assert failed["status"] == "failed" and failed["f1"] is None
    assert failed["reason"].startswith("grid.train_examples asks for 36 labelled solutions")
    assert [row["train_examples"] for row in rows if row["status"] == "ok"] == [16, 16, 8, 8]
    assert sweep_main([*too_many, "--plan"]) == 0
    assert " failed " in capsys.readouterr().out
    diverges = [f"directory={directory}", *TINY, "grid.ablations=[]", "train.learning_rate=1e30", "--replace"]
    capsys.readouterr()
    assert sweep_main(diverges) == 2, "all cells fail, and by a value that the user gave"
    assert "lower train.learning_rate" in capsys.readouterr().err
    [one, _] = list((directory / "embedded" / "stages").glob("verifier-*/failure.json"))[:2]
    assert json.loads(one.read_text())["status"] in ("failed", "diverged")


def test_results_of_different_versions_share_a_table_only_when_asked(finished, tmp_path, capsys):
    directory = copy_of(finished, tmp_path)
    done = next((directory / "embedded" / "stages").glob("verifier-*")) / "DONE"
    told = json.loads(done.read_text())
    told["provenance"]["packages"]["optax"] = "0.0.1"
    del told["check"]  # of what stood there before
    done.write_text(json.dumps(told))
    assert sweep_main([f"directory={directory}", *TINY]) == 2
    error = capsys.readouterr().err
    assert "optax 0.0.1" in error and "--mix-versions" in error
    assert sweep_main([f"directory={directory}", *TINY, "--mix-versions"]) == 0
    assert table(directory) == finished[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian.steps=5"], 'did you mean "train.steps"?'),
        (["grid.seeds=[]"], "grid.seeds"),
        (["grid.sizes=[]"], "grid.sizes"),
        (["name=.."], "name"),
        (["train.learning_rate=inf"], "finite number"),
        (["verify.timeout_s=inf"], "finite number"),
        (["/dev/zero"], "larger than a configuration"),
        (["train.steps=many"], "train.steps"),
        (["--fast"], "--fast"),
        (["a.toml", "b.toml"], "two configuration files"),
        (["absent.toml"], "absent.toml"),
        (["configs/sweep/gsm8k.toml"], "data.root"),
        (["configs/sweep/gsm8k.toml", "data.root=nowhere", "--plan"], "nowhere"),
        (["model.policy=tiny-9m", "--plan"], "tiny-9m"),
        (["evaluate.votes_shown=[16]"], "verify.n_votes is 8"),
        (["grid.main_size=tiny-1m"], "is not among grid.sizes"),
        (["grid.train_examples=[5000]", "--plan"], "raise labels.problems"),
        (["verify.place=moon", "--plan"], "local, ray, or a URL"),
        (["--launcher", "cloud"], "local, slurm, ray"),
        (["--launcher=local", "--parallel", "none"], "Invalid value for '--parallel'"),
        (["--worker", "--plan"], "exclude each other"),
        (["--calibrate"], "--plan"),
        (['axes=[{key="train.stepz", values=[1]}]', "--plan"], 'did you mean "train.steps"?'),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert sweep_main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_a_typo_is_answered_before_jax_is_imported():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "experiments/sweep.py", "trian.steps=5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
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
    whole = rationales.read_bytes()
    for damage in (b"{broken\n" + whole, whole[:-9], whole.replace(b'"vote": 0', b'"vote": 1', 1)):
        rationales.write_bytes(damage)
        assert sweep_main([f"directory={directory}", *TINY]) == 2
        assert f"{rationales}: changed since it was written; delete the folder" in capsys.readouterr().err
    rationales.write_bytes(whole)
    assert sweep_main([f"directory={directory}", *TINY]) == 0
    assert table(directory) == finished[1]


def test_a_run_directory_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for plan in ([], ["--plan"]):
        assert sweep_main([f"directory={tmp_path / 'file'}", *TINY, *plan]) == 2
        assert "cannot write the run directory" in capsys.readouterr().err
