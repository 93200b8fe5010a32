"""The job of `experiments/uses.py`, tiny: its rows, its costs, resuming, and the search command on what it left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jprm.cli import main, uses_main
from jprm.jobs import RunDirectory
from jprm.records import read_jsonl
from jprm.seeds import seed_of
from jprm.worlds import load_world
from tests.experiments.applications import tiny

pytestmark = pytest.mark.slow  # the job they share takes half a minute
ROOT = Path(__file__).resolve().parents[3]
PLUGIN = '''
from dataclasses import dataclass
from jprm.score import scorer
from jprm.search import ROOT, Found, grow, judge, strategy

@scorer("picky")
def picky(problem, steps, seed):
    """Cannot bear the first of problems."""
    if problem.strip() == {text!r}:
        raise ValueError("not this one")
    return [0.5] * len(steps)

@strategy("one")
@dataclass(frozen=True)
class One:
    """A single solution."""

    n: int = 1

    def search(self, problem, answer):
        [drawn] = yield from grow([ROOT], n=self.n, steps=None)
        return Found(tuple((yield from judge(drawn))))
'''


def table(directory):
    return read_jsonl(directory / "applications" / "results.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(directory, rows) of the finished job."""
    directory = tmp_path_factory.mktemp("applications")
    with pytest.MonkeyPatch.context() as patch:
        tiny.install(patch.setattr)
        assert uses_main([f"directory={directory}", *tiny.TINY]) == 0
    return directory, table(directory)


def of(rows, figure, **where):
    return [r for r in rows if r["figure"] == figure and all(r[k] == v for k, v in where.items())]


def test_every_verifier_learnt_from_as_many_steps_and_is_a_row(finished):
    rows = of(finished[1], "verifiers", tier="all")
    assert [row["verifier"] for row in rows] == [
        "GenPRM",
        "GenPRM without code",
        "direct generative PRM",
        "discriminative PRM",
        "discriminative ORM",
        "generative ORM",
    ]
    assert all(row["train_flops"] > 0 and row["judge_flops"] > 0 for row in rows)
    by_steps = [row["f1"] is not None or row["step_auc"] is not None for row in rows]
    assert by_steps == [True] * 4 + [False] * 2, "outcomes have no first error"
    most, least = max(r["train_tokens"] for r in rows), min(r["train_tokens"] for r in rows)
    assert least > 0.7 * most, "rows differ in how full they are, and in nothing else"
    generative, head = rows[0], rows[3]
    assert generative["judge_tokens"] > head["judge_tokens"]


def test_what_has_no_rationale_learns_at_a_rate_of_its_own(finished):
    found = {"baseline": set(), "verifier": set()}
    for path in (finished[0] / "applications" / "stages").glob("*/inputs.json"):
        inputs = json.loads(path.read_text())
        if path.parent.name.startswith("baseline"):
            found["baseline"].add((inputs["target"], inputs["learning_rate"]))
        elif path.parent.name.startswith("verifier"):
            found["verifier"].add((inputs["style"], inputs["train"]["learning_rate"]))
    assert found["baseline"] == {("steps", 0.003), ("outcome", 0.001), ("verdict", 0.003)}
    assert found["verifier"] == {("full", 0.01), ("analysis", 0.01), ("direct", 0.003)}


def test_best_of_n_lies_between_its_bounds(finished):
    rows = finished[1]
    for n in range(1, 5):
        found = {row["verifier"]: row for row in of(rows, "best_of_n", n=n)}
        assert all(row["accuracy"] <= found["oracle"]["accuracy"] for row in found.values())
        assert found["oracle"]["accuracy"] == pytest.approx(n / 4), "one of four is right"
        assert found["majority"]["judge_flops"] == 0 < found["GenPRM"]["judge_flops"]
    judged = [row for row in of(rows, "best_of_n", n=1) if not row["missing_share"]]
    assert len({row["accuracy"] for row in judged}) == 1, "silence chooses nobody"
    [chance] = of(rows, "best_of_n", n=4, verifier="a random score")
    assert chance["low"] <= 1 / 4 <= chance["high"] < 1, "four texts, one of them right"
    choices = of(rows, "choices")
    for row in choices:
        [best] = of(rows, "best_of_n", n=4, verifier=row["verifier"])
        assert row["best"] == best["accuracy"]
    assert len(choices) == 6


