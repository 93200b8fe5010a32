"""Benchmark files: every layout and container, and each bad row rejected with place and reason."""

import gzip
import json
import sys

import pytest

from jprm.errors import UserError
from jprm.formats import read_benchmark
from jprm.formats.benchmarks import parse_processbench
from jprm.records import stable_id

ROWS = [
    {"id": "gsm8k-0", "generator": "m", "problem": "Why?", "steps": ["One.", "Two.\nMore. "], "label": 1},
    {"id": "gsm8k-1", "generator": "m", "problem": " Why? ", "steps": ["One."], "label": -1},
]
LINES = "\n".join(json.dumps(row) for row in ROWS)
FLAWED = {
    "idx": "p1_0",
    "classification": "circular",
    "modified_question": "Why?",
    "modified_process": ["a", "b", "c"],
    "error_steps": [1, 3],
    "original_process": ["a"],
}
INVALID = {
    "id": 4,
    "question": "Why?",
    "generator": "g",
    "model_output_step_format": [["1. a"], ["2. b", "c"], ["3. d"]],
    "model_output_solution_correctness": "wrong",
    "model_output_solution_first_error_step": 2,
}
REDUNDANT = {"id": 4, "question": "Why?", "model_output_step_format": [["a"], ["b"]], "rating": [1, 0]}


def read(tmp_path, rows, benchmark=None):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path, read_benchmark(path, benchmark)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_container_gives_the_same(tmp_path, name, mark):
    text = json.dumps(ROWS, indent=1) if "jsonl" not in name else LINES
    data, path = mark + text.encode(), tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    judged = read_benchmark(path)
    assert judged.rejected == judged.notes == ()
    wrong, right = judged.items
    assert wrong.steps == ("One.", "Two.\nMore. ") and wrong.labels == (True, False)
    assert right.problem == " Why? " and right.first_error == -1
    (problem, solution), (same, other) = wrong.records(), right.records()
    assert problem == same and problem.text == "Why?\n" and problem.tier == "gsm8k"
    assert solution.steps == ("One.\n", "Two.\nMore.\n") and solution.problem_id == problem.id
    assert (solution.first_error, other.first_error, solution.source) == (1, -1, "m")
    assert solution.id != other.id


def test_ids_of_records_stay_what_stored_votes_know():
    text = "Why?\n"
    (item,) = parse_processbench(ROWS[0], "", [])
    problem, solution = item.records()
    assert problem.id == stable_id("processbench", text)
    assert solution.id == stable_id("processbench", "gsm8k-0", text)


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
        ({"steps": ["One.", ""]}, "'steps.1' must be a text"),
        ({"problem": ""}, "'problem' must be a text"),
        ({"id": 3}, "'id' must be a text"),
        ({"id": "gsm8k-1"}, "stands in the file twice"),
    ],
)
def test_a_bad_row_is_rejected_with_its_place(tmp_path, change, reason):
    path, judged = read(tmp_path, (ROWS[1], ROWS[0] | change))
    assert len(judged.items) == 1
    assert judged.rejected[0].startswith(f"{path}:2: ") and reason in judged.rejected[0]


@pytest.mark.parametrize(
    ("row", "change", "reason"),
    [
        (FLAWED, {"error_steps": [0]}, "'error_steps.0' must be greater than or equal to 1"),
        (FLAWED, {"error_steps": 1}, "'error_steps' must be"),
        (FLAWED, {"error_steps": [True]}, "'error_steps.0' must be"),
        (FLAWED, {"modified_process": []}, "'modified_process' must be a list"),
        (FLAWED, {"modified_question": " "}, "'modified_question' must be a text"),
        (FLAWED, {"classification": "odd"}, "unknown classification 'odd'"),
        (FLAWED | {"source_file": "f"}, {}, "unknown classification 'circular'"),
        (INVALID, {"model_output_solution_first_error_step": 4}, "or 'wrong' with one of 1 to 3"),
        (INVALID, {"model_output_solution_first_error_step": "N/A"}, "this is 'wrong' with 'N/A'"),
        (INVALID, {"model_output_step_format": [["a"], []]}, "step 1 must not be empty"),
        (INVALID, {"model_output_step_format": ["a"]}, "'model_output_step_format.0' must be a list"),
        (INVALID, {"id": "4"}, "'id' must be a whole number"),
        (REDUNDANT, {"rating": [1]}, "'rating' must be a list of 2 numbers"),
        (REDUNDANT, {"rating": [1, -1]}, "'rating.1' must be greater than or equal to 0"),
    ],
)
def test_bad_rows_of_the_other_benchmarks(tmp_path, row, change, reason):
    path, judged = read(tmp_path, [row | change])
    assert not judged.items
    assert judged.rejected[0].startswith(f"{path}:1: ") and reason in judged.rejected[0]


