"""The exit codes in the help, on the page and in the code are the same, and commands end with them."""

import ast
import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from jprm import doctor, errors
from jprm.cli import app, guarded
from jprm.errors import EXIT_CODES, INCOMPLETE
from tests.pages import ROOT
from tools.command_reference import commands

PAGE = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
NAMED = {value: name for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
TOLD = re.compile(r"\b(\d+)(?: says that|: )")


def codes_in_help(command: Any) -> set[int]:
    """The codes that the help of a command names behind "exit code"."""
    _, said, codes = " ".join(command.help.split()).lower().partition("exit code ")
    return {int(code) for code in TOLD.findall(codes)} if said else set()


def test_the_table_of_the_page_and_the_help_say_what_the_code_says():
    assert dict(re.findall(r"^\| (\d+) \| ([^|]+?) \|", PAGE, flags=re.MULTILINE)) == {
        str(code): meaning for code, meaning in EXIT_CODES.items()
    }
    shown = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert all(f"{code} = {meaning}" in shown for code, meaning in EXIT_CODES.items())
    assert EXIT_CODES.keys() == {0, *NAMED}


def test_commands_name_no_other_codes_and_the_page_says_which_can_be_incomplete():
    named = {name: codes_in_help(command) for name, command in commands()}
    assert set().union(*named.values()) <= EXIT_CODES.keys()
    told = set(re.findall(r"^\| `([\w ]+)` \|", PAGE, flags=re.MULTILINE))
    assert {name for name, codes in named.items() if INCOMPLETE in codes} == told
    assert [name for name, codes in named.items() if errors.UNFIT in codes] == ["doctor"]


def literal_codes(text: str) -> list[int]:
    """The numbers with which a file's code would end a process, other than 0 and those that have a name."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    ends = [c for c in calls if ast.unparse(c.func) in ("sys.exit", "SystemExit", "typer.Exit", "os._exit")]
    return [a.value for c in ends for a in c.args if isinstance(a, ast.Constant) and a.value]


def test_no_code_ends_a_command_with_a_number_that_has_no_name():
    assert literal_codes("sys.exit(4)\nraise typer.Exit(code)\nsys.exit(0)") == [4]
    processes = {"endless.py", "runner.py"}  # of children, whose codes nobody sees
    files = [path for path in (ROOT / "jprm").rglob("*.py") if path.name not in processes]
    assert {path.name: found for path in files if (found := literal_codes(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list", "worlds"], 0),
        (["doctor", "--json", "--wait", "0.1"], errors.UNFIT),
        (["grade", "--pairs", "nosuch"], errors.MISTAKE),
        (["grade", "--pairs", "pairs.jsonl"], INCOMPLETE),
    ],
)
def test_commands_end_with_them(words, code, tmp_path, monkeypatch):
    """Signals and readers that are gone are in tests/test_cli.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "diagnose", lambda *_: [doctor.Finding("devices", "none", "bad")])
    (tmp_path / "pairs.jsonl").write_text('{"gold": "1", "answer": "1"}\nnot a row\n')
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(guarded(lambda: app(words, standalone_mode=False)))
    assert ended.value.code == code


def test_every_command_has_a_help():
    assert [name for name, command in commands() if not command.help] == []
    assert isinstance(app, typer.Typer)
