"""Points of axes against one another, from finished stages with contents made here: what was put in comes out."""

import numpy as np
import pytest

from jprm.evaluate import compare
from jprm.experiments.sweep import axis_comparisons
from jprm.experiments.sweep.axis_comparisons import compare_along_axes
from jprm.experiments.sweep.cell_tables import cells_table
from jprm.experiments.sweep.config import SweepConfig
from jprm.experiments.sweep.figures import sweep_figures
from jprm.experiments.sweep.report import write_sweep_report
from jprm.experiments.sweep.report_tables import along_axes_table, vote_fits_table
from jprm.experiments.sweep.screen import print_screen
from jprm.experiments.sweep.table import measure
from jprm.records import append_jsonl, to_json
from jprm.seeds import rng_of
from tests.experiments.sweep.pretend import finish_all
from tests.experiments.sweep.test_findings import found_by, item, judged

AXES = {
    "verify.temperature": [0.7, 1.1],
    "verify.n_votes": [4, 16],
    "verify.mode": ["chain", "fork"],
    "verify.readout": ["vote", "prob_raw"],
}
ITEMS = 24


def pretend(directory, axes, accuracy, zipped=None, **sections):
    """A finished sweep over the axes; `accuracy(config)` is the chance that a vote names the right first error."""
    listed = [{"key": key, "values": values, "zip": (zipped or {}).get(key)} for key, values in axes.items()]
    table = {"directory": directory, "name": "axes", "axes": listed, "evaluate": {"candidates_problems": 0}}
    config = SweepConfig.model_validate(table | sections)

    def make(task, stage):
        if task.kind == "benchmark":
            append_jsonl(stage.file("items.jsonl"), [to_json(item(i, task.seed)) for i in range(ITEMS)])
        if task.kind == "verifier":
            kept = {"kept": task.examples, "dropped": {}}
            return {"params": 9, "loss": 1.0, "flops": 1e9, "filter": kept, "held_out_loss": 1.0}
        if task.kind == "votes":
            rng, chance = rng_of(0, stage.key), accuracy(task.sampling)
            rows = [judged(item(i, task.benchmark.seed), chance, rng, task.n_votes) for i in range(ITEMS)]
            append_jsonl(stage.file("rationales.jsonl"), rows)
            return {"rationales": 1000, "generated_tokens": 9000, "forced_tokens": 1000, "none": 0}
        return {"items": ITEMS, "params": 9}

    sweep, stages = finish_all(config, make)
    return sweep, [measure(stages, cell) for cell in sweep.cells]


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    """(sweep, measured) over temperature, votes, mode and read-out: the lower temperature is right more often."""
    directory = tmp_path_factory.mktemp("axes")
    return pretend(directory, AXES, lambda sampling: 0.75 if sampling.settings.temperature < 1 else 0.3)


@pytest.fixture(scope="module")
def findings(sixteen):
    return found_by(*sixteen)


def test_a_question_about_two_points_is_answered(sixteen, findings):
    """Does temperature .7 beat 1.1 at N = 16?"""
    _, measured = sixteen
    found = {c.question: c for c in findings.along_axes.made}
    whole = found["temperature 1.1 instead of 0.7, 16 votes, mean of 4 settings of mode, readout"]
    assert whole.verdict == "temperature 0.7 is better" and whole.votes == 16
    assert whole.difference.high < -0.1 and whole.paired.permutation_p < 0.001
    at = {dict(m.cell.values)["verify.temperature"]: [] for m in measured}
    for m in measured:
        if m.cell.votes_asked == 16:
            at[dict(m.cell.values)["verify.temperature"]].append(m.curve.at(16))
    curve = measured[0].curve
    ids = curve.resamples.group.tolist()
    slow = compare(np.mean(at[0.7], axis=0), np.mean(at[1.1], axis=0), ids, labels=curve.labels)
    assert whole.paired.difference == slow.difference and whole.paired.permutation_p == slow.permutation_p
    none = found["fork instead of chain, 16 votes, mean of 4 settings of temperature, readout"]
    assert none.verdict == "not told apart"


def test_every_pair_that_differs_in_one_axis_is_made_once(findings):
    """Of 2 x 2 x 2 x 2 points each axis has 8 pairs; means: one for each number of votes, and one of the votes."""
    questions = [c.question for c in findings.along_axes.made]
    assert len(set(questions)) == len(questions) == 4 * 8 + 2 + 1 + 2 + 2
    votes = [q for q in questions if q.startswith("16 votes instead of 4, ")]
    assert len(votes) == 8 + 1
    assert "16 votes instead of 4, temperature 1.1, fork, readout prob_raw" in votes
    assert [row["point"] for row in along_axes_table(findings.along_axes).rows] == questions


def test_rows_labels_and_lines_of_points_are_distinct(sixteen, findings):
    _, measured = sixteen
    rows = cells_table(measured).rows
    shown = [tuple(row[key] for key in (*AXES, "n_votes")) for row in rows]
    assert len(set(shown)) == len(rows) == 8 * 3 + 8 * 5
    headings = [column.heading for column in cells_table(measured).columns]
    assert {"temperature", "votes asked for", "mode", "readout"} <= set(headings)
    assert {*AXES} <= measured[0].rows[0].keys(), "the axes are columns of results.jsonl"
    series = sweep_figures(measured, findings)["f1_against_votes"].series
    assert len({s.name for s in series}) == len(series) == 16
    labels = [row["cell"] for row in vote_fits_table(findings).rows]
    assert labels == [s.name for s in series] and "fork, temperature 1.1, 16 votes, readout prob_raw" in labels


def test_the_last_screen_is_short_and_has_the_headline_a_law_and_the_report(sixteen, findings, tmp_path, capsys):
    print_screen(sixteen[1], findings, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 23, lines
    assert lines[0].startswith("tiny-0.3m trained on 1000 examples has F1 0.")
    assert any(line.startswith("law: ") and "[" in line for line in lines)
    assert lines[-1].startswith("report: ")


@pytest.mark.slow
def test_the_report_is_written_from_points(sixteen, findings, tmp_path):
    sweep, measured = sixteen
    write_sweep_report(sweep.config, measured, findings, tmp_path, "sweep")
    page = (tmp_path / "report.html").read_text()
    assert "temperature 0.7 is better" in page and len(page) < 5_000_000


def test_seeds_are_repetitions_and_zipped_axes_are_one(tmp_path):
    axes = {"cell.seed": [0, 1, 2], "verify.temperature": [0.7, 1.1], "train.steps": [100, 200]}
    zipped = {"verify.temperature": "a", "train.steps": "a"}
    sweep, measured = pretend(tmp_path, axes, lambda sampling: 0.5, zipped, verify={"n_votes": 2})
    [one] = compare_along_axes(sweep.config.axes, measured).made
    assert one.question == "temperature 1.1, steps 200 instead of 0.7, 100 (3 seeds)"
    assert one.spread is not None and one.paired is None


def test_many_settings_are_counted_not_compared(sixteen, monkeypatch):
    sweep, measured = sixteen
    monkeypatch.setattr(axis_comparisons, "MOST_SETTINGS", 3)
    found = compare_along_axes(sweep.config.axes[:1], measured)
    assert len(found.made) == 2 + 3 and found.left_out == 8 - 3
    assert "5 more comparisons" in along_axes_table(found).note
