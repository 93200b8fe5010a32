"""Rows to runs: columns by name, filters, curves, derived columns, and errors with file, line and column."""

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.scaling.laws import Columns, read_runs, read_table
from tests.scaling.laws.tables import curve_rows, isoflop_rows, loss_of, write


def _runs(tmp_path, rows, columns=Columns(), **asked):  # noqa: B008 - frozen
    return read_runs(read_table(write(tmp_path / "a.jsonl", rows)), columns, **asked)


def _rows(n=3, **more):
    return [{"N": 1e8 * (i + 1), "D": 1e10, "loss": 3.0 - i / 10} | more for i in range(n)]


@pytest.mark.parametrize("name", ["Model Size", "model_size", "n_params", "Parameters", "N"])
def test_columns_are_found_by_name(tmp_path, name):
    rows = [{name: 1e8, "Training Tokens": 2e10, "L": 3.0, "note": "x"}]
    runs = _runs(tmp_path, rows)
    assert (runs.params[0], runs.tokens[0], runs.losses[0]) == (1e8, 2e10, 3.0)
    assert runs.columns == Columns(name, "Training Tokens", None, "L")
    assert runs.flops[0] == 6e8 * 2e10
    assert runs.notes == (
        f"columns: params {name!r}, tokens 'Training Tokens', loss 'L'",
        f"FLOPs are 6 x {name!r} x 'Training Tokens'",
    )


def test_a_named_column_is_taken_up_to_case_and_punctuation(tmp_path):
    rows = [row | {"Loss (final)": 9.0} for row in _rows()]
    assert _runs(tmp_path, rows, Columns(loss="loss_final")).losses.tolist() == [9.0] * 3
    with pytest.raises(UserError, match=r"no column 'Lass' \(--loss\); did you mean 'loss'"):
        _runs(tmp_path, rows, Columns(loss="Lass"))


def test_what_is_missing_is_asked_for(tmp_path):
    with pytest.raises(UserError, match="which column holds the loss.*--loss.*'N', 'D'"):
        _runs(tmp_path, [{"N": 1e8, "D": 1e10}])
    with pytest.raises(UserError, match="which column holds the tokens.*--tokens or --flops"):
        _runs(tmp_path, [{"N": 1e8, "loss": 3.0}])
    with pytest.raises(UserError, match="which column holds the flops"):
        _runs(tmp_path, _rows(), derive_tokens=True)
    with pytest.raises(UserError, match="keep one"):
        _runs(tmp_path, _rows(), Columns(tokens="D"), derive_tokens=True)


def test_tokens_come_from_flops_when_asked_or_when_there_are_none(tmp_path):
    rows = [row | {"flops": 12 * row["N"] * row["D"]} for row in _rows()]
    given = _runs(tmp_path, rows)
    assert given.tokens.tolist() == [1e10] * 3
    assert "'flops' is 2 times 6 x parameters x tokens (median)" in given.notes[1]
    derived = _runs(tmp_path, rows, derive_tokens=True)
    assert derived.tokens == pytest.approx(np.full(3, 2e10))
    assert derived.notes[1:] == ("tokens are 'flops' / (6 x 'N')",)
    none = _runs(tmp_path, [{k: v for k, v in row.items() if k != "D"} for row in rows])
    assert none.tokens == pytest.approx(derived.tokens) and none.notes == derived.notes


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("many", "column 'D' is 'many', not a number"),
        (True, "column 'D' is True, not a number"),
        ([1], r"column 'D' is \[1\], not a number"),
        ("nan", "column 'D' is 'nan', not a number"),
        (0, "column 'D' is 0; it must be above 0"),
        (-3.5, "column 'D' is -3.5; it must be above 0"),
        ("inf", "column 'D' is 'inf'; it must be above 0 and finite"),
        (10**400, r"not JSON \(an integer of 401 digits is no number"),
        (None, "column 'D' is empty"),
        ("", "column 'D' is empty"),
    ],
)
def test_a_number_that_is_none_is_named_by_line_and_column(tmp_path, value, said):
    rows = _rows()
    rows[1]["D"] = value
    with pytest.raises(UserError, match=rf"a\.jsonl:2: {said}"):
        _runs(tmp_path, rows)