def test_equal_compute_spends_no_more_than_the_budget(finished):
    rows = of(finished[1], "equal_compute")
    assert all(row["spent"] <= 1 + 1e-6 or row["n"] == 1 for row in rows)
    main = [row for row in rows if row["verifier"] == "GenPRM"]
    assert all(row["n"] == row["n_main"] and row["gain_over_main"] == 0 for row in main)
    assert all(row["n"] >= row["n_main"] for row in rows if row["verifier"] in ("majority", "discriminative PRM"))


def test_passes_and_cascades_cost_what_they_read(finished):
    rows = finished[1]
    fast = {row["method"]: row["tokens"] for row in of(rows, "fast_slow")}
    assert fast["never slow"] <= fast["slow in [0.2, 0.8]"]
    assert fast["never slow"] < fast["always slow"]
    assert [row["verifier"] for row in of(rows, "bidirectional")][-2:] == ["BiPRM", "two forward passes"]
    assert of(rows, "bidirectional")[-1]["f1_gain"] == 0


def test_faults_that_show_later_are_judged_in_both_directions(finished):
    rows = of(finished[1], "delayed_evidence")
    assert len(rows) == 2 * 3 * 5
    for kind in ("contradicted", "corrected"):
        for row in of(rows, "delayed_evidence", read="prefix", shows=kind):
            assert row["step_auc"] == 0.5 and row["gain"] == row["over_forward"] == 0
    assert {(row["n_problems"], row["n_items"]) for row in rows} == {(4, 16), (8, 16)}


def test_refinement_starts_from_the_same_solutions(finished):
    rows = of(finished[1], "refinement")
    first = [row for row in rows if row["turn"] == 0]
    assert {row["method"] for row in first} == {"critic", "shuffled", "blind"}
    assert len({row["accuracy"] for row in first}) == 1
    assert all(row["lost"] == 0 for row in rows)
    matched = {row["method"]: row for row in of(finished[1], "refinement_matched")}
    for row in (row for row in rows if row["turn"] == 2):
        assert matched[row["method"]]["accuracy"] == row["chosen"]


def test_every_strategy_goes_with_every_scorer_and_setting(finished):
    rows = of(finished[1], "search")
    asked = [(row["scorer"], row["strategy"], json.loads(row["settings"]).get("width")) for row in rows]
    each = [("beam", 1), ("beam", 2), ("mcts", None)]
    assert asked == [(scorer, *rest) for scorer in ("genprm", "head") for rest in each]
    for row in rows:
        [best] = of(
            finished[1],
            "best_of_n",
            n=row["n"],
            verifier={"genprm": "GenPRM", "head": "discriminative PRM"}[row["scorer"]],
        )
        assert best["n_problems"] == 6 > row["n_problems"] == 4
    flops = {row["scorer"]: row["flops"] for row in rows if row["strategy"] == "mcts"}
    assert flops["head"] < flops["genprm"], "the policy costs the same"


def test_a_scorer_and_a_strategy_of_ones_own_are_axes(finished, tmp_path, monkeypatch):
    tiny.install(monkeypatch.setattr)
    shutil.copytree(finished[0] / "applications", tmp_path / "applications")
    [problem] = load_world("embedded").problems("test", 1, seed_of(0, "benchmark", "candidates"))
    plugin = tmp_path / "mine.py"
    mine = PLUGIN.replace("{text!r}", repr(problem.text.strip()))
    plugin.write_text(mine.replace("picky", "choosy").replace('"one"', '"lone"'))
    more = [f"plugins={plugin}", "search.scorers=['choosy']", "search.settings.lone.n=[1, 2]"]
    more.append("search.strategies=['lone']")
    words = [w for w in tiny.TINY if not w.startswith(("search.strategies", "search.settings"))]
    assert uses_main([f"directory={tmp_path}", *words, *more, "--replace"]) == 0
    rows = of(table(tmp_path), "search")
    assert [(r["scorer"], r["strategy"]) for r in rows] == [("choosy", "lone")] * 2
    assert [r["lost"] for r in rows] == [1, 1] and [r["n_problems"] for r in rows] == [4, 4]
    assert rows[0]["accuracy"] == rows[1]["accuracy"], "a constant scorer takes the first"


