"""The command without a model: votes that are known, stored, resumed, raised, regraded and refused."""

import json
import re
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jprm import cli
from jprm.errors import UserError
from jprm.experiments.benchmark import report
from jprm.experiments.benchmark.config import read_config
from jprm.experiments.benchmark.run import run_benchmark
from jprm.score import StepScorer, scorer
from tests.experiments.benchmark import checkpoint
from tests.experiments.benchmark.scripted import Killed, Scripted, chance
from tests.experiments.benchmark.stored import contents, logged, votes


@scorer("scripted-chance")
class Chance(Scripted):
    def verdict(self, problem, step, vote):
        return chance(problem, step, vote)


@scorer("one-fails")
def one_fails(problem, steps, seed):
    if "Ann has 3" in problem:
        raise ZeroDivisionError("no such number")
    return [0.0 if "=4" in step else 1.0 for step in steps]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return checkpoint.write(tmp_path_factory.mktemp("data") / "pb.jsonl", checkpoint.rows(12))


def run(data, out, **options):
    """The JSON table, without what the clock decides."""
    file = out.parent / f"{out.name}.json"
    defaults = dict(scorer="scripted-chance", model=None)
    code = run_benchmark(read_config(data=data, out=out, json_file=file, **(defaults | options)))
    table = json.loads(file.read_text())
    assert table.pop("seconds") >= 0
    return code, table


def f1(table, group="overall", k=None, name="f1"):
    k = table["n"] if k is None else k
    [score] = [s for s in table["scores"] if (s["group"], s["k"]) == (group, k)]
    return score["measures"][name]["value"]


FURTHER = [pytest.param(*pair, marks=pytest.mark.slow) for pair in (("chain", True), ("fork", False))]


@pytest.mark.parametrize(("mode", "full"), [("chain", False), ("fork", True), *FURTHER])
def test_more_votes_later_are_those_at_once(data, tmp_path, mode, full):
    asked = dict(mode=mode, full=full)
    once = run(data, tmp_path / "once", n=4, **asked)
    run(data, tmp_path / "grown", n=1, **asked)
    run(data, tmp_path / "grown", n=3, **asked)
    assert run(data, tmp_path / "grown", n=4, **asked) == once
    before = contents(tmp_path / "grown")
    Chance.drawn.clear()
    assert run(data, tmp_path / "grown", n=4, **asked) == once
    assert not Chance.drawn, "nothing is missing, so no scorer is asked"
    assert contents(tmp_path / "grown") == before
    assert run(data, tmp_path / "grown", n=4, regrade=True, **asked) == once
    fewer = run(data, tmp_path / "grown", n=2, **asked)
    assert fewer == run(data, tmp_path / "two", n=2, **asked)


class Counted(StepScorer):
    """Tells which (problem, step seeds) it was asked for; fails on what `faulty` names."""

    asked: ClassVar[list[tuple[str, int]]] = []
    faulty: ClassVar[list[str]] = []
    killed_after: ClassVar[int | None] = None

    def scores(self, problem, steps, seed):
        if len(self.asked) == self.killed_after:
            raise Killed
        if any(name in problem for name in self.faulty):
            raise ZeroDivisionError("no such number")
        self.asked.append((problem, seed))
        return [0.9 if seed % 3 else 0.1] * len(steps)


@pytest.fixture
def counted():
    """The registered scorer `Counted`, which was asked nothing yet."""
    scorer("counted")(Counted)
    Counted.asked.clear(), Counted.faulty.clear()
    yield Counted
    Counted.killed_after = None


def test_only_missing_votes_are_drawn(data, tmp_path, counted):
    """More votes, more rows, other read-outs, every step: what is stored is never asked for again."""
    asked = dict(scorer="counted", full=True)
    run(data, tmp_path / "a", n=2, limit=5, **asked)
    assert len(counted.asked) == 5 * 2
    run(data, tmp_path / "a", n=2, **asked)
    assert len(counted.asked) == 12 * 2
    grown = run(data, tmp_path / "a", n=5, **asked)
    assert len(counted.asked) == len(set(counted.asked)) == 12 * 5
    run(data, tmp_path / "a", n=3, readout="vote", scorer="counted")
    run(data, tmp_path / "a", n=5, limit=3, missing="excluded", **asked)
    assert len(counted.asked) == 12 * 5, "all of it is there"
    assert grown == run(data, tmp_path / "once", n=5, **asked)


