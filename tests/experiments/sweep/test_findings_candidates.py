"""Solutions against votes at equal compute, from finished stages with contents made here."""

import itertools
import math

import numpy as np
import pytest

from jprm.evaluate import Difference, Interval, Matched, ScoredCandidate, VerifiedSolution, best_of_n, best_of_verified
from jprm.experiments.sweep.cells import Sweep
from jprm.experiments.sweep.equal_compute import Spent, candidates_at_equal_compute, whole
from jprm.experiments.sweep.findings import find
from jprm.experiments.sweep.report import sweep_page
from jprm.experiments.sweep.report_tables import spent_table
from jprm.experiments.sweep.screen import headline, print_screen
from jprm.experiments.sweep.table import best_of_n_rows, measure
from jprm.jobs import Stages
from jprm.records import Rationale, Solution, Verdict, append_jsonl, to_json
from jprm.tasks.benchmark import Item
from tests.experiments.sweep.pretend import finish_all
from tests.experiments.sweep.test_findings import VOTES, config_of, made_up, pretend
from tests.pages import documented


def test_a_vote_accepts_a_solution_when_it_accepts_every_step():
    nan = math.nan
    table = np.array([[1, 1, 0, nan, nan, 1, 0], [1, 0, 1, 1, nan, nan, nan]])
    assert whole(table) == (1.0, 0.0, 0.0, None, None, None, 0.0)


def test_candidates_at_equal_compute(tmp_path):
    """Problems of three solutions, one of which has no form; the ratio and every point against the plain way."""
    config = config_of(tmp_path, train_examples=[250], sizes=["tiny-0.1m"]).model_copy()
    config = config.model_copy(
        update={
            "evaluate": config.evaluate.model_copy(
                update={"candidates_problems": 8, "candidates": 3, "candidate_votes": 2}
            )
        }
    )
    sweep = Sweep(config)
    cell, world = sweep.candidates, sweep.main.verifier.world
    assert candidates_at_equal_compute(Stages(config.path), cell) is None, "nothing is finished yet"
    problems = world.world.problems("test", 8, 0)
    rng, items, rows, drawn, plain = np.random.default_rng(0), [], [], [], []
    for problem in problems:
        names, solutions = [], []
        for right in (True, False):
            solution = world.world.reference(problem)
            name = f"{problem.id}-{right}"
            solution = Solution(name, problem.id, solution.steps, "policy", -1 if right else 0)
            items.append(Item(problem, solution, right))
            names.append(name)
            votes = rng.integers(0, 2, 2)
            rationales = [
                Rationale(name, t, v, "chain", "", (), Verdict(bool(says), *[0.8 * says + 0.1] * 2), 9, 1)
                for (v, says), t in itertools.product(enumerate(votes), range(len(solution.steps)))
            ]
            rows.append({"solution_id": name, "rationales": [to_json(r) for r in rationales]})
            answer = world.world.answer(solution.steps)
            solutions.append(VerifiedSolution(answer, right, tuple(map(float, votes))))
        drawn.append({"problem_id": problem.id, "solutions": [*names, "formless"]})
        plain.append([*solutions, VerifiedSolution(None, False, (None, None))])

    def make(task, stage):
        if task.kind == "benchmark":
            append_jsonl(stage.file("items.jsonl"), [to_json(i) for i in items])
        if task.kind == "votes":
            append_jsonl(stage.file("rationales.jsonl"), rows)
            return {"generated_tokens": 300, "forced_tokens": 20}
        return {"params": 100 if task.kind == "base" else 50, "drawn": drawn}

    _, stages = finish_all(config, make)
    spent = candidates_at_equal_compute(stages, cell)
    tokens = [len(world.tokenizer.encode("".join(i.solution.steps))) for i in items]
    # 320 tokens of 16 solutions with 2 votes each, by a verifier of half the policy's parameters
    assert spent.table.ratio == pytest.approx(320 / 32 / np.mean(tokens) * 0.5)
    for v in (1, 2):
        slow = np.array([best_of_verified(problem, (1, 2, 3), v) for problem in plain])
        for s in (1, 2, 3):
            assert spent.table.accuracy[s, v] == pytest.approx(slow[:, s - 1])
    assert [at.budget for at in spent.frontier] == [1, 2, 3]
    note = spent_table(spent).note
    assert note.startswith(f"{spent.verdict} A verification costs {spent.table.ratio:.2f} solutions")


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({4: (-0.1, -0.2, -0.05), 8: (-0.1, -0.2, -0.01)}, "self-consistency beats the verifier at 4, 8 solutions'"),
        ({4: (-0.1, -0.2, -0.05), 8: (0.1, 0.02, 0.2)}, "at 4 and the verifier beats self-consistency at 8 solutions'"),
        ({8: (0.01, -0.1, 0.2)}, "not told apart at up to 8 solutions' worth; at 8 the verifier gains +0.010 [-0.100,"),
        ({}, "no budget pays for a verification"),
    ],
)
def test_who_wins_at_equal_compute_is_said_in_words(gains, said):
    none = Matched(1, Interval(0.5, 0.4, 0.6), None, None, (1,), ())
    paid = [
        Matched(b, none.self_consistency, none.self_consistency, Difference(*g, 0.1), (1,), ())
        for b, g in gains.items()
    ]
    assert said in Spent(None, (none, *paid), 1.0, 1.0).verdict


