"""Stored rollouts, the audit of credit on them, and the command on both."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import spearmanr

from jprm import cli
from jprm.errors import UserError
from jprm.records import append_jsonl
from jprm.rl import Rollout, audit, credited, judged_row, read_judged, row
from tests.pages import documented
from tests.rl.groups import groups, judged


def same(one, other):
    assert one.outcome == other.outcome and one.guard == other.guard
    for name in ("ids", "logp", "step_of"):
        np.testing.assert_array_equal(getattr(one.rollout, name), getattr(other.rollout, name))
    for name in ("votes", "p_yes", "values", "prefix", "nodes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def stored(path, problems=40, seed=0):
    """A file of four rollouts a problem whose judge is mostly right, with exact values."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        for index in range(4):
            steps = int(rng.integers(2, 5))
            wrong = int(rng.integers(0, 2 * steps))  # none in about half
            exact = np.where(np.arange(steps + 1) <= wrong, np.linspace(0.5, 1, steps + 1), 0.0)
            votes = np.where(rng.random((4, steps)) < 0.9, np.arange(steps) != wrong, np.arange(steps) == wrong)
            one = judged([2] * steps, bool(exact[-1]), votes, index, values=exact, prefix=exact)
            about = one.rollout
            named = Rollout(f"p{problem}", index, 0, about.ids, about.logp, about.step_of, "stop")
            rows.append(judged_row(replace(one, rollout=named), exact))
    append_jsonl(path, rows)
    return path


@given(group=groups())
def test_what_is_written_is_read_back(tmp_path_factory, group):
    path = tmp_path_factory.mktemp("stored") / "judged.jsonl"
    exact = [np.linspace(0, 1, one.n_steps + 1) if i else None for i, one in enumerate(group)]
    group = [replace(one, nodes=np.arange(one.n_steps)) for one in group]
    append_jsonl(path, [judged_row(one, known) for one, known in zip(group, exact, strict=True)])
    [found] = read_judged(path)
    assert found.exact[0] is None
    for one, other, known, again in zip(group, found.judged, exact, found.exact, strict=True):
        same(one, other)
        np.testing.assert_array_equal(known, again)


def test_the_page_of_files_shows_such_a_row(tmp_path):
    about = documented("judged.jsonl")
    assert about["example"].keys() == about["fields"] == judged_row(judged([1], True)).keys()
    append_jsonl(tmp_path / "judged.jsonl", [about["example"]])
    [group] = read_judged(tmp_path)
    assert group.judged[0].n_steps == 2 and group.exact[0] is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": [1.5, 2, 3]}, "judged.jsonl:2: StoredRollout: 'ids.0' must be a whole number"),
        ({"votes": [[1, 2]]}, "'votes.0.1' must be less than or equal to 1"),
        ({"votes": [[1, 0], [1]], "p_yes": [[0.5, 0.5], [0.5]]}, "a number for every step in each vote"),
        ({"outcome": 1}, "'outcome' must be true or false"),
        ({"finish": "eos"}, "'finish' must be"),
        ({"values": [0.5, 1.5, 1]}, "'values.1'"),
        ({"values": [0.5]}, "'values' has 1 numbers for 2 steps"),
        ({"exact": [0.5]}, "'exact' has 1 numbers for 2 steps"),
        ({"step_of": [0, 1]}, "different lengths"),
        ({"reward": 1}, "has no field 'reward'"),
        ({"index": 0}, "rollout 0 of the problem 'p' came before"),
    ],
)
def test_a_row_that_is_not_as_the_page_says_is_refused_with_its_line(tmp_path, change, said):
    first = judged_row(judged([2, 1], True, [[1, 0]], values=[0.5, 0.5, 1]))
    append_jsonl(tmp_path / "judged.jsonl", [first, {**first, "index": 1} | change])
    with pytest.raises(UserError, match=said):
        read_judged(tmp_path)