def test_a_killed_run_goes_on_after_its_last_vote(data, tmp_path, counted):
    counted.killed_after = 17
    with pytest.raises(Killed):
        run(data, tmp_path / "a", n=2, scorer="counted", full=True)
    assert len(counted.asked) == 17 and logged(tmp_path / "a") == 17 * 3
    counted.killed_after = None
    _, table = run(data, tmp_path / "a", n=2, scorer="counted", full=True)
    assert len(counted.asked) == len(set(counted.asked)) == 12 * 2
    assert len(votes(tmp_path / "a")) == table["rationales"] == 12 * 2 * 3


def test_lost_solutions_are_tried_again(data, tmp_path, counted):
    counted.faulty.append("Ann has 3.")
    code, table = run(data, tmp_path / "a", n=2, scorer="counted")
    assert code == 3 and [row["id"] for row in table["lost"]] == ["gsm8k-3"] and len(counted.asked) == 11 * 2
    assert run(data, tmp_path / "a", n=1, scorer="counted", regrade=True)[1]["lost"] == table["lost"]
    counted.faulty.clear()
    code, table = run(data, tmp_path / "a", n=2, scorer="counted")
    assert (code, table["lost"]) == (0, []) and len(counted.asked) == 12 * 2
    assert run(data, tmp_path / "a", n=2, scorer="counted", regrade=True) == (code, table)


@settings(max_examples=4)
@given(
    mode=st.sampled_from(["chain", "fork"]),
    kills=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    ns=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    full=st.booleans(),
)
def test_killed_runs_end_in_the_same_table(data, tmp_path_factory, mode, kills, ns, full):
    folder = tmp_path_factory.mktemp("killed")
    once = run(data, folder / "once", n=4, mode=mode, full=full)
    for kill, n in zip(kills, ns, strict=False):
        Chance.killed_after = kill
        try:
            run(data, folder / "killed", n=n, mode=mode, full=not full)
        except Killed:
            pass
        finally:
            Chance.killed_after = None
    assert run(data, folder / "killed", n=4, mode=mode, full=full) == once


@pytest.mark.parametrize("mode", ["chain", "fork"])
def test_stopping_early_changes_no_number(data, tmp_path, mode):
    _, early = run(data, tmp_path / "early", n=5, mode=mode)
    _, full = run(data, tmp_path / "full", n=5, mode=mode, full=True)
    assert early["rationales"] < full["rationales"]
    for score, other in zip(early["scores"], full["scores"], strict=True):
        measures = score.pop("measures")
        more = other.pop("measures")
        assert score.pop("step_missing_share") is None and other.pop("step_missing_share") >= 0
        assert score == other
        for name in measures.keys() - {"solution_auc"}:  # ranks by all rewards that there are
            assert measures[name] == more[name], name
    assert [p["predicted"] for p in early["predictions"]] == [p["predicted"] for p in full["predictions"]]


@scorer("silent-where-right")
def silent_where_right(problem, steps, seed):
    """No verdict on right solutions, the error found in wrong ones."""
    wrong = "bad" in steps
    return [float(step != "bad") if wrong else None for step in steps]


@scorer("silent")
def silent(problem, steps, seed):
    return [None] * len(steps)


def test_no_verdict_is_not_right(tmp_path, capsys):
    """Four right solutions without a verdict, four wrong ones that are found."""
    rows = [
        {"id": f"gsm8k-{i}", "problem": f"p{i}", "steps": ["good", "bad" if i < 4 else "good"]}
        | {"label": 1 if i < 4 else -1, "final_answer_correct": i >= 4, "generator": "g"}
        for i in range(8)
    ]
    data = checkpoint.write(tmp_path / "pb.jsonl", rows)
    _, table = run(data, tmp_path / "a", n=2, scorer="silent-where-right")
    at = {name: found["value"] for name, found in table["overall"].items()}
    assert (at["correct_acc"], at["error_acc"], at["f1"]) == (0.0, 1.0, 0.0)
    assert table["missing_share"] == 0.5 and table["missing_as"] == "wrong"
    assert [p["predicted"] for p in table["predictions"]] == [1] * 4 + [None] * 4
    assert "without a verdict: 4 of 8 solutions, counted as wrong" in capsys.readouterr().out
    _, out = run(data, tmp_path / "a", n=2, scorer="silent-where-right", missing="excluded")
    assert out["overall"]["error_acc"]["value"] == 1.0 and out["missing_as"] == "excluded"
    assert out["overall"]["correct_acc"]["value"] is out["overall"]["f1"]["value"] is None
    assert "4 of 8 solutions, left out" in capsys.readouterr().out


