"""What a person sees of a long run, on a terminal and in a log."""

import io

import pytest

from jprm import progress
from jprm.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_once_and_then_every_five_seconds(clock):
    log = io.StringIO()
    shown = Progress(100, log)
    for second in range(11):
        clock[0] = 100.0 + second
        shown.advance(5, f"stage {second}")
    assert log.getvalue().splitlines() == [
        "[  5 %] 0:00 elapsed, 0:00 left | stage 0",
        "[ 30 %] 0:05 elapsed, 0:11 left | stage 5",
        "[ 55 %] 0:10 elapsed, 0:08 left | stage 10",
    ]


def test_nothing_is_foretold_before_anything_is_done(clock):
    log = io.StringIO()
    shown = Progress(3600, log)
    shown.show("compiling")
    clock[0] += 3900
    shown.show("compiling")
    shown.advance(1800, "half")
    shown.show("half", force=True)
    assert log.getvalue().splitlines() == [
        "[  0 %] 0:00 elapsed, estimating | compiling",
        "[  0 %] 1:05:00 elapsed, estimating | compiling",
        "[ 50 %] 1:05:00 elapsed, 1:05:00 left | half",
    ]


def test_more_work_than_foreseen_is_not_above_all_of_it(clock):
    log = io.StringIO()
    Progress(10, log).advance(25, "end")
    assert log.getvalue() == "[100 %] 0:00 elapsed, 0:00 left | end\n"


def test_a_terminal_has_one_live_line_that_notes_replace(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    shown = Progress(10, terminal)
    shown.advance(5, "x" * 99)
    clock[0] += 0.1
    shown.advance(1, "too soon to be seen")
    clock[0] += 0.2
    shown.advance(1, "short")
    shown.note("row 1")
    shown.note("row 2")
    first, second, rest = terminal.getvalue()[1:].split("\r", 2)
    assert len(first) == 59 and first.startswith("[ 50 %]")
    assert len(second) == 59 and second.rstrip().endswith("| short")
    assert rest == " " * len(second.rstrip()) + "\rrow 1\nrow 2\n"
