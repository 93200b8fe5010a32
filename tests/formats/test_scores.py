"""Files of step scores: what is read, and what is rejected with its place and reason."""

import json

import pytest

from jprm.formats import read_step_scores


def row(problem, index, scores, correct, **more):
    return {"problem_id": problem, "candidate_index": index, "step_scores": scores, "is_correct": correct} | more


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_correct": 1}, "'is_correct' must be true or false"),
        ({"problem_id": None}, "'problem_id' must be a text or a whole number"),
        ({"problem_id": True}, "'problem_id' must be a text or a whole number"),
        ({"candidate_index": 0}, "candidate 0 of this problem came before"),
    ],
)
def test_bad_rows_are_rejected(tmp_path, change, reason):
    path = tmp_path / "s.jsonl"
    rows = [row("p", 0, [0.5], True), row("p", 1, [0.5], True) | change, row("p", 2, [1], False)]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, (rejected,) = read_step_scores(path)
    assert rejected.startswith(f"{path}:2: ") and reason in rejected
    assert [s.candidate for s in problems["p"]] == [0, 2]


@pytest.mark.parametrize(
    ("change", "scores", "reason"),
    [
        ({"step_scores": []}, (), "'step_scores' must not be empty"),
        ({"step_scores": None}, (), "'step_scores' must be of type list"),
        ({"step_scores": ["1"]}, (None,), "the step score '1' is no number"),
        ({"step_scores": [0.5, None]}, (0.5, None), "the step score None is no number"),
        ({"step_scores": [True]}, (None,), "the step score True is no number"),
        ({"answer": ["7"]}, (0.5,), "'answer' must be a text or a number"),
    ],
)
def test_a_candidate_that_cannot_be_read_in_full_stays(tmp_path, change, scores, reason):
    path = tmp_path / "s.jsonl"
    rows = [row("p", 0, [0.5], False), row("p", 1, [0.5], True) | change]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, (fault,) = read_step_scores(path)
    assert fault.startswith(f"{path}:2: ") and reason in fault
    kept = problems["p"][1]
    assert kept.scores == scores and kept.correct and kept.answer is None


def test_ids_and_answers_may_be_numbers(tmp_path):
    path = tmp_path / "s.jsonl"
    rows = [row(7, 0, [-1.5], True, answer=12), row(7, 1, [2], False, answer="12")]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, faults = read_step_scores(path)
    assert not faults and [s.scores for s in problems["7"]] == [(-1.5,), (2.0,)]
    assert [s.answer for s in problems["7"]] == ["12", "12"]