def test_a_scorer_that_says_nothing_has_no_score(data, tmp_path):
    _, table = run(data, tmp_path / "a", n=1, scorer="silent", full=True)
    at = table["overall"]
    for name in ("f1", "solution_f1", "solution_accuracy", "step_f1", "prm_score", "step_auc"):
        assert at[name]["value"] == 0.0, name
    [overall] = [s for s in table["scores"] if s["group"] == "overall"]
    assert overall["missing_share"] == overall["step_missing_share"] == 1.0
    with pytest.raises(UserError, match="known: wrong, excluded"):
        read_config(data=data, model=None, missing="right")


@scorer("no-chance")
class NoChance(StepScorer):
    chance = False
    asked: ClassVar[list[str]] = []

    def scores(self, problem, steps, seed):
        self.asked.append(problem)
        return [0.9] * len(steps)


def test_votes_that_cannot_differ_are_drawn_once(data, tmp_path, capsys):
    code, table = run(data, tmp_path / "a", n=4, scorer="no-chance")
    assert code == 0 and len(NoChance.asked) == 12
    assert (table["n"], table["n_asked"]) == (1, 4) and {s["k"] for s in table["scores"]} == {1}
    assert "1 vote instead of 4: all votes would be the same" in capsys.readouterr().out
    _, again = run(data, tmp_path / "a", n=8, scorer="no-chance", regrade=True)
    assert (again["n"], again["n_asked"]) == (1, 8)


def test_the_json_has_the_documented_keys(data, tmp_path):
    _, table = run(data, tmp_path / "a", n=2)
    documented = report.__doc__.partition("\n\n    schema")[2]
    for key in [*table, *table["predictions"][0], *table["scores"][0], "low", "high"]:
        assert re.search(rf"\b{key}\b", "schema" + documented), key
    assert table["schema"] == report.SCHEMA and table["overall"]["f1"]["value"] == f1(table)
    assert {s["k"] for s in table["scores"]} == {1, 2}
    assert [p["id"] for p in table["predictions"]] == [row["id"] for row in checkpoint.rows(12)]
    mean = (f1(table, "gsm8k") + f1(table, "math")) / 2
    assert table["overall"]["average_f1"]["value"] == pytest.approx(mean)


def killed(data, out, after, **options):
    """A run that is killed once it has stored this many votes."""
    Chance.killed_after = after
    try:
        with pytest.raises(Killed):
            run(data, out, **options)
    finally:
        Chance.killed_after = None


def test_a_torn_line_is_sampled_again(data, tmp_path):
    once = run(data, tmp_path / "once", n=2)
    killed(data, tmp_path / "a", 20, n=2)
    [path] = (tmp_path / "a").glob("stages/votes-*/votes.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]) + lines[-1][:20])
    assert run(data, tmp_path / "a", n=2) == once


def test_a_scorer_that_raises_loses_that_item_only(data, tmp_path, capsys):
    code, table = run(data, tmp_path / "a", n=1, scorer="one-fails")
    assert code == 3 and table["n_items"] == 12
    [lost] = table["lost"]
    reason = "ZeroDivisionError: no such number"
    assert lost == {"id": "gsm8k-3", "subset": "gsm8k", "reason": reason}
    assert f"gsm8k-3: {reason}" in capsys.readouterr().out
    [row] = [p for p in table["predictions"] if p["id"] == "gsm8k-3"]
    assert row["predicted"] is None
    right = sum(p["predicted"] == p["first_error"] for p in table["predictions"])
    [overall] = [s for s in table["scores"] if s["group"] == "overall"]
    at, n_error = overall["measures"], overall["n_error"]
    hits = at["error_acc"]["value"] * n_error + at["correct_acc"]["value"] * (12 - n_error)
    assert hits == pytest.approx(right)
    assert run(data, tmp_path / "a", n=1, scorer="one-fails", regrade=True) == (code, table)


def test_bad_rows_are_named_and_the_rest_is_scored(tmp_path, capsys):
    good = checkpoint.rows(4)
    lines = [json.dumps(row) for row in good]
    for at, bad in (
        (1, '{"id": "x"'),
        (3, json.dumps(good[0] | {"id": "y", "label": 7})),
        (4, json.dumps(good[0] | {"id": "z", "steps": []})),
    ):
        lines.insert(at, bad)
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(lines))
    code, table = run(path, tmp_path / "a", n=1)
    assert code == 3 and table["n_items"] == 4
    places = [reason.split(": ")[0] for reason in table["rejected"]]
    assert places == [f"{path}:{line}" for line in (2, 4, 5)]
    shown = capsys.readouterr().out
    assert "3 rows rejected" in shown and "not JSON" in shown and "'label' must be" in shown
    code, clean = run(checkpoint.write(tmp_path / "good.jsonl", good), tmp_path / "b", n=1)
    assert code == 0 and clean["scores"] == table["scores"]


