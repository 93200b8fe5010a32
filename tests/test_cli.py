"""A mistyped command line is answered in words, with exit code 2."""

import pytest

from jprm.cli import app, guarded


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
