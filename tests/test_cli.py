"""How commands end: mistakes, signals and full disks are a line each, and exit codes say which."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from jprm.cli import app, guarded
from jprm.errors import UserError
from tests.judge import checkpoint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["laws", "a.csv", "--parms", "x"], "No such option: --parms"),
        (["lwas"], "No such command 'lwas'"),
        (["laws"], "Missing argument 'FILE...'"),
        (["laws", "a.csv", "--drop-highest", "few"], "Invalid value for '--drop-highest'"),
    ],
)
def test_a_typo_is_answered(words, said, capsys):
    assert guarded(lambda: app(words, standalone_mode=False)) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in shown and "Traceback" not in shown


def test_an_error_of_the_program_is_not_hidden():
    def broken() -> int:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        guarded(broken)


SLOW = """
import time
from jprm.score import scorer

@scorer("slow")
def slow(problem, steps, seed):
    time.sleep(0.05)
    return [1.0] * len(steps)
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 75, "stopped (SIGTERM); the same command goes on from here"),
        (signal.SIGINT, 130, "interrupted; the same command goes on from here"),
    ],
)
def test_a_signal_ends_a_command_in_a_line_and_nothing_is_lost(tmp_path, number, code, line):
    (tmp_path / "slow.py").write_text(SLOW)
    data = checkpoint.write(tmp_path / "rows.jsonl", checkpoint.rows(60))
    words = ["evaluate", "--data", data, "--scorer", "slow", "--plugin", tmp_path / "slow.py"]
    command = [
        sys.executable,
        "-m",
        "jprm",
        *map(str, words),
        "--n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    votes = tmp_path / "out" / "votes.jsonl"
    while not votes.exists() or not votes.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate()[1].splitlines()
    assert (process.returncode, said[-1]) == (code, line)
    assert not any("Traceback" in text for text in said)
    before = votes.read_bytes()
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert votes.read_bytes().startswith(before) and len(votes.read_bytes()) > len(before)


@pytest.mark.parametrize("words", [["list"], ["laws", "--help"]])
def test_full_and_closed_outputs(words):
    command = [sys.executable, "-m", "jprm", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: No space left on device; ")
    assert done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EMFILE])
def test_what_the_machine_lacks_is_a_line(number, capsys):
    def fails() -> int:
        raise OSError(number, os.strerror(number), "votes.jsonl")

    assert guarded(fails) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: votes.jsonl: {os.strerror(number)}; ") and said.count("\n") == 1
    with pytest.raises(FileNotFoundError):  # our own mistake keeps its traceback
        guarded(lambda: open("/no/such/file").close())


def test_messages_of_others_cannot_steer_the_terminal(capsys):
    def refused() -> int:
        raise UserError("the server said: \x1b[2J")

    assert guarded(refused) == 2
    assert capsys.readouterr().err == "error: the server said: \\x1b[2J\n"