def test_where_keeps_rows_and_says_how_many(tmp_path):
    rows = [row | {"recipe": "abc"[i % 3], "seed": i % 2} for i, row in enumerate(_rows(6))]
    runs = _runs(tmp_path, rows, where=["recipe=b", "seed=1.0"])
    assert runs.params.tolist() == [2e8]
    assert "1 of 6 rows have recipe=b and seed=1.0" in runs.notes
    with pytest.raises(UserError, match="no row has recipe = 'd'; there are 'a', 'b', 'c'"):
        _runs(tmp_path, rows, where=["recipe=d"])
    with pytest.raises(UserError, match="did you mean 'recipe'"):
        _runs(tmp_path, rows, where=["recip=a"])
    with pytest.raises(UserError, match="expected KEY=VALUE"):
        _runs(tmp_path, rows, where=["recipe"])


def test_the_highest_losses_are_dropped(tmp_path):
    rows = _rows(5)
    rows[3]["loss"] = 9.0
    runs = _runs(tmp_path, rows, drop_highest=2)
    assert runs.losses.tolist() == [2.9, 2.8, 2.6]
    with pytest.raises(UserError, match="--drop-highest 5: there are 5 runs"):
        _runs(tmp_path, rows, drop_highest=5)


def test_rows_of_one_run_are_its_curve(tmp_path):
    rows = curve_rows(sizes=3, points=4)
    runs = _runs(tmp_path, rows[::-1])
    assert len(runs) == 3 and len(runs.curves) == 3
    assert runs.flops == pytest.approx(np.full(3, 1e22))
    for curve in runs.curves:
        assert (np.diff(curve.flops) > 0).all()
        assert curve.losses == pytest.approx(loss_of(curve.params, curve.flops / 6 / curve.params))
    assert "12 rows are the training curves of 3 runs" in runs.notes[1]


def test_runs_that_share_a_name_by_accident_are_refused(tmp_path):
    rows = curve_rows(sizes=2, points=2)
    for row in rows:
        row["run"] = "same"
    with pytest.raises(UserError, match=r"run 'same' has .* parameters here.*--run"):
        _runs(tmp_path, rows)
    rows = [{"run": "x", "N": 1e8, "D": 1e10, "loss": loss} for loss in (3.0, 3.1)]
    with pytest.raises(UserError, match="another loss at the same compute"):
        _runs(tmp_path, rows)


def test_a_sweeps_rows_count_once_and_by_their_training(tmp_path):
    """Costs of judging are not taken for those of training; ablations and failed cells stay out."""
    rows = [
        {"model_params": 1e6 * size, "train_flops": 1e12 * size, "held_out_loss": 2.0 / size}
        | {"variant": "", "n_votes": votes, "tokens": 77, "flops": 88}
        for size in (1, 2, 3)
        for votes in (1, 4)
    ]
    rows.append(rows[0] | {"variant": "no code", "held_out_loss": 5.0})
    rows.append({"status": "failed", "reason": "diverged", "variant": "", "n_votes": 1})
    runs = _runs(tmp_path, rows)
    assert runs.flops.tolist() == [1e12, 2e12, 3e12] and len(runs) == 3
    assert runs.tokens == pytest.approx(np.full(3, 1e12 / 6e6))
    notes = "; ".join(runs.notes)
    assert "1 rows of ablations" in notes and "1 rows of failed" in notes and "3 rows repeat" in notes
    only = _runs(tmp_path, rows, where=["variant=no code"])
    assert only.losses.tolist() == [5.0]


def test_the_order_of_the_file_is_kept(tmp_path):
    rows = isoflop_rows()
    assert _runs(tmp_path, rows).losses.tolist() == [row["loss"] for row in rows]
