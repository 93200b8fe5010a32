"""How commands end: mistakes, signals and full disks are a line each, and exit codes say which."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from jprm.cli import app, guarded
from jprm.cli.mistakes import RENAMED
from jprm.errors import UserError
from jprm.formats.rows import read_rows
from jprm.jobs.launchers import RayLauncher, SlurmLauncher
from jprm.paths import configuration_file
from jprm.train.log import TensorBoard
from tests.experiments.benchmark import checkpoint, stored

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["laws", "a.csv", "--parms", "x"], "No such option: --parms"),
        (["lwas"], "No such command 'lwas'. Did you mean 'laws'?"),
        (["data", "convrt"], "Did you mean 'convert'?"),
        (["evaluate", "--modle", "x"], "No such option: --modle (Possible options: --mode, --model)"),
        (["sweep", "--n", "4"], "No such option: --n; it is an option of `evaluate`, `score`, `search`"),
        (["score", "--votes", "4"], "No such option: --votes; it is called --n now"),
        (["search", "--votes", "4"], "No such option: --votes; it is called --n now"),
        (["applications"], "No such command 'applications'; it is called uses now"),
        (["sweep", "search.problems=3"], 'did you mean "evaluate.problems"? It is a key of `uses`.'),
        (["list", "scorer"], "scorer: no such kind; did you mean 'scorers'? there are scorers, strategies,"),
        (["laws"], "Missing argument 'FILE...'"),
        (["laws", "a.csv", "--drop-highest", "few"], "Invalid value for '--drop-highest'"),
    ],
)
def test_a_typo_is_answered(words, said, capsys):
    assert guarded(lambda: app(words, standalone_mode=False)) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in shown and "Traceback" not in shown


def test_one_thing_has_one_name_on_all_command_lines():
    commands: Any = typer.main.get_command(app)
    options = {o: name for name, c in commands.commands.items() for p in c.params for o in p.opts if o[:2] == "--"}
    for old, new in RENAMED.items():
        assert old not in options and old not in commands.commands
        assert new in (options if new.startswith("--") else commands.commands)


def test_a_package_that_is_not_installed_is_a_line_and_a_module_of_ours_is_not(capsys):
    def lacks(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert guarded(lambda: lacks("no_such_package.part")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the package no_such_package.part is not installed; python -m jprm doctor names")
    for ours in ("jprm.nowhere", "json.nowhere"):
        with pytest.raises(ModuleNotFoundError):
            guarded(lambda ours=ours: lacks(ours))


def test_what_an_optional_package_is_for_is_told_with_its_extra(monkeypatch, tmp_path):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    asked = {
        "pyarrow": lambda: list(read_rows(tmp_path / "rows.parquet")),
        "submitit": lambda: SlurmLauncher(tmp_path, {}),
        "ray": lambda: RayLauncher({}),
        "tensorboardX": lambda: TensorBoard(tmp_path),
    }
    for package, use in asked.items():
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
        with pytest.raises(UserError, match="python -m jprm doctor") as raised:
            use()
        [extra] = re.findall(r"pip install 'jprm\[(\w+)\]'", str(raised.value))
        assert any(package.lower() in wanted.lower() for wanted in extras[extra])


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
        pytest.param(
            *(signal.SIGTERM, 75, "stopped (SIGTERM); the same command goes on from here"), marks=pytest.mark.slow
        ),
        (signal.SIGINT, 130, "interrupted; the same command goes on from here"),
    ],
)
def test_a_signal_ends_a_command_in_a_line_and_nothing_is_lost(tmp_path, number, code, line):
    (tmp_path / "slow.py").write_text(SLOW)
    data = checkpoint.write(tmp_path / "rows.jsonl", checkpoint.rows(60))
    words = ["evaluate", "--data", data, "--scorer", "slow", "--plugin", tmp_path / "slow.py"]
    command = [sys.executable, "-m", "jprm", *map(str, words), "--n", "1", "--out", str(tmp_path / "out")]
    # Tests that run in the background ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    while not stored.logged(tmp_path / "out"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate()[1].splitlines()
    assert (process.returncode, said[-1]) == (code, line)
    assert not any("Traceback" in text for text in said)
    before = stored.votes(tmp_path / "out")
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert before.items() < stored.votes(tmp_path / "out").items()


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


def shell(command, **options):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("words", "redirected", "code"),
    [
        ("list", ">&-", 0),
        ("list", ">&- 2>&- <&-", 0),
        ("grade --pairs nosuch", "2>/dev/full", 2),
        ("grade --pairs nosuch", ">&- 2>&-", 2),
        ("lsit", "2>/dev/full", 2),
        ("grade --pairs pairs.jsonl", "| head -c 0; exit ${PIPESTATUS[0]}", 141),
    ],
)
def test_streams_that_nobody_reads_change_no_code(tmp_path, words, redirected, code):
    (tmp_path / "pairs.jsonl").write_text('{"gold": "1", "answer": "1"}\n')
    done = shell(
        f"{sys.executable} -m jprm {words} {redirected}", cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == code and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGTERM, 75, "stopped"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_while_modules_are_loaded_is_a_line(tmp_path, number, code, line):
    """Where an exception could be lost in somebody else's module."""
    (tmp_path / "late.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {int(number)})\nexcept BaseException:\n    pass\n"
    )
    program = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # pytest may run with `&`
        "from jprm.signals import take_signals\ntake_signals()\nimport late\nprint('lost')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sweep", "laws", "--plan"], 0, "27 cells"),
        (["sweep", "lawz", "--plan"], 2, "lawz: no such file, and no configuration of that name; there are gsm8k,"),
        (["sweep", "lawz.toml", "--plan"], 2, "lawz.toml: cannot read the configuration"),
        (["train", "--config", "tinny"], 2, "tinny: no such file, and no configuration of that name; there are qwen-"),
    ],
)
def test_configurations_that_come_with_jprm_go_by_their_names(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert guarded(lambda: app(words, standalone_mode=False) or 0) == code
    told = capsys.readouterr()
    assert said in " ".join((told.out + told.err).split())


def test_a_file_of_that_name_comes_before_the_one_that_comes_with_jprm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration_file("laws", "sweep") == ROOT / "configs" / "sweep" / "laws.toml"
    Path("laws").write_text("")
    assert configuration_file("laws", "sweep") == Path("laws")
    for path in ("./votes", "x/laws", "votes.toml"):
        assert configuration_file(path, "sweep") == Path(path)
