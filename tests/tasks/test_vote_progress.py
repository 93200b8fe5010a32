"""What is told while votes are drawn."""

import io
from types import SimpleNamespace
from typing import Any

import pytest

from jprm.errors import Preempted
from jprm.jobs import Progress, progress
from jprm.records import Rationale, Verdict
from jprm.tasks.vote_progress import VoteProgress
from tests.verify.published import published

BOX = "\n<output>\n**Judgement**: $\\boxed{"


def rationale(solution=0, step=0, vote=0, correct=None, text="", reason="no_verdict"):
    verdict = Verdict(correct, None, None)
    return Rationale(
        f"s{solution}", step, vote, "chain", text, (), verdict, 9, 0, "" if correct is not None else reason
    )


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def drawing(expected, pool=None, format=None):
    """The progress of votes on these solutions and on one that has them, and the log that it is told to."""
    log = io.StringIO()
    shown = Progress(10, log)
    shown.begin(10)
    return VoteProgress("votes", shown, expected, len(expected) + 1, pool, format), log


def test_rationales_code_and_speed_are_told_between_solutions(clock):
    pool: Any = SimpleNamespace(stats=SimpleNamespace(snippets=5))
    told, log = drawing({"s1": 4, "s2": 6, "s3": 6}, pool)
    assert told.line() == "votes: 0 of 16 rationales, 1 of 4 solutions judged"
    told.speed = lambda: "65 tokens/s"
    for vote in (0, 1):
        clock[0] += 30
        pool.stats.snippets += 1
        told.heard(rationale(2, vote=vote, correct=True))
    assert told.line() == "votes: 2 of 16 rationales, 1 of 4 solutions judged, code run 2 times, 65 tokens/s"
    assert told.share == 2 / 16
    told.ended("s2")
    assert told.line().startswith("votes: 6 of 16 rationales, 2 of 4"), "it ended early, at a unanimous No"
    for name in ("s1", "s3"):
        told.ended(name)
    assert told.share == 1.0 and "votes: 16 of 16 rationales, 4 of 4" in told.line()
    assert log.getvalue().splitlines() == [
        "[ 38 %] 1:00 elapsed, 1:40 left | votes: 6 of 16 rationales, 2 of 4 solutions judged, "
        "code run 2 times, 65 tokens/s"
    ]


def test_more_rationales_than_expected_are_not_above_all_of_them():
    """In fork mode vote 0 is drawn again for others to continue."""
    told, _ = drawing({"s1": 6, "s2": 12})
    for vote in range(9):
        told.heard(rationale(1, vote=vote, correct=True))
    assert told.share == 6 / 18


def test_the_work_may_stop_behind_each_rationale_that_is_counted(clock):
    told, _ = drawing({"s1": 4})
    told.heard(rationale(1, vote=0, correct=True))

    def stop():
        raise Preempted("SIGTERM")

    told._progress.safe_points.append(stop)
    with pytest.raises(Preempted):
        told.heard(rationale(1, vote=1, correct=True))
    assert told.line().startswith("votes: 2 of 4 rationales")


def notes(log):
    return [line for line in log.getvalue().splitlines() if line.startswith("note: ")]


def test_a_model_without_verdicts_is_shown_once(clock):
    told, log = drawing({"s1": 20, "s2": 20}, format=published())
    told.heard(rationale(1, correct=True, text=f"fine</analyze>{BOX}Yes"))
    untrained = f"x\x1b[2J\n{'y' * 400} the answer is 7</analyze>\n{BOX}7}}$\n</output>\n"
    for step in range(20):
        told.heard(rationale(2, step, text=untrained, reason="budget"))
    first, end = notes(log)
    assert first == (
        "note: 7 of 8 rationales have no verdict (budget 7); it closes no section: "
        "the model seems untrained for this protocol"
    )
    assert end.startswith("note: this is how one of them ends: yyy") and "\x1b" not in end
    assert end.endswith(r"the answer is 7</analyze>\n\n<output>\n**Judgement**: $\boxed{7}$\n</output>\n")


def test_a_model_that_closes_sections_is_not_called_untrained(clock):
    told, log = drawing({"s1": 20, "s2": 20}, format=published())
    for step in range(8):
        told.heard(rationale(1, step, text=f"fine</analyze>\n<verify>\nso</verify>{BOX}perhaps"))
    assert notes(log)[0] == "note: 8 of 8 rationales have no verdict (no_verdict 8)"


def test_nothing_is_said_of_a_model_with_enough_verdicts(clock):
    told, log = drawing({"s1": 20, "s2": 20}, format=published())
    for step in range(40):
        told.heard(rationale(1, step, correct=None if step % 4 else True))
    assert notes(log) == []
