"""Stored votes: what another program, or a damaged disk, has left among them is named by its line."""

import dataclasses
import json

import pytest

from jprm.errors import UserError
from jprm.records import Rationale, Verdict, to_json
from jprm.tasks.vote_store import LOST, VOTES, VoteStore

GOOD = to_json(Rationale("s", 0, 0, "chain", "text", (), Verdict(True, 0.75, 0.7), 3, 1))


def store(tmp_path, **files):
    for name, rows in files.items():
        path = tmp_path / {"votes": VOTES, "lost": LOST}[name]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return VoteStore(tmp_path, ["s"])


def verdict(**change):
    return GOOD | {"verdict": GOOD["verdict"] | change}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (verdict(p_yes_raw=7.0), "Verdict.p_yes_raw is 7.0; expected 0 to 1"),
        (verdict(p_yes_tempered=-0.1), "Verdict.p_yes_tempered is -0.1; expected 0 to 1"),
        (verdict(p_yes_raw=True), "Verdict.p_yes_raw is True; expected float"),
        (verdict(correct="Yes"), "Verdict.correct is 'Yes'; expected bool"),
        (GOOD | {"step": -1}, "Rationale.step is -1; expected 0 to inf"),
        (GOOD | {"vote": -1}, "Rationale.vote is -1"),
        (GOOD | {"vote": 1.0}, "Rationale.vote is 1.0; expected int"),
        (GOOD | {"generated_tokens": -5}, "Rationale.generated_tokens is -5"),
        (GOOD | {"verdict": None}, "Rationale.verdict is None; expected Verdict"),
        (GOOD | {"solution_id": "other"}, "a vote on 'other', which is no solution of the set"),
        (GOOD | {"answer": 7}, "Rationale has no field 'answer'"),
        ({"seconds": 2.0}, "Rationale has no field 'seconds'"),
    ],
)
def test_a_foreign_vote_is_named_by_its_line(tmp_path, row, said):
    with pytest.raises(UserError) as caught:
        store(tmp_path, votes=[GOOD, row])
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / VOTES}:2: {said}") and "delete the line" in message


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"reason": "gone"}, "the field 'solution_id' is missing"),
        ({"solution_id": "s"}, "the field 'reason' is missing"),
        ({"solution_id": 7, "reason": ""}, "the field 'solution_id' is 7, not str"),
        ({"solution_id": "s", "reason": None}, "the field 'reason' is None, not str"),
        ([], "expected a JSON object, found list"),
    ],
)
def test_a_foreign_row_of_lost_solutions_is_named(tmp_path, row, said):
    with pytest.raises(UserError, match=f"{LOST}:1: {said}"):
        store(tmp_path, lost=[row])


def test_good_rows_are_read(tmp_path):
    opened = store(tmp_path, votes=[GOOD], lost=[{"solution_id": "s", "reason": "context"}])
    assert [dataclasses.asdict(r) for r in opened.rationales("s")] == [GOOD | {"executions": ()}]
    assert opened.lost == {"s": "context"}
