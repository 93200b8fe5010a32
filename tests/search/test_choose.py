"""Choosing from a file of step scores: the table, its rows as JSON, and what is left of damaged rows."""

import json
import re

import pytest

from jprm import cli
from jprm.errors import UserError
from jprm.formats import read_step_scores
from jprm.search import Candidate, grid, print_grid, winners
from tests.pages import documented
from tests.search.test_selection import HOW


def test_a_file_gives_the_whole_grid(tmp_path):
    path = tmp_path / "s.jsonl"
    rows = [
        {"problem_id": p, "candidate_index": i, "step_scores": s, "is_correct": a == "7", "answer": a}
        for p, i, s, a in [
            ("p", 0, [0.5, 0.6], "3"),  # highest min
            ("p", 1, [0.2, 1.0], "7"),  # highest last and max
            ("p", 2, [0.45, 0.9], "7"),  # highest mean, product and geometric mean
        ]
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    problems, _ = read_step_scores(path)
    pools = [[Candidate.of(s) for s in samples] for samples in problems.values()]
    chosen = {how: winners(pools[0], how) for how in HOW}
    assert chosen == {"last": [1], "min": [0], "mean": [2], "prod": [2], "geometric": [2], "max": [1]}
    table = {(r["aggregation"], r["choice"]): r["accuracy"] for r in grid(pools)}
    assert table["min", "argmax"] == 0.0 and table["min", "weighted"] == 1.0


def test_the_grid_of_a_file_is_printed(tmp_path, capsys):
    path = tmp_path / "s.jsonl"
    row = {"problem_id": "p", "candidate_index": 0, "step_scores": [0.5, 0.9], "is_correct": True}
    path.write_text("\n".join(map(json.dumps, [row, row | {"candidate_index": "1"}])))
    assert print_grid(path, "shared") == 3, "a row was left out"
    out = capsys.readouterr().out
    assert re.search(r"min +1.0000 \(no interval\) +0.0000", out), "right by score; nobody votes"
    assert "1 problems, 1 to 1 candidates each, ties: shared" in out
    assert "no row has an answer" in out and "left out: " in out and "s.jsonl:2" in out
    with pytest.raises(UserError, match="--tie best: no such rule"):
        print_grid(path, "best")
    path.write_text("")
    with pytest.raises(UserError, match="no usable row"):
        print_grid(path)


def _file(tmp_path, rows):
    path = tmp_path / "s.jsonl"
    names = "problem_id", "candidate_index", "step_scores", "is_correct", "answer"
    path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    return path


def _grid(tmp_path, rows, **options):
    """The exit code and the rows of the JSON file by aggregation and choice."""
    code = print_grid(_file(tmp_path, rows), json_file=tmp_path / "g.jsonl", **options)
    found = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    return code, {(row["aggregation"], row["choice"]): row for row in found}


def test_logits_lose_what_needs_probabilities_and_nothing_else(tmp_path, capsys):
    rows = [(1, 0, [-3.0, 2.0], False, 5), (1, 1, [-1.0, 1.0], True, 6)]
    code, found = _grid(tmp_path, rows)
    assert all(row.keys() == documented("choose --json")["fields"] for row in found.values())
    assert code == 0 and found["min", "argmax"]["accuracy"] == 1.0
    assert found["last", "argmax"]["accuracy"] == 0.0 and found["min", "oracle"]["accuracy"] == 1.0
    refused = found["min", "weighted"]
    assert refused["accuracy"] is refused["low"] is None and "--transform" in refused["refused"]
    assert found["max", "weighted"]["accuracy"] == 0.0, "no score of it is below 0"
    assert "prod" in capsys.readouterr().out and found["prod", "argmax"]["accuracy"] is None
    assert found["prod", "oracle"]["accuracy"] == 1.0, "it reads no score"
    code, found = _grid(tmp_path, rows, transform="sigmoid")
    assert code == 0 and all(row["refused"] == "" for row in found.values())
    assert found["prod", "argmax"]["accuracy"] == found["min", "weighted"]["accuracy"] == 1.0
    with pytest.raises(UserError, match="--transform exp: 2.0 is above 0"):
        _grid(tmp_path, rows, transform="exp")
    with pytest.raises(UserError, match="known: none, sigmoid, exp"):
        _grid(tmp_path, rows, transform="softmax")


def test_a_candidate_without_scores_stays_in_its_problem(tmp_path):
    rows = [("p", 0, [0.9], False, "b"), ("p", 1, None, True, "a"), ("q", 0, [None], True, "a")]
    code, found = _grid(tmp_path, rows)
    assert code == 3
    assert found["min", "oracle"]["accuracy"] == 1.0
    assert found["min", "argmax"]["accuracy"] == 0.0 and found["min", "argmax"]["missing_share"] == 0.5
    _, found = _grid(tmp_path, rows, missing="excluded")
    assert found["min", "argmax"]["accuracy"] == 0.0 and found["min", "oracle"]["accuracy"] == 1.0
    assert found["min", "argmax"]["missing_as"] == "excluded"


def test_the_command_ends_in_3_where_rows_were_not_read_in_full(monkeypatch, tmp_path, capsys):
    whole = [("p", 0, [0.9], True, "a"), ("p", 1, [0.2], False, "b")]
    for rows, code in ((whole, 0), ([*whole, ("p", "2", [0.5], True, "a")], 3)):
        out = tmp_path / "rows.jsonl"
        words = ["jprm", "choose", "--scores", _file(tmp_path, rows), "--json", out]
        monkeypatch.setattr("sys.argv", list(map(str, words)))
        assert cli.main() == code
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(found) == len(HOW) * 4
        assert {"aggregation", "choice", "accuracy", "low", "high"} <= found[0].keys()
