"""Reading problems from files: which fields are taken, what is left out and why, how a problem is known again."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.worlds.problems.rows import FieldNames, key_of, read_files

GSM8K = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n#### 72"


def read(tmp_path, *rows, names=FieldNames()):  # noqa: B008 - it is frozen
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return read_files([path], names)


def only(found):
    [row] = found.usable.values()
    assert found.rejected == []
    return row


@pytest.mark.parametrize(
    ("row", "answer", "solution"),
    [
        ({"problem": "Why?", "answer": "72"}, "72", ""),
        ({"question": " Why? ", "answer": GSM8K}, "72", GSM8K),
        ({"prompt": "Why?", "final_answer": ["$2 n-2$"], "solution": ["One way.", "Another."]}, "$2 n-2$", "One way."),
        ({"problem": "Why?", "solution": "As $1+1=2$, so $\\boxed{2}$."}, "2", "As $1+1=2$, so $\\boxed{2}$."),
        ({"problem": "Why?", "solution": "Hence \\boxed{3}.\nThe answer: 4 - 1 = 3."}, "3", None),
        ({"problem": "Why?", "solution": "The answer is 3."}, "3", "The answer is 3."),
        ({"problem": "Why?", "answer": 27.0, "solution": "\\boxed{27}"}, "27.0", "\\boxed{27}"),
        ({"problem": "Why?", "answer": "\\boxed{5}"}, "5", ""),
        ({"problem": "Why?", "answer": 0}, "0", ""),
        ({"problem": " ", "question": "Why?", "answer": None, "final_answer": "No"}, "No", ""),
    ],
)
def test_fields_are_found(tmp_path, row, answer, solution):
    found = only(read(tmp_path, row))
    assert (found.text, found.answer) == ("Why?\n", answer)
    assert solution is None or found.solution == solution


def test_named_fields_are_read_and_no_others(tmp_path):
    row = {
        "problem": "no",
        "Q": "Why?\nTell.",
        "answer": "1",
        "A": "2",
        "solution": "\\boxed{3}",
        "S": "So \\boxed{2}.",
    }
    found = only(read(tmp_path, row, names=FieldNames("Q", "A", "S")))
    assert (found.text, found.answer, found.solution) == ("Why?\nTell.\n", "2", "So \\boxed{2}.")
    found = read(tmp_path, row, row | {"Q": "How?", "A": " "}, names=FieldNames("Q", "A"))
    assert [r.split(":", 1)[1] for r in found.rejected] == ["2: no answer: 'A' holds none, and no solution states one"]


GOOD = {"problem": "What is 1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "not JSON"),
        ([1], "must be an object, it is [1]"),
        ({"answer": "2"}, "no problem: 'problem' or 'question' or 'prompt' holds none"),
        ({"problem": "\n ", "answer": "2"}, "no problem"),
        ({"problem": 3, "answer": "2"}, "'problem' must be a text, it is 3"),
        ({"prompt": [{"role": "user", "content": "Why?"}], "answer": "2"}, "'prompt' must be a text, it is {'role'"),
        ({"problem": "Why?"}, "no answer: 'answer' or 'final_answer' holds none, and no solution states one"),
        ({"problem": "Why?", "answer": ""}, "no answer"),
        ({"problem": "Why?", "solution": "A proof."}, "no answer"),
        ({"problem": "Why?", "solution": "It is \\boxed{}."}, "no answer"),
        ({"problem": "Why?", "answer": True}, "'answer' must be a text or a number, it is True"),
        ({"problem": "Why?", "answer": ["1", "2"]}, "'answer' must be a text or a number, it is ['1', '2']"),
        ({"problem": "Why?", "answer": "\\frac{1}{"}, r"its answer '\\frac{1}{' can be compared with no other: its br"),
        ({"problem": "Why?", "answer": "???"}, "its answer '???' can be compared with no other: it has no letter"),
        ({"problem": "What is\n1 + 1?", "answer": "3"}, "it is the problem of "),
    ],
)
def test_a_bad_row_is_counted_and_the_rest_goes_on(tmp_path, bad, reason):
    bad = bad + "\n" if isinstance(bad, str) else bad
    found = read(tmp_path, GOOD, bad, {"problem": "What is 2+2?", "answer": "4"})
    assert [row.answer for row in found.usable.values()] == ["2", "4"]
    [told] = found.rejected
    assert told.startswith(f"{tmp_path}/rows.jsonl:2: {reason}")


def test_of_equal_problems_the_first_usable_row_counts(tmp_path):
    found = read(
        tmp_path, {"problem": "Why?"}, {"problem": " Why? ", "answer": "1"}, {"problem": "Why ?", "answer": "2"}
    )
    assert [row.answer for row in found.usable.values()] == ["1"]
    assert len(found.rejected) == 2 and found.keys == found.usable.keys()


def test_a_file_without_a_usable_row_is_an_error_that_names_its_fields(tmp_path):
    with pytest.raises(
        UserError, match=r"rows.jsonl: no usable row \(no problem: .*its fields are Body, Answer: name "
    ):
        read(tmp_path, {"Body": "Why?", "Answer": 1}, {"Body": "How?"})
    with pytest.raises(UserError, match=r"rows.jsonl: no usable row \(it is empty\); its fields are none"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"rows.jsonl: no usable row \('Q' must be a text, it is 1\); its fields are Q"):
        read(tmp_path, {"Q": 1}, names=FieldNames(problem="Q"))
    with pytest.raises(UserError, match=r"nowhere.jsonl: no such file"):
        read_files([tmp_path / "nowhere.jsonl"], FieldNames())


def test_files_of_other_containers_and_several_at_once(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([GOOD]))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"question": "Why?", "answer": GSM8K}))
    (tmp_path / "c.jsonl").write_text(json.dumps(GOOD))
    found = read_files([tmp_path / name for name in ("a.json", "b.jsonl.gz", "c.jsonl")], FieldNames())
    assert [row.answer for row in found.usable.values()] == ["2", "72"]
    assert found.rejected == [f"{tmp_path}/c.jsonl:1: it is the problem of {tmp_path}/a.json:1[0] again"]


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.Table.from_pylist([GOOD, {"problem": "Why?", "answer": None}]), tmp_path / "rows.parquet")
    found = read_files([tmp_path / "rows.parquet"], FieldNames())
    assert [row.answer for row in found.usable.values()] == ["2"]
    assert found.rejected[0].startswith(f"{tmp_path}/rows.parquet:2: no answer")


@given(st.text(), st.data())
def test_white_space_does_not_tell_problems_apart(text, data):
    at = data.draw(st.integers(0, len(text)))
    blank = data.draw(st.sampled_from([" ", "\n", "\r\n\t", "\u00a0", "\u2003"]))
    assert key_of(text[:at] + blank + text[at:]) == key_of(text)
    assert key_of(text + "x") != key_of(text)


def test_composed_letters_are_the_same():
    assert key_of("caf\u00e9") == key_of("cafe\u0301") != key_of("cafe")
