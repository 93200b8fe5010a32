"""`python -m jprm laws`: known laws come back, what cannot be fitted says why, the page is whole."""

import json

import numpy as np
import pytest

from jprm.cli import app, guarded
from tests.report.test_pages_in_browser import BROWSER, PROBE, browse
from tests.scaling.laws.tables import ALPHA, BETA, POWER, A, B, E, best_size, curve_rows, isoflop_rows, loss_of, write


def laws(*arguments):
    """The exit code of the command."""
    words = ["laws", *map(str, arguments)]
    return guarded(lambda: app(words, standalone_mode=False))


def rows_of(out):
    """(approach, quantity, budget) -> row; approaches without a fit by (approach,)."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {
        (row["approach"], row["quantity"], row["flops"]) if "quantity" in row else (row["approach"],): row
        for row in rows
    }


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The output directory for a small noise, at two budgets."""
    folder = tmp_path_factory.mktemp("laws")
    file, out = write(folder / "runs.csv", isoflop_rows()), folder / "out"
    assert laws(file, "--budget", "1e21", "--budget", "1e23", "--out", out, "--resamples", 60) == 0
    return out


def test_known_exponents_come_back_with_their_intervals(fitted):
    rows = rows_of(fitted)
    truth = {"E": E, "A": A, "B": B, "alpha": ALPHA, "beta": BETA, "a": POWER}
    for key in ("3", "3'"):
        for name, value in truth.items():
            row = rows[key, name, None]
            assert row["low"] <= row["value"] <= row["high"]
            rel = 0.5 if name in "AB" else 0.1
            assert row["value"] == pytest.approx(value, rel=rel)
            assert row["basis"] == "35 runs"
    assert rows["2", "a", None]["value"] == pytest.approx(POWER, abs=0.02)
    assert "no training curves" in rows["1",]["reason"]


def test_the_best_sizes_are_those_of_the_law_and_spend_the_budget(fitted):
    rows = rows_of(fitted)
    for key in ("3", "3'", "2"):
        for budget in (1e21, 1e23):
            params, tokens = (rows[key, f"best_{what}", budget] for what in ("params", "tokens"))
            assert params["value"] == pytest.approx(best_size(budget), rel=0.2)
            assert 6 * params["value"] * tokens["value"] == pytest.approx(budget)
            # quantiles are interpolated between resamples, of parameters and of tokens
            assert 6 * params["low"] * tokens["high"] == pytest.approx(budget, rel=1e-3)
            assert params["low"] < params["value"] < params["high"]


def test_the_table_says_how_often_intervals_hold(tmp_path, capsys):
    file = write(tmp_path / "runs.jsonl", isoflop_rows())
    assert laws(file, "--resamples", 20, "--bootstrap", "residuals") == 0
    said = capsys.readouterr().out
    assert "35 runs of " in said and "tokens are 'Training FLOP' / (6 x 'Model Size')" in said
    assert "1e22 FLOPs are 10 times those of the largest run" in said
    for key in ("3", "3'", "2"):
        assert f"approach {key} (" in said
    assert said.count("covered the truth") == 3
    assert "approach 3, 7 points of the largest compute held out: off by at most 0." in said
    assert "approach 1: not fitted, there are no training curves" in said


def test_curves_carry_the_envelope(tmp_path):
    out = tmp_path / "out"
    assert laws(write(tmp_path / "runs.jsonl.gz", curve_rows(40, 60)), "--out", out, "--resamples", 50) == 0
    rows = rows_of(out)
    assert rows["1", "a", None]["value"] == pytest.approx(POWER, abs=0.03)
    assert "3 budgets are needed, 0 can be used" not in rows["1", "a", None]["basis"]
    assert "parabola" not in rows["2",]["reason"] and "budgets are needed" in rows["2",]["reason"]


def test_runs_that_settle_nothing_are_called_so(tmp_path, capsys):
    """All runs on about as many tokens: nothing tells the exponent of tokens."""
    rng, rows = np.random.default_rng(0), []
    for i, n in enumerate(np.geomspace(1e7, 1e10, 12)):
        d = 1e10 * (1 + 0.01 * (i % 3))
        rows.append({"N": n, "D": d, "loss": loss_of(n, d) * np.exp(0.01 * rng.normal())})
    assert laws(write(tmp_path / "runs.jsonl", rows), "--out", tmp_path, "--resamples", 100) == 0
    said = capsys.readouterr().out
    assert "approach 3': these runs do not settle it: beta is not told from 0; beta may be" in said
    assert "these runs do not settle it" in (tmp_path / "report.html").read_text()