def misled(directory):
    """A finished sweep whose policy is right three times out of four, and whose verifier prefers what is wrong."""
    config = config_of(directory, train_examples=[250], sizes=["tiny-0.1m"])
    asked = {"candidates_problems": 60, "candidates": 4, "candidate_votes": 2}
    config = config.model_copy(update={"evaluate": config.evaluate.model_copy(update=asked)})
    sweep = Sweep(config)
    cell, world = sweep.candidates, sweep.main.verifier.world.world
    items, rows, drawn = [], [], []
    for problem in world.problems("test", 60, 0):
        right, wrong = world.reference(problem), world.planted(problem, np.random.default_rng(0))
        names = []
        for n in range(4):
            is_right = n < 3 or wrong is None
            name = f"{problem.id}-{n}"
            steps = (right if is_right else wrong).steps
            solution = Solution(name, problem.id, steps, "policy", -1 if is_right else 0)
            verdict = Verdict(not is_right, *[0.2 if is_right else 0.9] * 2)
            said = [Rationale(name, t, v, "chain", "", (), verdict, 1, 0) for t in range(len(steps)) for v in (0, 1)]
            items.append(Item(problem, solution, is_right))
            rows.append({"solution_id": name, "rationales": [to_json(r) for r in said]})
            names.append(name)
        drawn.append({"problem_id": problem.id, "solutions": names})

    def make(task, stage):
        if task == cell.votes.benchmark:
            append_jsonl(stage.file("items.jsonl"), [to_json(i) for i in items])
            return {"drawn": drawn}
        if task == cell.votes:
            append_jsonl(stage.file("rationales.jsonl"), rows)
            return {"generated_tokens": 960, "forced_tokens": 0}
        return made_up(task, stage, lambda _: 0.7)

    sweep, stages = finish_all(config, make)
    return sweep, [measure(stages, cell) for cell in sweep.cells]


def test_the_report_says_when_self_consistency_beats_the_verifier(tmp_path, capsys):
    sweep, measured = misled(tmp_path)
    findings = find(sweep, measured[0].stages, measured)
    verdict = findings.spent.verdict
    assert verdict.startswith("At equal compute, self-consistency beats the verifier at ")
    assert findings.spent.frontier[-1].gain.high < 0
    print_screen(measured, findings, tmp_path)
    assert verdict in " ".join(capsys.readouterr().out.split())
    page, _ = sweep_page(sweep.config, measured, findings, "sweep")
    assert verdict in page.below, "in the first screen of the report"


def test_all_speaks_of_the_votes_that_were_asked_for(tmp_path):
    """Six are stored, and four are the most that have a row."""
    config = config_of(tmp_path, train_examples=[250], sizes=["tiny-0.1m"])
    evaluate = config.evaluate.model_copy(update={"votes_shown": (1, 4)})
    sweep, measured = pretend(config.model_copy(update={"evaluate": evaluate}), lambda _: 0.7)
    findings = find(sweep, measured[0].stages, measured)
    page, figures = sweep_page(sweep.config, measured, findings, "sweep")
    f1 = measured[0].curve.f1(4)
    assert [(tile.value, tile.label) for tile in page.headline[:3]] == [
        (f"{f1.value:.3f}", "F1 at 4 votes"),
        (f"{measured[0].curve.f1(1).value:.3f}", "F1 at one vote"),
        (f"{measured[0].curve.gain(4).value:+.3f}", "gain of 4 votes over one"),
    ]
    assert f"has F1 {f1} at 4 votes" in headline(measured, findings)[0]
    assert [c.question for c in findings.comparisons] == ["4 votes instead of one (seed 0)"]
    assert figures["f1_against_votes"].series[0].x == [1, 2, 3, 4]
    assert figures["f1_against_tokens"].series[0].y[-1] == f1.value
    assert f"mean of all {VOTES} stored votes" in figures["calibration"].caption


def test_rows_of_best_of_n_are_as_the_page_of_files_says(tmp_path):
    cell = Sweep(config_of(tmp_path, train_examples=[250], sizes=["tiny-0.1m"])).main
    pool = [ScoredCandidate("7", True, 0.9), ScoredCandidate("9", False, 0.2)]
    rows = best_of_n_rows([(cell, best_of_n([pool] * 3, [1, 2]))])
    assert [(row["candidates"], row["best"], row["pass"]) for row in rows] == [(1, 0.5, 0.5), (2, 1.0, 1.0)]
    assert all(row.keys() == documented("best_of_n.jsonl")["fields"] for row in rows)
