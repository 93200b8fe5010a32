"""What the table says of votes without a verdict, and of control tokens in texts of others."""

import io

from rich.console import Console

from jprm.experiments.benchmark.judged import Account, JudgedRow
from jprm.experiments.benchmark.measures import OVERALL, Score
from jprm.experiments.benchmark.report import Result, print_result
from jprm.records import Rationale, Verdict

SILENT = Score(
    group=OVERALL, k=5, n_items=1, n_error=0, n_problems=1, missing_share=1.0, step_missing_share=None, measures={}
)
NONE, RIGHT = Verdict(None, None, None), Verdict(True, 0.9, 0.9)


def rationale(vote, verdict, **more):
    return Rationale("s", 0, vote, "chain", "", (), verdict, 5, 3, **more)


def test_what_stands_in_the_place_of_a_verdict_is_counted_by_kind():
    rows = (
        rationale(0, RIGHT, quoted=2),
        rationale(1, NONE, reason="budget", unread="box holds a number"),
        rationale(2, NONE, reason="no_verdict", unread="box holds both words", quoted=1),
        rationale(3, NONE, reason="no_verdict", unread="box holds a number"),
        rationale(4, NONE, reason="context"),
    )
    account = Account.of([JudgedRow(None, None, rows)])
    assert account.none == {"budget": 1, "context": 1, "no_verdict": 2}
    assert account.unread == {"box holds a number": 2, "box holds both words": 1}
    assert account.quoted == 3 and account.none_share == 0.8
    about = {"n": 5, "n_asked": 5, "benchmark": "mr-math", "missing_as": "wrong"}
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    print_result(Result(about, [], [SILENT], account, (), (), 0, 1.0), console)
    text = shown.getvalue()
    assert "in the place of a verdict: box holds a number 2, box holds both words 1" in text
    assert "control tokens spelled by texts of others: 3, read as plain text" in text
    quiet = io.StringIO()
    account = Account.of([JudgedRow(None, None, rows[:1])])
    assert account.quoted == 2
    account = Account.of([JudgedRow(None, None, (rationale(0, RIGHT),))])
    print_result(Result(about, [], [SILENT], account, (), (), 0, 1.0), Console(file=quiet, width=200))
    assert "control tokens" not in quiet.getvalue() and "in the place" not in quiet.getvalue()
