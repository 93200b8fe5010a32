"""Tables on the terminal: wide enough for every cell, with headings in plain words."""

import io

from rich.console import Console

from jprm.report import Column, Table, columns, print_table

COLUMNS = columns(
    "verifier: name | votes: n | solutions without a verdict: missing% | F1: f1* | gain+ | parameters: size~"
)
ROWS = [
    {"name": "GenPRM", "n": 16, "missing": 0.05, "f1": 0.5, "f1_low": 0.4, "f1_high": 0.6, "gain": 0.1}
    | {"gain_low": None, "gain_high": None, "size": 1.5e9, "size_low": 1e9, "size_high": 2e9},
    {"name": "direct", "n": None, "missing": 0, "f1": None, "gain": None, "size": None},
]


def _printed(table, width=40):
    out = io.StringIO()
    print_table(table, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_nothing_is_cut_off_or_wrapped():
    lines = _printed(Table("Verifiers", COLUMNS, ROWS, note="a note"))
    assert lines[0] == "Verifiers" and lines[-1] == "a note"
    assert [line.split("  ")[0] for line in lines[-3:-1]] == ["GenPRM", "direct"]
    for text in ("16", "5.0%", "0.500 [0.400, 0.600]", "+0.100 (no interval)", "1.5 G [1 G, 2 G]"):
        assert text in lines[-3]
    assert lines[-2].split() == ["direct", "-", "0.0%", "-", "-", "-"]


def test_a_long_text_is_broken_into_lines():
    words = [f"word{i}" for i in range(40)]
    first, *lines = _printed(Table("", columns("n | name"), [{"name": " ".join(words), "n": 1}]))
    assert first == "n  name" and lines[0].startswith("1  word0 ")
    assert max(map(len, lines)) <= 80 and " ".join(lines).split() == ["1", *words]


def test_a_table_without_some_columns():
    table = Table("", COLUMNS).of(ROWS).without("f1", "gain", "missing", "size")
    assert [line.split() for line in _printed(table)] == [["verifier", "votes"], ["GenPRM", "16"], ["direct", "-"]]


def test_columns_are_declared_in_a_line():
    assert columns("a_b | c: d: key*% | e~") == (
        Column("a b", "a_b"),
        Column("c: d", "key", "percent"),
        Column("e", "e", "size"),
    )
    assert Column("", "x", "percent").shown({"x": 0.5, "x_low": 0.25, "x_high": 0.75}) == ("50.0", "[25.0, 75.0]")
