"""A verifier from Python: what it says of a solution, whoever judges, and what it refuses."""

import json
import math
import sys

import pytest

import jprm
from jprm.cli import main
from jprm.errors import UserError
from jprm.tasks.vote_store import RATIONALES, stream_rationales
from tests.experiments.benchmark import checkpoint
from tests.experiments.conftest import one_device
from tests.experiments.sweep.conftest import finished  # noqa: F401 - a fixture
from tests.pages import documented

PROBLEM = "Ann has 8. Joe gets 3 more than Ann. How many does Joe get?"
STEP = "Step 1: Joe = Ann + 3 = 8 + 3 = 11, so Joe has 11. Answer: 11."
TAKEN = "The step is taken."


@jprm.scorer("moody")
def moody(problem, steps, seed):
    """Likes right steps in most votes, and does not judge those that are taken."""
    for step in steps:
        yield None if step == TAKEN else (0.9 if "right" in step else 0.2) - (seed % 10) / 100


def test_steps_have_rewards_with_intervals_over_votes():
    with jprm.Verifier.from_checkpoint(None, scorer="moody") as verifier:
        scored = verifier.score("What?", ["a right step", "another", TAKEN], n=6)
        assert scored == verifier.score("What?", ["a right step", "another", TAKEN], n=6)
        one = verifier.score("What?", ["a right step"], n=1)
    right, wrong, taken = scored.steps
    assert right.reward.value == pytest.approx(sum(right.rewards) / 6) and len(right.rationales) == 6
    assert right.reward.low < right.reward.value < right.reward.high <= 1
    assert (right.votes, wrong.votes, taken.votes, taken.reward) == ("YYYYYY", "NNNNNN", "------", None)
    assert scored.first_error == 1 and scored.rewards[2] is None and scored.n_votes == 6
    assert str(scored).splitlines()[-1] == scored.verdict == "first wrong step: 2"
    assert one.first_error == -1 and one.verdict == "no step is judged wrong" and math.isnan(one.steps[0].reward.low)


def test_a_solution_whose_verdict_needs_an_unjudged_step_has_none():
    with jprm.Verifier.from_checkpoint(None, scorer="moody") as verifier:
        scored = verifier.score("What?", ["a right step", TAKEN], n=2)
    assert scored.first_error is None and scored.verdict.startswith("no verdict: no vote judged step 2")


def test_what_cannot_be_scored_is_refused():
    verifier = jprm.Verifier.from_checkpoint(None, scorer="moody")
    for steps in ("one text", [], ["right", " "]):
        with pytest.raises(UserError, match="a list of texts is needed"):
            verifier.score("What?", steps)
    with pytest.raises(UserError, match="n = 0"):
        verifier.score("What?", ["right"], n=0)
    verifier.close()
    verifier.close()
    with pytest.raises(UserError, match="this verifier is closed"):
        verifier.score("What?", ["right"])
    with pytest.raises(UserError, match='unknown key "scorrer" .from the arguments of Verifier.; .* "scorer"'):
        jprm.Verifier.from_checkpoint(None, scorrer="moody")
    with pytest.raises(UserError, match="nearest is 'moody'"):
        jprm.Verifier.from_checkpoint(None, scorer="mody")


@pytest.mark.slow
@pytest.mark.parametrize("chat", ["published", "template"])
def test_a_checkpoint_says_what_evaluate_lets_it_say(tmp_path, capfd, chat):
    model = checkpoint.make(tmp_path / "model")
    row = checkpoint.row(1, 0, steps=2)
    data = checkpoint.write(tmp_path / "rows.jsonl", [row])
    asked = {"overrides": (*checkpoint.SHORT, "sampling.temperature=0"), "workers": 1, "chat": chat}
    with one_device():
        result = jprm.evaluate_checkpoint(model, data, n=1, out=tmp_path / "out", full=True, **asked)
        with jprm.Verifier.from_checkpoint(model, **asked) as verifier:
            scored = verifier.score(row["problem"], row["steps"], n=3)
            longer = verifier.score(row["problem"] * 30, row["steps"])
    assert capfd.readouterr() == ("", ""), "quiet unless asked"
    [stored] = [r for path in tmp_path.glob(f"out/stages/votes-*/{RATIONALES}") for r in stream_rationales(path)]
    assert [r.text for step in scored.steps for r in step.rationales] == [r.text for r in stored]
    assert scored.n_votes == 1, "all votes would be the same"
    assert result.solutions[0].rewards is not None and len(longer.steps) == 2


@pytest.mark.slow
def test_the_verifier_of_a_sweep_and_the_command(finished, tmp_path, capsys, monkeypatch):  # noqa: F811
    run = finished[0] / "embedded"
    with jprm.Verifier.from_run(run) as verifier:
        scored = verifier.score(PROBLEM, [STEP], n=2)
        with pytest.raises(UserError, match="step 1: the embedded world has no words for 'Step 1: Zoltan"):
            verifier.score(PROBLEM, ["Step 1: Zoltan"])
    assert [r.vote for r in scored.steps[0].rationales] == [0, 1]
    (tmp_path / "steps.txt").write_text(STEP + "\n")
    words = ["score", "--run", run, "--problem", PROBLEM, "--steps", tmp_path / "steps.txt", "--n", 2]
    monkeypatch.setattr(sys, "argv", ["jprm", *map(str, words)])
    assert main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"step 1  {scored.steps[0]}" and said[-1] == scored.verdict


def score_words(tmp_path, *options):
    (tmp_path / "steps.txt").write_text("a right step\nanother\n")
    return ["jprm", "score", "--problem", "What?", "--steps", str(tmp_path / "steps.txt"), *map(str, options)]


def test_the_command_prints_one_json_object(tmp_path, capsys, monkeypatch):
    opened = jprm.Verifier.from_checkpoint(None, scorer="moody")

    def from_checkpoint(model, progress):
        assert (model, progress) == (tmp_path, False), "standard output is the object alone"
        return opened

    monkeypatch.setattr(jprm.Verifier, "from_checkpoint", from_checkpoint)
    monkeypatch.setattr(sys, "argv", score_words(tmp_path, "--model", tmp_path, "--n", 1, "--json"))
    assert main() == 0
    said = json.loads(capsys.readouterr().out)
    keys, of_steps = documented("score --json"), documented("A step of score --json")
    assert said.keys() == keys["fields"] == keys["example"].keys()
    assert said["steps"][0].keys() == of_steps["fields"] == keys["example"]["steps"][0].keys()
    assert [step["votes"] for step in said["steps"]] == ["Y", "N"] and said["steps"][0]["reward_low"] is None
    assert (said["first_error"], said["verdict"], said["n_votes"]) == (1, "first wrong step: 2", 1)
    assert [len(step["rationales"]) for step in said["steps"]] == [1, 1]


def test_a_run_and_a_model_exclude_each_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", score_words(tmp_path, "--model", "M", "--run", "R"))
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: --run and --model exclude each other")
