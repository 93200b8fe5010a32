"""A sweep's directory from Python: what is read, what is refused, and that nothing is computed for it."""

import json
import shutil
import sys
import types

import numpy as np
import pytest

import jprm
from jprm.api.runs import frame_of
from jprm.errors import UserError
from tests.experiments.sweep.conftest import finished  # noqa: F401 - a fixture
from tests.experiments.sweep.tiny_sweep import TINY, table


@pytest.fixture
def run(finished):  # noqa: F811
    return jprm.open_run(finished[0] / "embedded")


def test_cells_are_typed_and_their_rows_are_those_of_the_table(run, finished):  # noqa: F811
    wanted = {(row["cell"], row["n_votes"]): row for row in finished[1]}
    rows = {(cell.name, row.n_votes): row for cell in run.cells for row in cell.rows}
    assert rows.keys() == wanted.keys() and run.finished and run.failures == {}
    for key, row in rows.items():
        assert (row.f1.value, row.f1.low, row.f1.high) == tuple(wanted[key][n] for n in ("f1", "f1_low", "f1_high"))
        assert {k: v for k, v in row.columns.items() if k != "seconds"} == wanted[key]
    main = run.main
    assert (main.size, main.train_examples, main.labels, main.benchmark) == ("tiny-0.1m", 16, "exact", "planted")
    assert [(c.variant, c.code) for c in run.cells if c.variant == "invented"] == [("invented", "invented")]
    assert run.cell("n=8") in run.cells
    with pytest.raises(UserError, match="'n=' is in 4 names of cells"):
        run.cell("n=")


def test_votes_rationales_and_the_curve_agree(run):
    cell = run.main
    votes, rationales, solutions, curve = cell.votes(), cell.rationales(), cell.solutions(), cell.curve()
    assert votes.keys() == rationales.keys() == solutions.keys() and votes
    for name, rewards in votes.items():
        assert rewards.shape[1] == cell.n_votes == 2
        assert rewards.shape[0] <= len(solutions[name].solution.steps)
        for r in rationales[name]:
            stored = rewards[r.step, r.vote]
            assert (r.verdict.correct is None and np.isnan(stored)) or stored == r.verdict.p_yes_raw
    assert curve.f1(2).value == cell.rows[-1].f1.value and curve.ks == (1, 2)


def test_what_is_not_finished_is_there_and_says_so(finished, tmp_path):  # noqa: F811
    run = shutil.copytree(finished[0] / "embedded", tmp_path / "partial")
    for inputs in run.glob("stages/votes-*/inputs.json"):
        if json.loads(inputs.read_text())["execution"] == "invented":
            shutil.rmtree(inputs.parent)
    opened = jprm.open_run(run)
    [missing] = [cell for cell in opened.cells if not cell.finished]
    assert missing.variant == "invented" and missing.rows == () and not opened.finished
    for ask in (missing.curve, missing.votes, missing.rationales, missing.solutions):
        with pytest.raises(UserError, match="is not finished; run the sweep again"):
            ask()
    with pytest.raises(UserError, match="no finished sweep there"):
        jprm.open_run(tmp_path / "none")


def test_a_frame_is_of_the_package_that_is_there(run, monkeypatch):
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="a data frame needs pandas or polars, .*: pip install pandas"):
        run.frame()
    monkeypatch.setitem(sys.modules, "polars", types.SimpleNamespace(DataFrame=lambda rows, **_: rows))
    rows = run.frame()
    assert [(r["cell"], r["n_votes"]) for r in rows] == [(c.name, r.n_votes) for c in run.cells for r in c.rows]
    assert run.frame("polars") == rows
    with pytest.raises(UserError, match="needs pandas, which is not installed: pip install pandas"):
        run.frame("pandas")


# The values of an axis change their type, or are lists, and some numbers are missing in all of the first rows.
AWKWARD = [{"axis": 1, "f1": None, "sets": ["a"], "none": None}] * 150 + [
    {"axis": 0.7, "f1": 0.5, "sets": ["a", "b"], "none": None}
]


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames_of_the_real_packages_hold_the_rows(package, run):
    frames = pytest.importorskip(package)
    frame = run.frame(package)
    assert isinstance(frame, frames.DataFrame) and len(frame) == sum(len(cell.rows) for cell in run.cells)
    columns = [dict(row.columns) for cell in run.cells for row in cell.rows]
    assert list(frame.columns) == list(columns[0])
    assert frame["f1"].to_list() == [row["f1"] for row in columns]
    assert frame["cell"].to_list() == [row["cell"] for row in columns]

    awkward = frame_of(AWKWARD, package)
    assert awkward["axis"].to_list() == [1.0] * 150 + [0.7]
    assert awkward["f1"].to_list()[-1] == 0.5 and awkward["sets"].to_list()[-1] == '["a", "b"]'
    assert awkward["f1"].mean() == 0.5 and len(set(awkward["sets"])) == 2
    assert len(frame_of([], package)) == 0


def test_a_sweep_returns_the_run_quietly_and_computes_nothing_twice(finished, capfd):  # noqa: F811
    before = sorted(path.name for path in finished[0].rglob("stages/*"))
    run = jprm.sweep(None, f"directory={finished[0]}", *TINY)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in finished[0].rglob("stages/*")) == before
    assert len(run.cells) == 4 and table(finished[0]) == finished[1]
    jprm.sweep(run.config, progress=True)
    assert "computed 0, reused" in capfd.readouterr().out
    with pytest.raises(UserError, match='unknown key "train.stepps"'):
        jprm.sweep(None, "train.stepps=3")
