"""The set "answers": solutions of a policy that are known by their final answers alone, and scores on it."""

from types import SimpleNamespace

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import SOME_ERROR, vote_curve
from jprm.jobs import open_run
from jprm.label import WrittenSolution
from jprm.records import Problem
from jprm.tasks.benchmark import BY_ANSWER, Benchmark, is_by_answer, load_known
from jprm.tasks.resources import Speed
from tests.tasks.scripted_teacher import FakeResources

STEPS = ("First, we add.\n\n", "So it is \\boxed{2}.\n")


class World:
    """Steps of unknown truth; only the final answer can be read."""

    def problems(self, split, n, seed):
        return [Problem(f"{i:04x}", f"What is {i}?\n", "2") for i in range(n)]

    def truth(self, problem, steps):
        return None, "unknown"

    def answer(self, steps):
        return "2" if "boxed" in steps[-1] else None


class Policy:
    """Right on every third problem; on every fifth it writes no answer."""

    model, temperature, max_tokens, context_tokens = None, 1.0, 80, 128

    def inputs(self):
        return {}

    def flops(self, tokens):
        return tokens

    def sample(self, stages, problems, n, seed, purpose):
        told = []
        for i, _ in enumerate(problems):
            steps = STEPS if i % 5 else ("I do not know.\n",)
            told.append((WrittenSolution(steps, i % 3 == 0, True, 9),))
        return told


class Answers(Benchmark):
    def parents(self):
        return ()


def answers(problems):
    world = SimpleNamespace(world=World(), identity={"kind": "fake"})
    return Answers(BY_ANSWER, world, "test", problems, Policy(), 0)


def test_as_many_wrong_as_right_and_steps_as_verifiers_see_them(tmp_path):
    task = answers(12)
    with open_run(tmp_path, [task], FakeResources(), speed=Speed()) as runner:
        stage = runner.ensure(task)
    items, labels = load_known(stage)
    assert is_by_answer(stage) and stage.summary["malformed"] == 8  # of 36 problems
    assert labels == [SOME_ERROR] * 6 + [-1] * 6
    assert [item.correct_answer for item in items] == [False] * 6 + [True] * 6
    assert {item.solution.steps for item in items} == {("First, we add.\n", "So it is \\boxed{2}.\n")}


def test_rejecting_any_step_of_a_wrong_solution_is_right():
    accepts, rejects = np.array([[0.9], [0.9]]), np.array([[0.9], [0.2]])
    curve = vote_curve([rejects, accepts, rejects, accepts], [SOME_ERROR, SOME_ERROR, -1, -1], ["a", "b", "c", "d"])
    assert curve.right[:, 0].tolist() == [1, 0, 0, 1]
    score = curve.score(1)
    assert (score.n_error, score.n_correct, score.error_acc, score.correct_acc) == (2, 2, 0.5, 0.5)


def test_one_kind_alone_is_refused(tmp_path):
    task = answers(12)
    object.__setattr__(task.policy, "sample", lambda *_: [(WrittenSolution(STEPS, True, True, 9),)] * 36)
    with open_run(tmp_path, [task], FakeResources(), speed=Speed()) as runner, pytest.raises(Exception) as raised:
        runner.ensure(task)
    assert "both kinds are needed" in str(raised.value) and isinstance(raised.value.__cause__, UserError)
