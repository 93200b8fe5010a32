"""ProcessBench files: all three layouts, and every bad row rejected with its place and reason."""

import gzip
import json
import os
from pathlib import Path

import pytest

from jprm.errors import UserError
from jprm.worlds.processbench import read_processbench

DATA = Path(os.environ.get("JPRM_DATA", Path(__file__).parents[3] / "shared" / "data"))
ROWS = [
    {
        "id": "gsm8k-0",
        "generator": "m",
        "problem": "Why?",
        "steps": ["One.", "Two.\nMore. "],
        "label": 1,
    },
    {"id": "gsm8k-1", "generator": "m", "problem": " Why? ", "steps": ["One."], "label": -1},
]
LINES = "\n".join(json.dumps(row) for row in ROWS)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
def test_every_layout_gives_the_same(tmp_path, name):
    text = json.dumps(ROWS, indent=1) if "jsonl" not in name else LINES
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    read = read_processbench(path)
    assert read.rejected == ()
    (problem, solution), (same, right) = read.items
    assert problem == same and problem.text == "Why?\n" and problem.tier == "gsm8k"
    assert solution.steps == ("One.\n", "Two.\nMore.\n") and solution.problem_id == problem.id
    assert (solution.first_error, right.first_error, solution.source) == (1, -1, "m")
    assert solution.id != right.id


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": 2}, "'label' must be -1 or the index of one of the 2 steps, it is 2"),
        ({"label": -2}, "'label' must be"),
        ({"label": None}, "'label' must be"),
        ({"label": True}, "'label' must be"),
        ({"label": 1.0}, "'label' must be"),
        ({"steps": []}, "'steps' must be a list that is not empty"),
        ({"steps": "One."}, "'steps' must be a list"),
        ({"steps": ["One.", ""]}, "step 1 must be a text"),
        ({"problem": ""}, "'problem' must be a text"),
        ({"id": 3}, "'id' must be a text"),
        ({"id": "gsm8k-1"}, "stands in the file twice"),
    ],
)
def test_a_bad_row_is_rejected_with_its_place(tmp_path, change, reason):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (ROWS[1], ROWS[0] | change)))
    read = read_processbench(path)
    assert len(read.items) == 1
    assert read.rejected[0].startswith(f"{path}:2: ") and reason in read.rejected[0]


def test_lines_and_rows_that_are_no_objects(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id"\n\n"text"\n{LINES}\n')
    read = read_processbench(path)
    assert len(read.items) == 2
    assert [r.removeprefix(str(path)) for r in read.rejected] == [
        ":1: not JSON (Expecting ':' delimiter)",
        ":3: not an object",
    ]
    path.write_text(json.dumps([7, ROWS[0]]))
    assert read_processbench(path).rejected == (f"{path}[0]: not an object",)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="no such ProcessBench file"):
        read_processbench(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text('[{"id": 1},\n')
    with pytest.raises(UserError, match=r"a.json:2: not JSON"):
        read_processbench(tmp_path / "a.json")
    (tmp_path / "a.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(UserError, match="cannot be read"):
        read_processbench(tmp_path / "a.jsonl.gz")


def test_the_real_file():
    path = DATA / "processbench" / "gsm8k.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"ProcessBench is not at {DATA} (set JPRM_DATA)")
    read = read_processbench(path)
    rows = gzip.decompress(path.read_bytes()).count(b"\n")
    assert len(read.items) == rows > 0 and not read.rejected
    assert {p.tier for p, _ in read.items} == {"gsm8k"}
    assert 0.3 < sum(s.first_error == -1 for _, s in read.items) / 252 < 0.7
