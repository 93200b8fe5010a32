"""What a person sees of a long run, on a terminal and in a log."""

import io
import re
import threading

import pytest

from jprm.jobs import progress
from jprm.jobs.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_once_and_then_one_in_ten_seconds(clock):
    log = io.StringIO()
    shown = Progress(100, log)
    for i in range(11):
        clock[0] = 100.0 + 2 * i
        shown.advance(5, f"stage {i}")
    assert log.getvalue().splitlines() == [
        "[  5 %] 0:00 elapsed, 0:00 left | stage 0",
        "[ 30 %] 0:10 elapsed, 0:23 left | stage 5",
        "[ 55 %] 0:20 elapsed, 0:16 left | stage 10",
    ]


def test_silent_work_is_told_by_its_heartbeat(clock):
    log = io.StringIO()
    shown = Progress(100, log)
    done = iter(range(9))
    with shown.watching(lambda: f"{next(done)} rationales"):
        with shown.doing("compiling"):
            for seconds in (4, 11, 12, 25):
                clock[0] = 100.0 + seconds
                shown.beat()
        clock[0] += 3
        shown.beat()
        clock[0] += 8
        shown.beat(share=0.5)
    clock[0] += 60
    shown.beat()
    assert [line.split(" | ")[1] for line in log.getvalue().splitlines()] == [
        "0 rationales",
        "compiling, 0:11",
        "compiling, 0:25",
        "1 rationales",
    ], "nothing is told before it is time, and nothing once the work has ended"


def test_the_heartbeat_comes_from_a_thread_of_its_own(monkeypatch):
    """Whoever is watched need not call anything."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(progress, "LEAST_WAIT_S", 0.0)
    shown, beats = Progress(100, io.StringIO()), threading.Semaphore(0)

    def tell() -> str:
        beats.release()
        return "silent"

    with shown.watching(tell):
        for _ in range(4):
            beats.acquire()
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"], "it ends with the work"


def test_a_heartbeat_stops_no_work(clock):
    """Safe points belong to the thread that works: an exception in another one would stop nothing."""
    shown = Progress(10, io.StringIO())

    def stop():
        raise KeyboardInterrupt

    shown.safe_points.append(stop)
    with shown.watching(lambda: "votes"):
        shown.beat()
        with pytest.raises(KeyboardInterrupt):
            shown.show("one more")


def test_the_share_of_a_long_piece_counts_before_it_is_done(clock):
    log = io.StringIO()
    shown = Progress(100, log)
    shown.advance(20, "small")
    shown.begin(80)
    clock[0] += 60
    shown.show("large, a quarter", share=0.25)
    clock[0] += 60
    shown.show("large, as far as before")
    clock[0] += 60
    shown.advance(80, "large")
    assert [line.split(" %")[0] for line in log.getvalue().splitlines()] == ["[ 20", "[ 40", "[ 40", "[100"]


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


def test_a_terminal_has_one_live_view_with_cells_stage_speed_and_time(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    shown = Progress(10, terminal, cells=3)
    shown.cells_done += 1
    shown.advance(5, "votes: 7 of 9, 1,234 tokens/s, 3 of 4 slots run")
    clock[0] += 0.1
    shown.show("too soon to be seen")
    shown.note("row 1")
    shown.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    seen = [" ".join(line.split()) for line in text.splitlines()]
    for line in ("cells 1 of 3", "stage votes: 7 of 9, 3 of 4 slots run", "tokens/s 1,234"):
        assert line in seen
    assert "time 0:00 elapsed, 0:00 left (50 %)" in seen and "row 1" in seen
    assert "too soon" not in text


def test_a_safe_point_stops_the_work(clock):
    shown = Progress(10, io.StringIO())

    def stop():
        raise KeyboardInterrupt

    shown.show("goes on")
    shown.safe_points.append(stop)
    with pytest.raises(KeyboardInterrupt):
        shown.show("stops, although nothing would be shown yet")
