"""A run directory is right again after any death, and belongs to one process at a time."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.jobs import RunDirectory, Stage, directory, provenance, write_atomic
from jprm.jobs import stage as stage_module
from jprm.records import append_jsonl, read_jsonl

ROOT = Path(__file__).resolve().parents[2]
INPUTS = {"size": "tiny", "steps": 5, "root": Path("data")}


def finished(root: Path, summary: dict) -> Stage:
    stage = Stage("train", INPUTS, root)
    with stage.attempt():
        stage.finish(summary, 2)
    return stage


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_stage_is_computed_once(tmp_path):
    stage = Stage("train", INPUTS, tmp_path)
    assert not stage.done and list(tmp_path.iterdir()) == []
    with stage.attempt():
        assert not Stage("train", INPUTS, tmp_path).done
        stage.finish({"loss": 0.1, "sizes": (1, 2), 3: None}, 2)
    again = Stage("train", dict(reversed(INPUTS.items())), tmp_path)
    assert again.done and again.seconds == 2.0
    # computed or reused, the next stage sees the same
    assert stage.summary == again.summary == {"loss": 0.1, "sizes": [1, 2], "3": None}
    inputs = json.loads(again.file("inputs.json").read_text())
    assert inputs == {"size": "tiny", "steps": 5, "root": "data"}
    assert json.loads(again.file("DONE").read_text())["provenance"] == provenance()


def test_another_name_or_input_is_another_stage(tmp_path):
    others = [
        Stage("train", INPUTS, tmp_path),
        Stage("label", INPUTS, tmp_path),
        Stage("train", INPUTS | {"steps": 6}, tmp_path),
        Stage("train", INPUTS | {"seed": 0}, tmp_path),
    ]
    assert len({stage.path for stage in others}) == len({stage.key for stage in others}) == 4
    assert others[0].path == tmp_path / "stages" / f"train-{others[0].key}"


def test_time_adds_up_over_interrupted_attempts(tmp_path, monkeypatch):
    now = [10.0]
    monkeypatch.setattr(stage_module.time, "monotonic", lambda: now[0])
    for expected in (3.0, 6.0):
        stage = Stage("train", INPUTS, tmp_path)
        with pytest.raises(KeyboardInterrupt), stage.attempt():
            now[0] += 3.0
            raise KeyboardInterrupt
        assert Stage("train", INPUTS, tmp_path).seconds == expected
    assert not Stage("train", INPUTS, tmp_path).done


@pytest.mark.parametrize(
    "damage",
    [b"", b'{"summary": {}', b"[]", b"{}", b'{"summary": [], "seconds": 1.0}', b"\xff\0"]
    + [b'{"summary": {}, "seconds": null}'],
)
def test_a_damaged_end_mark_is_named(tmp_path, damage):
    stage = finished(tmp_path, {})
    stage.file("DONE").write_bytes(damage)
    with pytest.raises(UserError) as caught:
        Stage("train", INPUTS, tmp_path)
    path = stage.file("DONE")
    assert str(caught.value) == f"{path}: damaged; delete the folder {stage.path} and run again"


def test_another_number_in_an_end_mark_is_named(tmp_path):
    stage = finished(tmp_path, {"loss": 0.125})
    done = stage.file("DONE")
    done.write_text(done.read_text().replace("0.125", "0.135"))
    with pytest.raises(UserError, match=r"DONE: damaged; delete the folder"):
        Stage("train", INPUTS, tmp_path)


def with_files(root: Path) -> Stage:
    stage = Stage("train", INPUTS, root)
    with stage.attempt():
        append_jsonl(stage.file("rows.jsonl"), [{"row": i} for i in range(9)])
        for folder in ("weights", "checkpoints"):
            stage.file(folder).mkdir()
            stage.file(folder).joinpath("a").write_bytes(bytes(range(9)))
        stage.finish({}, 2)
    return stage


@pytest.mark.parametrize("name", ["rows.jsonl", "weights/a"])
@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:4] + b"\xff" + b[5:], None])
def test_a_result_that_changed_on_disk_is_not_read(tmp_path, name, damage):
    """A row less would be a torn last line, another digit another result."""
    path = with_files(tmp_path).path / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    again = Stage("train", INPUTS, tmp_path)
    assert again.done and again.file("checkpoints").is_dir()
    with pytest.raises(UserError, match=rf"{path}: .*; delete the folder {again.path} and run"):
        again.file(Path(name).parts[0])


def test_what_is_no_result_may_change(tmp_path):
    path = with_files(tmp_path).path
    (path / "checkpoints" / "a").unlink()
    (path / "seconds.json").write_text("")
    (path / "curve-1.npz").write_text("made later")
    again = Stage("train", INPUTS, tmp_path)
    for name in ("checkpoints", "curve-1.npz", "rows.jsonl", "weights"):
        assert again.file(name).exists()


def test_results_of_earlier_versions_have_no_digests_and_are_read(tmp_path):
    stage = with_files(tmp_path)
    done = json.loads(stage.file("DONE").read_text())
    stage.file("DONE").write_text(json.dumps({k: done[k] for k in ("summary", "seconds")}))
    assert read_jsonl(Stage("train", INPUTS, tmp_path).file("rows.jsonl"))[-1] == {"row": 8}


def test_a_damaged_clock_is_named(tmp_path):
    stage = Stage("train", INPUTS, tmp_path)
    stage.path.mkdir(parents=True)
    stage.file("seconds.json").write_text('{"seconds": "3"}')
    with pytest.raises(UserError, match=r"seconds\.json: damaged; delete the folder"):
        with stage.attempt():
            raise AssertionError("not reached")


def count_to_three(root: Path) -> dict:
    with RunDirectory(root):
        stage = Stage("count", {}, root)
        if not stage.done:
            with stage.attempt():
                rows = stage.file("rows.jsonl")
                for i in range(len(read_jsonl(rows)), 3):
                    append_jsonl(rows, [{"i": i}])
                stage.finish({"total": sum(row["i"] for row in read_jsonl(rows))}, 1.0)
        return stage.summary


DEADLY = f"""
import os, signal, sys
from pathlib import Path
from jprm.records import append_jsonl, read_jsonl
from jprm.jobs import RunDirectory, Stage

