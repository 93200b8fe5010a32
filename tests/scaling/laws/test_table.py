"""Files to rows: every layout gives the same table, and damage is named by its line."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.scaling.laws import read_runs, read_table
from tests.scaling.laws.tables import csv_text, isoflop_rows, write

# a byte order mark at the start of a file is no part of a name
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\r\n\0"), max_size=12)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.json"])
def test_every_layout_holds_the_same_runs(tmp_path, name):
    rows = isoflop_rows()
    table = read_table(write(tmp_path / name, rows))
    assert table.names == ("Model Size", "Training FLOP", "loss") and len(table.rows) == 35
    runs = read_runs(table)
    assert runs.losses.tolist() == [row["loss"] for row in rows]
    assert runs.params.tolist() == [row["Model Size"] for row in rows]


def test_a_directory_stands_for_its_results(tmp_path):
    write(tmp_path / "results.jsonl", isoflop_rows())
    assert read_table(tmp_path).places[0] == f"{tmp_path / 'results.jsonl'}:1"
    (tmp_path / "results.jsonl").unlink()
    with pytest.raises(UserError, match=r"a directory without results\.jsonl or result\.json"):
        read_table(tmp_path)


def test_directories_of_training_runs_are_a_row_each(tmp_path):
    for name, loss in (("a", 3.0), ("b", 2.5)):
        (tmp_path / name).mkdir()
        said = {"params": 1e8, "tokens": 1e9, "flops": 7e17, "loss": loss, "provenance": {}}
        (tmp_path / name / "result.json").write_text(json.dumps(said, indent=1))
    table = read_table(tmp_path / "a", tmp_path / "b")
    assert table.source == f"{tmp_path / 'a'} and 1 more"
    assert [row["run"] for row in table.rows] == [str(tmp_path / name) for name in "ab"]
    runs = read_runs(table)
    assert runs.losses.tolist() == [3.0, 2.5] and runs.flops.tolist() == [7e17] * 2
    (tmp_path / "b" / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"b/result\.json: not JSON"):
        read_table(tmp_path / "b")


@given(
    st.lists(CELLS.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True),
    st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_what_is_written_is_read(tmp_path_factory, names, cells):
    rows = [dict(zip(names, row, strict=False)) for row in cells]
    expected = [row for row in rows if any(cell.strip() for cell in row.values())]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(csv_text(rows), encoding="utf-8", newline="")
    if not expected:
        with pytest.raises(UserError, match="no rows"):
            read_table(path)
        return
    table = read_table(path)
    assert list(table.rows) == expected and table.names == tuple(names)


@given(st.binary(max_size=60), st.sampled_from(["a.csv", "a.csv.gz", "a.jsonl", "a.txt"]))
def test_any_bytes_are_a_table_or_one_line_of_error(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(data)
    try:
        table = read_table(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error).replace(str(path), "")
    else:
        assert table.rows and len(table.rows) == len(table.places)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    """Blank lines and cells over several lines count."""
    path = tmp_path / "a.csv"
    path.write_text('a,b\n\n"one\ntwo",2\n3,4\n')
    assert read_table(path).places == (f"{path}:3", f"{path}:5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n1,2,3\n", r":3: 3 cells under a header of 2 columns"),
        ("a,a\n1,2\n", r":1: the header names 'a' twice"),
        ("a,\n1,2\n", r":1: column 2 of the header has no name"),
        ('a,b\n1,"2\n', r":2: not a CSV row"),
        ("a,b\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_damage_is_named(tmp_path, text, said):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_table(path)


def test_other_files_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv")
    path = tmp_path / "a.txt"
    path.write_text("params,loss\n1,2\n")
    with pytest.raises(UserError, match=r"a\.txt:1: not JSON .*; a CSV file ends in \.csv"):
        read_table(path)
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="expected a JSON object with a run, found int"):
        read_table(path)
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(UserError, match=":2: not UTF-8"):
        read_table(path)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" * 99)[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        read_table(path)
