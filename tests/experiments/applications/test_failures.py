"""Stages of `experiments/uses.py` that fail: a line each, the other stages kept, and an exit code that says which."""

import re

import pytest

from jprm.cli import uses_main
from jprm.errors import UserError
from jprm.experiments.applications.run import tell_failures
from jprm.jobs import Failure
from tests.experiments.applications import tiny


def test_mistakes_of_the_user_are_one_and_failures_of_the_program_the_other(capsys):
    mistakes = [Failure("failed", "too few problems", user_error=True)] * 2
    with pytest.raises(UserError, match="^too few problems$"):
        tell_failures(mistakes, 9)
    broken = Failure("failed", "ZeroDivisionError: division by zero")
    assert tell_failures([*mistakes, broken, broken], 9) == 3
    assert capsys.readouterr().out.splitlines() == [
        "failed: too few problems",
        "failed: ZeroDivisionError: division by zero",
        "no table: 4 of 9 stages failed; the same command tries them again",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(UserError("few"), 2), (ZeroDivisionError("0"), 3)])
def test_a_failed_stage_keeps_back_only_what_needs_it(tmp_path, monkeypatch, capsys, error, code):
    def fails(*_):
        raise error

    monkeypatch.setattr("jprm.tasks.labels.Labels.compute", fails)
    assert uses_main([f"directory={tmp_path}", *tiny.TINY]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and str(error) in out + err
    done = {path.parent.name.split("-")[0] for path in tmp_path.glob("applications/stages/*/DONE")}
    assert "base" in done and "verifier" not in done


def test_a_plan_names_what_would_run_and_writes_nothing(tmp_path, capsys):
    assert uses_main([f"directory={tmp_path}", *tiny.TINY, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stages, done = map(
        int, re.match(r"(\d+) stages, (\d+) done; about \d+ min left on two CPU cores", lines[-1]).groups()
    )
    assert done == 0 and sum("to do" in line for line in lines) == stages > 20
    assert any("search-" in line for line in lines) and not any(tmp_path.iterdir())