def test_a_directory_holds_the_votes_of_one_run(data, tmp_path):
    run(data, tmp_path / "a", n=1)
    with pytest.raises(UserError, match=r'differs in mode \("chain" there, "fork" now\); give'):
        run(data, tmp_path / "a", n=1, mode="fork")
    with pytest.raises(UserError, match=r"seed \(0 there, 5 now\)"):
        run(data, tmp_path / "a", n=1, seed=5)
    other = checkpoint.write(tmp_path / "pb.jsonl", checkpoint.rows(3))
    with pytest.raises(UserError, match="differs in data"):
        run(other, tmp_path / "a", n=1)
    with pytest.raises(UserError, match="differs in data"):
        run(other, tmp_path / "a", n=1, regrade=True)


def test_a_directory_without_votes_is_anyones(data, tmp_path, counted):
    """What was asked first may have been a mistake."""
    counted.killed_after = 0
    with pytest.raises(Killed):
        run(data, tmp_path / "a", n=1, scorer="counted", seed=5)
    counted.killed_after = None
    assert run(data, tmp_path / "a", n=1, scorer="counted")[0] == 0


def test_votes_of_an_earlier_layout_are_refused(data, tmp_path):
    (tmp_path / "votes.jsonl").write_text("{}")
    with pytest.raises(UserError, match="in the layout of an earlier version; give another --out"):
        run(data, tmp_path, n=1)


def test_regrading_takes_what_is_there(data, tmp_path, capsys):
    with pytest.raises(UserError, match="there are no votes to make a table from"):
        run(data, tmp_path / "a", n=1, regrade=True)
    _, half = run(data, tmp_path / "a", n=2, limit=5)
    assert half["n_items"] == 5
    code, table = run(data, tmp_path / "a", n=2, regrade=True)
    assert code == 3 and (table["n_items"], table["missing"]) == (5, 7)
    assert "7 solutions are not in this table" in capsys.readouterr().out
    with pytest.raises(UserError, match="3 votes are stored of no solution"):
        run(data, tmp_path / "a", n=3, regrade=True)


def exit_code(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["jprm", *map(str, arguments)])
    return cli.main()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--format", "mnist"], "--format mnist: no such layout"),
        (["--scorer", "genrpm"], "no scorer 'genrpm'; nearest is 'genprm'"),
        ([], "--model DIR is missing"),
        (["--model", "nowhere"], "--model nowhere: no such directory"),
        (["--n", "0"], "--n 0: must be at least 1"),
        (["--mode", "ring"], "--mode ring: no such mode; known: chain, fork"),
        (["--readout", "prob"], "--readout prob: no such readout"),
        (["--overflow", "wrap"], "--overflow wrap: no such overflow; known: "),
        (["--slots", "0"], "--slots 0: must be at least 1"),
        (["budget.max_token=3"], 'unknown key "budget.max_token"'),
        (["--plugin", "nowhere.py"], "nowhere.py: not a Python file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, data, tmp_path, arguments, said):
    defaults = ["--data", data] if "--data" not in arguments else []
    out = ["--out", tmp_path / "out"]
    assert exit_code(monkeypatch, "evaluate", *defaults, *out, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not (tmp_path / "out" / "identity.json").exists()


def test_a_plugin_is_a_scorer(monkeypatch, capsys, data, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from jprm.score import scorer\n"
        '@scorer("mine")\n'
        "def mine(problem, steps, seed):\n"
        "    return [0.2 if '1' in step.partition(':')[2] else 0.9 for step in steps]\n"
    )
    asked = ["--data", data, "--plugin", plugin, "--scorer", "mine", "--full"]
    asked += ["--out", tmp_path / "o"]
    file = tmp_path / "o.json"
    assert exit_code(monkeypatch, "evaluate", *asked, "--n", 1, "--json", file) == 0
    table = json.loads(file.read_text())
    for row, truth in zip(table["predictions"], checkpoint.rows(12), strict=True):
        expected = [0.2 if "1" in step.partition(":")[2] else 0.9 for step in truth["steps"]]
        assert row["rewards"] == expected
    plugin.write_text("x = 1\n")
    assert exit_code(monkeypatch, "evaluate", *asked) == 2
    assert "registers nothing" in capsys.readouterr().err
    plugin.write_text("raise KeyError('x')\n")
    assert exit_code(monkeypatch, "evaluate", *asked) == 2
    assert "KeyError" in capsys.readouterr().err