def test_a_gate_that_cannot_be_fitted_is_a_row_with_the_reason(finished):
    """A verifier of twelve steps judges nothing, so all scores are equal."""
    [row] = of(finished[1], "gate")
    assert "were all scores equal" in row["gate"]


def test_the_page_stands_alone(finished):
    page = (finished[0] / "applications" / "report.html").read_text()
    assert page.count("<svg") >= 4 and "GenPRM without code" in page and 'src="http' not in page


def test_a_second_run_computes_nothing(finished, capsys):
    for other in ([], ["in_flight=7"]):  # which decides no result
        assert uses_main([f"directory={finished[0]}", *tiny.TINY, *other]) == 0
        assert "computed 0, reused" in capsys.readouterr().out
    assert table(finished[0]) == finished[1]


def test_a_search_of_ones_own_loses_only_what_raised(finished, tmp_path, capsys, monkeypatch):
    tiny.install(monkeypatch.setattr)
    run = finished[0] / "applications"
    problems = load_world("embedded").problems("dev", 3, seed_of(0, "benchmark", "candidates"))
    plugin, out = tmp_path / "mine.py", tmp_path / "new" / "rows.jsonl"
    plugin.write_text(PLUGIN.replace("{text!r}", repr(problems[0].text.strip())))
    words = ["search", "--run", run, "--strategy", "one", "--scorer", "picky", "n=2"]
    words += ["--plugin", plugin, "--problems", 3, "--out", out]
    monkeypatch.setattr(sys, "argv", ["jprm", *map(str, words)])
    assert main() == 3
    assert "lost: 1 of 3 problems: UserError: ValueError: not this one" in capsys.readouterr().out
    rows = {row["problem_id"]: row for row in read_jsonl(out)}
    with RunDirectory(run, shared=True):  # as another search has it
        assert main() == 3
    assert [bool(rows[p.id]["error"]) for p in problems] == [True, False, False]
    assert all(len(rows[p.id]["candidates"]) == 2 for p in problems[1:])


def test_the_benchmark_of_searches_runs_on_what_the_job_left(finished, tmp_path):
    file = tmp_path / "found.json"
    words = ["tools/bench_search.py", finished[0] / "applications", "--problems", 2, "--rounds", 1]
    words += ["--json", file, "width=1", "expand=2"]
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shared, prompts, anew = json.loads(file.read_text())["rows"]
    assert [row["arm"] for row in (shared, prompts, anew)] == ["shared", "prompts", "anew"]
    assert prompts["generator_prompt_tokens"] > shared["generator_prompt_tokens"] > 0
    assert prompts["generator_generated_tokens"] == shared["generator_generated_tokens"]
    assert "shared prompts: " in done.stdout


def test_the_direct_verifier_of_the_job_searches(finished, tmp_path, capsys, monkeypatch):
    tiny.install(monkeypatch.setattr)
    words = ["search", "--run", finished[0] / "applications", "--strategy", "beam", "--scorer", "direct"]
    words += ["--problems", 2, "--out", tmp_path / "rows.jsonl"]
    monkeypatch.setattr(sys, "argv", ["jprm", *map(str, words)])
    assert main() == 0
    assert "2 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "beem"], "did you mean 'beam'"),
        (["--strategy", "beam", "wdth=2"], "did you mean 'width'"),
        (["--strategy", "beam", "width"], "key=value"),
        (["--strategy", "beam", "--scorer", "genprn"], "genprm"),
        (["--strategy", "beam", "--aggregation", "least"], "aggregation"),
        (["--strategy", "beam", "--split", "exam"], "--split"),
    ],
)
def test_a_mistake_is_one_line(finished, words, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jprm", "search", "--run", str(finished[0] / "applications"), *words])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_killed_in_each_kind_of_stage_it_ends_in_the_same_table(finished, tmp_path):
    command = [sys.executable, "-m", "tests.experiments.applications.tiny", str(tmp_path)]
    for kind in ("baseline-", "delayed_evidence-", "scores-", "votes-", "search-"):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            stages = (tmp_path / "applications" / "stages").glob(f"{kind}*")
            if any(not (stage / "DONE").exists() for stage in stages):
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.001)
        assert process.wait() in (0, -signal.SIGKILL)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.dumps(table(tmp_path)) == json.dumps(finished[1])
