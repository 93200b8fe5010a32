"""The guide of this room: its programs run, and its table has every row with its needs."""

import re

import numpy as np

from jprm.rl import find_row, row
from tests.pages import ROOT, blocks

GUIDE = ROOT / "docs" / "rl.md"


def test_the_programs_of_the_guide_run_one_after_another(capsys):
    names = {}
    for language, text in blocks(GUIDE):
        if language == "python":
            exec(text, names)
    assert [np.round(c.advantage).tolist() for c in names["credit"]("prefix", names["group"], center=False)] == [
        [1, 1, 1],
        [0, 0, -1],
    ]
    assert names["gradient"].shape == (2, 3) and np.abs(names["gradient"]).min() > 0


def test_the_table_of_rows_is_that_of_the_registry():
    lines = re.findall(r"^\| `([\w-]+)` \| ([\w, ]+) \|", GUIDE.read_text(), flags=re.MULTILINE)
    assert {name: frozenset(needs.split(", ")) for name, needs in lines} == {name: find_row(name).needs for name in row}