calls = int(sys.argv[2])
def deadly(real):
    def call(*arguments):
        global calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call
os.fsync, os.replace, os.mkdir = map(deadly, (os.fsync, os.replace, os.mkdir))

{inspect.getsource(count_to_three)}
print(count_to_three(Path(sys.argv[1])))
"""


def test_death_at_any_write_changes_nothing(tmp_path):
    for calls in range(1, 40):
        root = tmp_path / str(calls)
        process = start(DEADLY, root, calls)
        answer, _ = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -9 and answer == ""
        assert count_to_three(root) == {"total": 3}
    assert answer == "{'total': 3}\n"
    assert calls > 10  # it died at every folder, at 3 rows, and twice at each of 2 files


HOLDER = """
import sys, time
from jprm.jobs import RunDirectory
run = RunDirectory(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def test_one_process_holds_a_run_until_it_dies(tmp_path):
    holder = start(HOLDER, tmp_path)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by process {holder.pid}; wait for it"):
            RunDirectory(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    with RunDirectory(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
        with pytest.raises(UserError, match=f"in use by process {os.getpid()};"):
            RunDirectory(tmp_path)
    RunDirectory(tmp_path).close()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(directory.fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"cannot lock the run directory \(Operation not supported"):
        RunDirectory(tmp_path)


def test_a_place_that_cannot_be_a_run_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError) as caught:
            RunDirectory(path)
        assert str(caught.value).startswith(f"{path}: cannot write the run directory (")
        assert "directory=PATH" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("used_before", [True, False])
def test_a_read_only_run_is_named(tmp_path, used_before):
    if used_before:
        RunDirectory(tmp_path).close()
        (tmp_path / "lock").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"cannot write the run directory \(Permission denied"):
            RunDirectory(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    (tmp_path / "a.json.tmp").write_text("left by a writer that was killed, and longer")
    write_atomic(path, "\u00e9")
    assert path.read_bytes() == b"\xc3\xa9"
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    (tmp_path / "a.json.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"a\.json: cannot write \(No space left on device\); free"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_provenance_is_json_and_tells_the_versions():
    told = provenance()
    assert json.loads(json.dumps(told)) == told
    assert told["packages"]["numpy"] == np.__version__
    assert told["python"] == ".".join(map(str, sys.version_info[:3])) and told["cpus"] >= 1


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"seconds": ' + b"9" * 5000 + b"}",
        b'{"summary": {}, "seconds": 1.0, "files": ["a"]}',
        b'{"summary": {}, "seconds": 1.0, "provenance": []}',
    ],
    ids=["deep", "digits", "files", "provenance"],
)
def test_a_result_that_is_none_is_damaged(tmp_path, content):
    stage = Stage("a", {}, tmp_path)
    stage.path.mkdir(parents=True)
    stage.file("DONE").write_bytes(content)
    with pytest.raises(UserError, match="DONE: damaged; delete the folder"):
        Stage("a", {}, tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"9" * 5000, b"-1", b""])
def test_a_foreign_lock_file_is_held_by_somebody_unknown(tmp_path, content):
    with RunDirectory(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(UserError, match="in use by another process"):
            RunDirectory(tmp_path)
