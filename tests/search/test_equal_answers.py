"""Votes go by what an answer says and not by how it is spelled."""

import json

import pytest

from jprm.errors import UserError
from jprm.grade import united
from jprm.search import Branch, Candidate, Gate, JudgedBranch, candidates_of, print_grid, winners
from jprm.search.choose import voting

HALVES = ["0.5", "1/2", r"\frac{1}{2}"]
SPLIT = [Candidate(a, True, (0.7,)) for a in HALVES] + [Candidate("3", False, (0.9,))] * 2


@pytest.mark.parametrize("pick", ["majority", "weighted"])
def test_three_spellings_outvote_two_equal_ones(pick):
    assert winners(SPLIT, pick=pick) == [3]
    [grouped] = united([SPLIT])
    assert SPLIT[winners(grouped, pick=pick)[0]].correct


def test_the_pool_groups_what_spelling_cannot():
    pool = [Candidate(a, True, (0.7,)) for a in ("x(x+1)", "x^2+x", "x+x^2")] + SPLIT[3:]
    [grouped], said = voting([pool])
    assert grouped[winners(grouped, pick="majority")[0]].correct
    assert said == "2 spellings vote with an equal answer"


def write(path, pool):
    rows = [
        {"problem_id": "p", "candidate_index": at, "step_scores": list(c.rewards)}
        | {"is_correct": c.correct, "answer": c.answer}
        for at, c in enumerate(pool)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_choosing_from_a_file(tmp_path, capsys):
    path = tmp_path / "scores.jsonl"
    write(path, SPLIT)
    print_grid(path)
    grouped = capsys.readouterr().out
    assert grouped.count("1.0000") == 18 and "2 spellings vote with an equal answer" in grouped
    print_grid(path, answers="exact")
    assert capsys.readouterr().out.count("1.0000") == 6  # the oracle alone
    with pytest.raises(UserError, match="--answers alike: no such rule; known: equivalent, exact"):
        print_grid(path, answers="alike")


def test_the_rows_of_a_search():
    found = [{"steps": [], "rewards": [0.7], "answer": a, "correct": True} for a in HALVES]
    row = {"candidates": found, "pools": [[0], [1, 2]]}
    assert len({c.answer for c in candidates_of(row)}) == 1
    assert len({c.answer for c in candidates_of(row | {"pools": []})}) == 1


def test_the_gate_of_a_critic():
    gate = Gate(mean=0.0, std=1.0, below=9.0, confidence=0.9)
    judged = [JudgedBranch(Branch(()), (0.5,)) for _ in HALVES]
    assert not gate.is_hard(judged, HALVES)  # one answer: nothing is spread
    assert gate.is_hard(judged, ["1", "2", "3"])
