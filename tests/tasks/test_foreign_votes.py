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
        (verdict(p_yes_raw=7.0), "Rationale: 'verdict.p_yes_raw' must be less than or equal to 1, it is 7.0"),
        (verdict(p_yes_tempered=-0.1), "Rationale: 'verdict.p_yes_tempered' must be"),
        (verdict(p_yes_raw=True), "Rationale: 'verdict.p_yes_raw' must be a number, it is True"),
        (verdict(correct="Yes"), "Rationale: 'verdict.correct' must be true or false, it is 'Yes'"),
        (GOOD | {"step": -1}, "Rationale: 'step' must be greater than or equal to 0, it is -1"),
        (GOOD | {"vote": -1}, "Rationale: 'vote' must be"),
        (GOOD | {"vote": 1.0}, "Rationale: 'vote' must be a whole number, it is 1.0"),
        (GOOD | {"generated_tokens": -5}, "Rationale: 'generated_tokens' must be"),
        (GOOD | {"verdict": None}, "Rationale: 'verdict' must be an object, it is None"),
        (GOOD | {"solution_id": "other"}, "a vote on 'other', which is no solution of the set"),
        (GOOD | {"answer": 7}, "Rationale: has no field 'answer'"),
        ({"seconds": 2.0}, "Rationale: has no field 'seconds'"),
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
        ({"solution_id": 7, "reason": ""}, "'solution_id' must be a text, it is 7"),
        ({"solution_id": "s", "reason": None}, "'reason' must be a text, it is None"),
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