def test_rollouts_of_other_versions_and_files_are_other_groups(tmp_path):
    one = judged_row(judged([1], True))
    for step in ("step-0", "step-1"):
        (tmp_path / step).mkdir()
        append_jsonl(tmp_path / step / "judged.jsonl", [one, {**one, "version": 1}, {**one, "index": 1}])
    assert [len(group.judged) for group in read_judged(tmp_path)] == [2, 1, 2, 1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no judged rollouts"):
        read_judged(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file or directory"):
        read_judged(tmp_path / "nowhere")


def test_the_audit_is_that_of_its_definitions(tmp_path):
    found = read_judged(stored(tmp_path / "judged.jsonl"))
    given_credit, exact = [], []
    for group, credits in zip(found, credited("prefix", found).credits, strict=True):
        for one, made, known in zip(group.judged, credits, group.exact, strict=True):
            given_credit += [made.advantage[one.rollout.step_of == step].mean() for step in range(one.n_steps)]
            exact += np.diff(known).tolist()
    given_credit, exact = np.array(given_credit), np.array(exact)
    row_of = audit("prefix", found)
    assert row_of["steps"] == len(exact) and row_of["lost"] == 0
    signed = np.abs(exact) > 1e-9
    for name, value in (
        ("spearman", spearmanr(given_credit, exact).statistic),
        ("bias", (given_credit - exact).mean()),
        ("variance", given_credit.var()),
        ("sign_errors", (given_credit * exact < 0).sum() / signed.sum()),
    ):
        np.testing.assert_allclose(row_of[name], value, atol=1e-9)
        assert row_of[f"{name}_low"] < row_of[name] < row_of[f"{name}_high"]


def test_credit_that_is_the_exact_advantage_has_no_error_and_the_outcome_has_some(tmp_path):
    found = read_judged(stored(tmp_path / "judged.jsonl"))
    exact = [replace(g, judged=tuple(replace(j, outcome=True) for j in g.judged)) for g in found]
    perfect = audit("pav", exact, alpha=1.0, best_of=1)  # no signal from outcomes, and the own advantage
    assert perfect["spearman"] == pytest.approx(1) and perfect["sign_errors"] == 0
    assert perfect["bias"] == pytest.approx(0, abs=1e-9)
    outcome, prefix = audit("outcome", found), audit("prefix", found)
    assert prefix["spearman"] > outcome["spearman"] and outcome["silent_share"] > 0


PLUGIN = """
from jprm.rl import even, row

@row("{name}", needs=("outcome",))
def mine(group, size: float = 1.0):
    \"\"\"Pays what is right.\"\"\"
    if int(group[0].rollout.problem_id[1:]) % 100 < {failing}:
        raise ValueError("no such problem")
    return [even(judged, size * bool(judged.outcome)) for judged in group]
"""


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["jprm", "rl", *map(str, words)])
    return cli.main()


def test_the_command_audits_all_rows_and_one_of_a_plugin(tmp_path, monkeypatch, capsys):
    path = stored(tmp_path / "judged.jsonl", 10)
    assert run(monkeypatch, "credit", path, "--json", tmp_path / "rows.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    shown = capsys.readouterr().out
    assert {r["row"] for r in rows} <= set(row) and all(r["row"] in shown for r in rows) and len(rows) >= 18
    assert rows[0].keys() == documented("rl credit --json")["fields"]
    assert documented("rl credit --json")["example"].keys() == rows[0].keys()
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(name="pays-right", failing=0))
    words = ("credit", path, "--rows", "pays-right,outcome", "--plugin", plugin)
    assert run(monkeypatch, *words) == 0 and "pays-right" in capsys.readouterr().out
    assert run(monkeypatch, *words, "size=2") == 2
    assert "settings such as size are those of one row" in capsys.readouterr().err


def test_a_row_that_raises_loses_the_group_and_stops_at_five_percent(tmp_path, monkeypatch, capsys):
    path = stored(tmp_path / "judged.jsonl", 42)
    for name, failing, code, said in (
        ("fails-twice", 2, 3, "lost: 2 of 42 groups under fails-twice: ValueError: no such problem"),
        ("fails-often", 9, 2, "error: the row fails-often failed on 3 of 42 groups, which is 5% or more"),
    ):
        plugin = tmp_path / f"{name.replace('-', '_')}.py"
        plugin.write_text(PLUGIN.format(name=name, failing=failing))
        assert run(monkeypatch, "credit", path, "--rows", name, "--plugin", plugin) == code
        told = capsys.readouterr()
        assert said in told.out + told.err and "Traceback" not in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "outcom"), "no row 'outcom'; nearest is 'outcome'"),
        (("--rows", "vsrm"), "the row vsrm needs prefix, which no rollout has"),
        (("--rows", "outcome", "bas=1"), "the row outcome has no setting 'bas'; known: baseline, eps"),
        (("--rows", "outcome", "bas"), "'bas' is no setting"),
        (("--rows", "capo", "penalty=much"), "the row capo: 'penalty' must be a number, it is 'much'"),
        (("--rows", "capo", "marking=all"), "the row capo: 'marking' must be 'intersection'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    append_jsonl(tmp_path / "judged.jsonl", [judged_row(judged([1], o, index=i)) for i, o in enumerate((True, False))])
    assert run(monkeypatch, "credit", tmp_path, *words) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_all_rows_leave_out_those_whose_needs_are_not_there_and_groups_of_one_stop(tmp_path, monkeypatch, capsys):
    two = [judged_row(judged([1], o, [[1]], i)) for i, o in enumerate((True, False))]
    append_jsonl(tmp_path / "judged.jsonl", two)
    assert run(monkeypatch, "credit", tmp_path) == 0
    assert "left out: pav, which needs values" in capsys.readouterr().out
    append_jsonl(tmp_path / "alone.jsonl", two[:1])
    assert run(monkeypatch, "credit", tmp_path / "alone.jsonl", "--rows", "outcome") == 2
    assert "this group has 1" in capsys.readouterr().err


def test_hacks_are_shown(tmp_path, monkeypatch, capsys):
    words = ("hacks", "--rows", "capo,outcome", "--problems", "4", "--json", tmp_path / "hacks.jsonl")
    assert run(monkeypatch, *words) == 0
    rows = [json.loads(line) for line in (tmp_path / "hacks.jsonl").read_text().splitlines()]
    assert len(rows) == 20 and rows[0].keys() == documented("rl hacks --json")["fields"]
    assert "capo     praise" in capsys.readouterr().out
