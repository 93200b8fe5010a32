"""Best-of-N from files of step scores: by hand, and StrictPRMBench's best of 32."""

import json

import numpy as np
import pytest

from jprm.evaluate import best_of_n, candidates_of, first_best
from jprm.formats import read_step_scores
from jprm.formats.rows import read_rows

HOW = ("last", "min", "mean", "prod")


def row(problem, index, scores, correct, **more):
    return {
        "problem_id": problem,
        "candidate_index": index,
        "step_scores": scores,
        "is_correct": correct,
    } | more


def test_aggregations_choose_differently(tmp_path):
    path = tmp_path / "s.jsonl"
    rows = [
        row("p", 1, [0.2, 1.0], True),  # highest last
        row("p", 0, [0.5, 0.6], False),  # highest min
        row("p", 2, [0.45, 0.9], True),  # highest mean and product
        row("q", 0, [0.5], True),
        row("q", 1, [0.5], False),
        row("q", 2, [0.4], False),
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, rejected = read_step_scores(path)
    assert not rejected and [s.candidate for s in problems["p"]] == [0, 1, 2]
    chosen = {
        how: first_best([candidates_of(samples, how) for samples in problems.values()]).tolist()
        for how in HOW
    }
    assert chosen == {"last": [1, 1], "min": [0, 1], "mean": [1, 1], "prod": [1, 1]}
    shared = best_of_n([candidates_of(problems["q"], "min")], [3]).accuracy["best", 3]
    assert shared.tolist() == [0.5]  # two candidates are equal, one of them right


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


def by_the_book(rows, how):
    """Accuracy of the first candidate of the highest score, straight from the rows."""
    reduce = {"last": lambda s: s[-1], "min": min, "mean": np.mean, "prod": np.prod}[how]
    best = {}
    for value in sorted(rows, key=lambda v: v["candidate_index"]):
        score = float(reduce(value["step_scores"]))
        if score > best.get(value["problem_id"], (-1.0, False))[0]:
            best[value["problem_id"]] = (score, value["is_correct"])
    return sum(correct for _, correct in best.values()) / len(best)


@pytest.mark.parametrize("prm", ["math_shepherd", "qwen_prm", "rlhflow_prm", "skywork_prm"])
def test_published_scores_of_32_candidates(data_root, prm):
    path = data_root / "bon" / "strict" / f"scores_{prm}_gsm8k.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no step scores at {path}")
    rows = [row.value for row in read_rows(path)]
    problems, rejected = read_step_scores(path)
    assert not rejected and {len(samples) for samples in problems.values()} == {32}
    for how in HOW:
        candidates = [candidates_of(samples, how) for samples in problems.values()]
        assert first_best(candidates).mean() == pytest.approx(by_the_book(rows, how), abs=1e-12)
