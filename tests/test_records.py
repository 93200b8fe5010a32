"""Records survive JSON; their files survive any death of the writer."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.records import (
    Execution,
    Problem,
    Rationale,
    Solution,
    Verdict,
    append_jsonl,
    from_json,
    read_jsonl,
    stable_id,
    to_json,
)

SOLUTION = Solution("s", "p", ("Step 1\n", "Step 2\n"), "policy", first_error=1, error_kind="sum")
text = st.text(st.characters())  # every code point, surrogates too
probability = st.none() | st.floats(0, 1)
verdicts = st.builds(Verdict, st.none() | st.booleans(), probability, probability)
rationales = st.builds(
    Rationale,
    solution_id=text,
    step=st.integers(0, 9),
    vote=st.integers(0, 2**63),
    mode=st.sampled_from(["chain", "fork"]),
    text=text,
    executions=st.lists(st.builds(Execution, text, text, text), max_size=2).map(tuple),
    verdict=verdicts,
    generated_tokens=st.integers(0, 99),
    forced_tokens=st.integers(0, 99),
    reason=text,
)
rows = st.lists(st.dictionaries(text, st.none() | st.integers() | text | st.lists(text)))


@given(rationales)
def test_a_record_survives_json(record):
    assert from_json(Rationale, json.loads(json.dumps(to_json(record)))) == record


@pytest.mark.parametrize(
    "record", [Problem("a", "Ann has 8.\n", "8"), SOLUTION, dataclasses.replace(SOLUTION, steps=())]
)
def test_other_records_survive_json(record):
    assert from_json(type(record), json.loads(json.dumps(to_json(record)))) == record


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stpes": []}, "Solution: has no field 'stpes'"),
        ({"steps": "Step 1\n"}, "Solution: 'steps' must be a list, it is 'Step 1\\n'"),
        ({"steps": [1]}, "Solution: 'steps.0' must be a text, it is 1"),
        ({"first_error": True}, "Solution: 'first_error' must be a whole number, it is True"),
        ({"first_error": 1.0}, "Solution: 'first_error' must be a whole number, it is 1.0"),
        ({"source": None}, "Solution: 'source' must be a text, it is None"),
    ],
)
def test_a_field_that_does_not_fit_is_named(change, complaint):
    with pytest.raises(UserError) as caught:
        from_json(Solution, to_json(SOLUTION) | change)
    assert str(caught.value).startswith(complaint)


def test_a_missing_field_is_named_unless_it_has_a_default():
    row = to_json(SOLUTION)
    del row["error_kind"]
    assert from_json(Solution, row).error_kind == ""
    del row["source"]
    with pytest.raises(UserError, match="Solution: the field 'source' is missing"):
        from_json(Solution, row)


def test_a_field_inside_a_field_is_named():
    row = {"correct": "Yes", "p_yes_raw": 1, "p_yes_tempered": None}
    with pytest.raises(UserError, match="Verdict: 'correct' must be true or false, it is 'Yes'"):
        from_json(Verdict, row)
    good = from_json(Verdict, row | {"correct": True})
    assert good == Verdict(True, 1.0, None) and type(good.p_yes_raw) is float


def test_rewards():
    verdict = Verdict(False, 0.25, 0.1)
    readouts = ("vote", "prob_raw", "prob_tempered")
    assert [verdict.reward(r) for r in readouts] == [0.0, 0.25, 0.1]
    assert [Verdict(None, 0.25, 0.1).reward(r) for r in readouts] == [None] * 3
    assert Verdict(True, None, None).reward("prob_raw") is None


parts = st.lists(st.integers() | st.text(st.characters(exclude_characters="\0")), max_size=4)


@given(parts, parts)
def test_ids_differ_exactly_when_their_parts_do(a, b):
    assert (stable_id(*a) == stable_id(*b)) == (a == b)


def test_ids_never_change():
    # stored results are found by these; a change here orphans every run directory
    assert stable_id("embedded", "Ann has 8.\n", 3) == "6f2a0457e61c0b1e"
    assert stable_id(np.int64(3)) == stable_id(3) != stable_id("3")


@given(st.lists(rows, max_size=4))
def test_what_is_appended_is_read(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    for batch in batches:
        append_jsonl(path, batch)
    assert read_jsonl(path) == [row for batch in batches for row in batch]


@given(rows, rows, st.data())
def test_a_cut_anywhere_loses_only_what_was_torn(tmp_path_factory, before, after, data):
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    append_jsonl(path, before)
    whole = path.read_bytes() if before else b""
    kept = whole[: data.draw(st.integers(0, len(whole)))]
    path.write_bytes(kept)
    complete = before[: kept.count(b"\n")]
    assert read_jsonl(path) == complete
    append_jsonl(path, after)
    assert read_jsonl(path) == complete + after


def test_a_torn_line_longer_than_a_block_is_removed(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [{"a": 1}])
    with open(path, "ab") as file:
        file.write(b'{"a": "' + b"x" * 200_000)
    append_jsonl(path, [{"a": 2}])
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b"x" * 200_000)  # not one whole line
    append_jsonl(path, [{"a": 3}])
    assert read_jsonl(path) == [{"a": 3}]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (b"{]", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "UTF-16, not UTF-8"),
        (b"\0" * 9, "not JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[1]", "expected a JSON object, found list"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, damage, complaint):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + damage + b'\n{"a": 3}\n')
    with pytest.raises(UserError) as caught:
        read_jsonl(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ") and complaint in message and "\n" not in message


def test_a_number_that_json_lacks_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_jsonl(path, [{"a": 1}, {"a": float("nan")}])
    assert not path.exists()


def test_files_that_cannot_be_had(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == []
    with pytest.raises(UserError, match="cannot read"):
        read_jsonl(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        append_jsonl(tmp_path / "none" / "rows.jsonl", [{}])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"rows\.jsonl: cannot write \(No space left on device\)"):
        append_jsonl(path, [{}])


def test_a_writer_that_is_killed_leaves_whole_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    program = """
import sys
from jprm.records import append_jsonl
i = 0
while True:
    append_jsonl(sys.argv[1], [{"i": j, "text": "x" * 5000} for j in range(i, i + 7)])
    i += 7
"""
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], env=environment)
    try:
        deadline = time.monotonic() + 30
        while not (path.exists() and path.stat().st_size > 200_000):
            assert time.monotonic() < deadline and writer.poll() is None
            time.sleep(0.01)
    finally:
        writer.kill()
        writer.wait()
    stored = read_jsonl(path)
    assert [row["i"] for row in stored] == list(range(len(stored))) and len(stored) > 35
    append_jsonl(path, [{"i": "next"}])
    assert read_jsonl(path) == [*stored, {"i": "next"}]
