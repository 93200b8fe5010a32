"""Grading a file: order, keys, bad lines, packed files, more lines than are read ahead."""

import gzip
import json

import pytest

from jprm.cli import app, guarded
from jprm.errors import UserError
from jprm.grade import grade_pairs, pairs

ROWS = [
    {"gold": r"\frac12", "answer": "0.5", "id": 7},
    {"gold": "3", "answer": None},
    {"gold": "x+x", "answer": "2x", "verdict": "old"},
    {"gold": "(0, 100)", "answer": "100", "name": "é"},
    {"gold": 27.0, "answer": 27},
]
VERDICTS = ["equal", "unparsed", "equal", "different", "equal"]
BAD = [
    (b"garbage", "not JSON (Expecting value, column 1)"),
    (b"[1]", "must be an object, it is [1]"),
    (b'{"gold": "1"}', "the field 'answer' is missing"),
    (b'{"answer": "1"}', "the field 'gold' is missing"),
    (b'{"gold": null, "answer": "1"}', "'gold' must be a text"),
    (b'{"gold": "1", "answer": true}', "'answer' must be a text or a whole number or a number"),
    (b'{"gold": "1", "answer": ["1"]}', "'answer' must be a text or a whole number or a number"),
    (b'{"gold": NaN, "answer": "1"}', "NaN is no JSON number"),
    (b'{"gold": "\xff", "answer": "1"}', "not UTF-8 (byte 11)"),
    (b"[" * 100_000, "not JSON (nested more than 100 deep)"),
]


def grade(*words):
    return guarded(lambda: app(["grade", *map(str, words)], standalone_mode=False))


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_every_line_comes_back_with_its_verdict(tmp_path, capsys, ending):
    path, out = tmp_path / f"pairs.{ending}", tmp_path / f"out.{ending}"
    data = "\n\n".join(map(json.dumps, ROWS)).encode()
    path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    expected = [row | {"verdict": verdict} for row, verdict in zip(ROWS, VERDICTS, strict=True)]
    assert grade("--pairs", path) == 0
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.out.splitlines()] == expected
    assert "graded 5 pairs: 3 equal, 1 different, 1 unparsed" in printed.err
    assert grade("--pairs", path, "--out", out) == 0
    raw = out.read_bytes()
    written = gzip.decompress(raw) if ending.endswith(".gz") else raw
    assert [json.loads(line) for line in written.splitlines()] == expected
    assert [one.name for one in tmp_path.iterdir() if "partial" in one.name] == []
    assert grade("--pairs", path, "--out", out) == 2


def test_bad_lines_are_named_and_left_out(tmp_path, capsys):
    path = tmp_path / "pairs.jsonl"
    good = json.dumps(ROWS[0]).encode()
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([good, b"", *(line for line, _ in BAD), good]))
    assert grade("--pairs", path) == 3
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    for number, (_, reason) in enumerate(BAD, 3):
        assert f"{path}:{number}: " in printed.err and reason in printed.err
    assert f"{len(BAD)} lines left out" in printed.err


def test_more_lines_than_are_read_ahead(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pairs, "AHEAD", 3)
    path = tmp_path / "pairs.jsonl"
    rows = [{"gold": str(i), "answer": str(i - i % 2)} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert grade_pairs(path, workers=1) == 0
    found = [json.loads(line)["verdict"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["equal", "different"] * 10


def test_mistakes_are_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match="no such file"):
        grade_pairs(tmp_path / "none.jsonl")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(ROWS[0]).encode() * 50)[:-9])
    with pytest.raises(UserError, match="cannot be read .*fetch the file again"):
        grade_pairs(cut)
    with pytest.raises(UserError, match="strict or either"):
        grade_pairs(cut, percent="half")  # pyright: ignore[reportArgumentType]
    assert grade("--pairs", cut, "--out", tmp_path / "none" / "out.jsonl") == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_hostile_file_name_is_shown_as_it_is_spelled(tmp_path, capsys):
    path = tmp_path / "a\x1b[31mb\x07.jsonl"
    path.write_text("garbage\n" + json.dumps(ROWS[0]) + "\n")
    assert grade("--pairs", path) == 3
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\x07" not in said and r"a\x1b[31mb\x07.jsonl:1: not JSON" in said