def test_too_few_runs_are_refused_by_every_approach(tmp_path, capsys):
    file, out = write(tmp_path / "runs.csv", isoflop_rows()[:5]), tmp_path / "out"
    assert laws(file, "--out", out) == 2
    said = capsys.readouterr()
    assert "10 points are needed" in said.out and "3 budgets are needed" in said.out
    assert said.err == "error: no approach could be fitted to these runs\n"
    rows = rows_of(out)
    assert set(rows) == {("3",), ("3'",), ("2",), ("1",)} and all(r["reason"] for r in rows.values())
    assert "not fitted" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "Loss2"], "no column 'Loss2' (--loss); did you mean 'loss'?"),
        (["--budget", "-1"], "--budget -1: a number of FLOPs above 0"),
        (["--budget", "nan"], "--budget nan: a number of FLOPs above 0"),
        (["--bootstrap", "jackknife"], "--bootstrap jackknife: choose points or residuals"),
        (["--where", "loss=0"], "no row has loss = '0'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, said):
    assert laws(write(tmp_path / "runs.csv", isoflop_rows()), *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_results_of_another_run_are_not_overwritten(tmp_path, capsys):
    file = write(tmp_path / "results.jsonl", isoflop_rows())
    before = file.read_bytes()
    assert laws(file, "--out", tmp_path) == 2 and laws(tmp_path, "--out", tmp_path) == 2
    said = f"error: --out {tmp_path}: its results.jsonl belongs to another run; choose another directory\n"
    assert capsys.readouterr().err == 2 * said
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    assert laws(file, "--out", tmp_path / "run") == 2
    assert file.read_bytes() == before
    assert laws(file, "--out", file, "--resamples", 20) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_the_same_table_gives_the_same_bytes(tmp_path, fitted):
    file, out = write(tmp_path / "runs.csv", isoflop_rows()), tmp_path / "out"
    laws(file, "--budget", "1e21", "--budget", "1e23", "--out", out, "--resamples", 60)
    assert (out / "results.jsonl").read_bytes() == (fitted / "results.jsonl").read_bytes()


def test_the_published_refit(tmp_path, data_root):
    """Besiroglu et al. 2024, from the command line to the file."""
    path = data_root / "laws" / "chinchilla.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert laws(path, "--drop-highest", 5, "--budget", "5.76e23", "--out", tmp_path, "--resamples", 100) == 0
    rows = rows_of(tmp_path)
    for name, value, within in (("alpha", 0.3478, 0.002), ("beta", 0.3658, 0.002), ("E", 1.8172, 0.001)):
        assert rows["3", name, None]["value"] == pytest.approx(value, abs=within)
    assert rows["3", "a", None]["basis"] == "240 runs"
    chinchilla = rows["3", "best_params", 5.76e23]
    assert chinchilla["low"] < 70e9 < chinchilla["high"]  # the model of that budget


def test_a_hostile_column_stays_text(tmp_path):
    evil = "<script>alert(1)</script>"
    rows = [{evil if k == "loss" else k: v for k, v in row.items()} for row in isoflop_rows()]
    file = write(tmp_path / "runs.csv", rows)
    assert laws(file, "--loss", evil, "--out", tmp_path, "--resamples", 20) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and page.count("<script") == 1 and "&lt;script&gt;" in page


def test_the_page_shows_every_approach(fitted):
    page = (fitted / "report.html").read_text()
    for shown in ("approach 3", "approach 3'", "approach 2", "least loss", "residual of ln L"):
        assert shown in page
    assert page.count("<svg") == 7 and len(page) < 1_000_000


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_asks_for_nothing(tmp_path, fitted, width):
    page = (fitted / "report.html").read_text()
    seen, console = browse(page.replace("</body>", f"{PROBE}"), width, tmp_path)
    assert seen == {"width": width, "over": 0, "scripts": 2, "asked": [], "alerted": False}
    assert console == []
