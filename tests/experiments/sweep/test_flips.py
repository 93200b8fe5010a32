"""Which solutions flip between two cells: those on which the curves at all votes differ, each told with its steps."""

import json
import sys

import numpy as np
import pytest

from jprm.cli import main
from jprm.experiments.sweep.compare import compare
from jprm.experiments.sweep.flips import Flip, flip_lines, flips_of
from jprm.tasks.benchmark import load_items
from tests.experiments.sweep.test_findings import VOTES, config_of, pretend
from tests.pages import documented


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two run directories with the same solutions, and what was measured in each."""
    found = []
    for name, chance in (("a", 0.5), ("b", 0.8)):
        place = tmp_path_factory.mktemp(name)
        config = config_of(place, sizes=["tiny-0.1m"], train_examples=[250])
        found.append((config.path, pretend(config, lambda _, chance=chance: chance)[1]))
        (config.path / "config.json").write_text(config.model_dump_json())
    return found


def test_the_flips_are_where_the_curves_differ(runs):
    (_, [one]), (_, [two]) = runs
    items = load_items(one.stages[one.cell.votes.benchmark])
    change = two.curve.at(VOTES) - one.curve.at(VOTES)
    flips = flips_of(one, two)
    assert [f.solution_id for f in flips] == [items[i].solution.id for i in np.flatnonzero(change)]
    assert [f.gained for f in flips] == (change[change != 0] > 0).tolist()
    assert all(f.truth in (f.a, f.b) and f.a != f.b for f in flips)
    assert 0 < sum(f.gained for f in flips) < len(flips), "both directions"


def test_the_command_lists_some_of_each_direction_and_counts_the_rest(runs, capsys, monkeypatch):
    (first, [one]), (second, [two]) = runs
    flips = flips_of(one, two)
    lost = [f for f in flips if not f.gained]

    def said(*options):
        monkeypatch.setattr(sys, "argv", ["jprm", "compare", str(first), str(second), *options])
        assert main() == 0
        return capsys.readouterr().out

    out = said("--flips", "1")
    assert f"only A is right on {len(lost)} solution" in out and f"    {lost[0]}" in out
    assert f"and {len(flips) - len(lost) - 1} more (--flips {len(flips) - len(lost)} lists all)" in out
    assert sum(line.startswith("    ") and ": " in line for line in out.splitlines()) == 2
    table = json.loads(said("--json"))
    assert table.keys() == documented("compare --json")["fields"]
    [pair] = table["flips"]
    assert [row["solution_id"] for row in pair["solutions"]] == [f.solution_id for f in flips]
    about = documented("A solution that flips")
    assert pair["solutions"][0].keys() == about["fields"] == about["example"].keys()
    rows = {row["votes"]: row for row in table["rows"]}
    found = {row.votes: row for row in compare(first, second).rows}
    assert rows[VOTES]["gain"] == found[VOTES].gain.difference.value and rows.keys() == found.keys()


def test_a_flip_is_told_in_words():
    flip = Flip("9a1b", "What\n" * 30, 1, -1, None)
    assert str(flip).startswith("9a1b: step 2 is wrong; A says no step, B says nothing   What What")
    assert len(str(flip)) < 140 and not flip.gained
    unknown = Flip("9a1b", "What?", None, -1, 2)
    assert unknown.gained and "some step is wrong" in str(unknown)
    assert flip_lines([unknown], 0)[1:] == ["  only B is right on 1 solution", "    and 1 more (--flips 1 lists all)"]