def test_flawed_steps_count_from_one(tmp_path):
    _, judged = read(tmp_path, [FLAWED, FLAWED | {"classification": "multi_solutions"}])
    item = judged.items[0]
    assert item.labels == (False, True, False) and item.first_error == 0
    assert (item.benchmark, item.subset, item.category) == ("prmbench", "circular", "simplicity")
    assert judged.items[1].category == "sensitivity"  # the same idx in another class is another row
    socratic = FLAWED | {"classification": "premise_redundancy", "source_file": "f"}
    (item,) = read(tmp_path, [socratic])[1].items
    assert (item.benchmark, item.category) == ("socratic-prmbench", "deduction")


def test_an_error_step_past_the_end_is_left_out_as_the_official_scorer_does(tmp_path):
    path, judged = read(tmp_path, [FLAWED | {"error_steps": [2, 9]}])
    assert judged.items[0].labels == (True, False, True)
    assert judged.notes == (f"{path}:1: error step 9 of 3 steps, left out",)


def test_mr_math_has_two_parts(tmp_path):
    (item,) = read(tmp_path, [INVALID])[1].items
    assert item.steps == ("1. a", "2. b\nc", "3. d") and item.pieces == (1, 2, 1)
    assert item.labels == (True, False, None) and item.subset == "invalid"
    right = {"model_output_solution_correctness": "correct", "model_output_solution_first_error_step": "N/A"}
    assert read(tmp_path, [INVALID | right])[1].items[0].first_error == -1
    (item,) = read(tmp_path, [REDUNDANT])[1].items
    assert item.labels == (True, False) and item.subset == "redundant"


def test_lines_that_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    bad = json.dumps(ROWS[0] | {"id": "x", "problem": "é"}, ensure_ascii=False).encode("latin-1")
    path.write_bytes(b'{"id"\n\n"text"\n{"id": NaN}\n' + bad + b"\n" + LINES.encode())
    judged = read_benchmark(path)
    assert len(judged.items) == 2
    assert [r.removeprefix(str(path)) for r in judged.rejected] == [
        ":1: not JSON (Expecting ':' delimiter, column 6)",
        ":3: not an object",
        ":4: not JSON (NaN is no JSON number)",
        ":5: not UTF-8 (byte 43)",
    ]


def test_rows_of_a_list_have_lines_too(tmp_path):
    path = tmp_path / "a.json"
    rows = [7, ROWS[0] | {"id": "x", "problem": "é"}, ROWS[1]]
    path.write_bytes(json.dumps(rows, indent=0, ensure_ascii=False).encode("latin-1"))
    judged = read_benchmark(path)
    assert len(judged.items) == 1
    assert judged.rejected == (f"{path}:2[0]: not an object", f"{path}:3[1]: not UTF-8")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("b.jsonl", None, "no such file"),
        ("a.json", b'[{"id": 1},\n', r"a.json:2: not JSON"),
        ("a.json", b'[{"id": 1}\n{"id": 2}]', r"a.json:2: not JSON \(the list does not go on"),
        ("a.json", b"[", "not JSON"),
        ("a.jsonl.gz", b"plain", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-20], "cannot be read"),
        ("a.jsonl", b'{"text": 1}', "no row has the fields of a benchmark"),
        ("a.jsonl", b"", "no row has the fields of a benchmark"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, data, reason):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=reason):
        read_benchmark(path)


def test_parquet_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'jprm\[parquet\]'"):
        read_benchmark(tmp_path / "a.parquet", "processbench")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    judged = read_benchmark(tmp_path / "a.parquet")
    assert [item.first_error for item in judged.items] == [1, -1] and not judged.rejected


@pytest.mark.parametrize(
    ("file", "subsets", "repeated"),
    [
        ("processbench/gsm8k.jsonl.gz", 1, 0),
        ("processbench/omnimath.jsonl.gz", 1, 0),
        ("prmbench/prmbench.jsonl.gz", 9, 3),
        ("socratic_prmbench/socratic_prmbench.jsonl.gz", 20, 0),
        ("mr_math/mr-math_invalid_errors.jsonl.gz", 1, 0),
        ("mr_math/mr-math_redundant_errors.jsonl.gz", 1, 0),
    ],
)
def test_the_real_files(data_root, file, subsets, repeated):
    path = data_root / file
    if not path.is_file():
        pytest.skip(f"{file} is not at {data_root}")
    judged = read_benchmark(path)
    rows = gzip.decompress(path.read_bytes()).count(b"\n")
    assert len(judged.items) + repeated == rows > 0
    assert len(judged.rejected) == repeated
    assert all("stands in the file twice" in reason for reason in judged.rejected)
    assert len({item.subset for item in judged.items}) == subsets
