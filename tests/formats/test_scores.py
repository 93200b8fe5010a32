"""Files of step scores: what is read, and what is rejected with its place and reason."""

import json

import pytest

from jprm.formats import read_step_scores


def row(problem, index, scores, correct, **more):
    return {
        "problem_id": problem,
        "candidate_index": index,
        "step_scores": scores,
        "is_correct": correct,
    } | more


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step_scores": []}, "'step_scores' must not be empty"),
        ({"step_scores": ["1"]}, "the step score '1' is no number"),
        ({"step_scores": [True]}, "the step score True is no number"),
        ({"step_scores": [10**400]}, "is no number"),
        ({"is_correct": 1}, "'is_correct' must be of type bool"),
        ({"problem_id": None}, "'problem_id' must be of type str"),
        ({"candidate_index": 0}, "candidate 0 of this problem came before"),
        ({"answer": 7}, "'answer' must be a text"),
    ],
)
def test_bad_rows_are_rejected(tmp_path, change, reason):
    path = tmp_path / "s.jsonl"
    rows = [row("p", 0, [0.5], True), row("p", 1, [0.5], True) | change, row("p", 2, [1], False)]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, (rejected,) = read_step_scores(path)
    assert rejected.startswith(f"{path}:2: ") and reason in rejected
    assert [s.candidate for s in problems["p"]] == [0, 2]
