"""The job of `experiments/uses.py` at a size of seconds, with a policy that writes what the world knows.

A model that is trained for twelve steps writes no solutions to choose among, so the candidates and
the branches of searches are those of references and planted errors. Run as a program, it does the
job in the directory that it is given.
"""

import sys

from jprm.cli import uses_main
from jprm.label import WrittenSolution
from jprm.search import Branch, Cost, Grown
from jprm.seeds import rng_of, seed_of
from jprm.tasks import search
from jprm.tasks.policy import Policy
from tests.experiments.sweep.tiny_sweep import TINY as SWEEP

TINY = [
    *SWEEP,  # what stands twice counts as it stands last
    "evaluate.candidates_problems=6",
    "evaluate.candidates=4",
    "grid.train_examples=[16]",
    "model.policy=tiny-0.1m",
    "refine.problems=4",
    "refine.solutions=2",
    "refine.turns=2",
    "refine.gate_problems=4",
    "search.problems=4",
    "search.strategies=['beam', 'mcts']",
    "search.scorers=['genprm', 'head']",
    "search.settings.beam.width=[1, 2]",
    "fast_slow.bands=[[0.2, 0.8]]",
    "delayed_evidence.problems=4",
    "delayed_evidence.train_problems=4",
]


def known_solutions(policy, stages, problems, n, seed, purpose):
    """Stands for `Policy.sample`: of each problem the reference, then planted errors."""
    world, drawn = policy.world.world, []
    for problem in problems:
        rng = rng_of(seed, purpose, problem.id)
        wholes = [world.reference(problem)]
        while len(wholes) < n:
            if (planted := world.planted(problem, rng)) is not None:
                wholes.append(planted)
        drawn.append(tuple(_sample(world, problem, whole.steps) for whole in wholes))
    return drawn


def _sample(world, problem, steps):
    right = world.is_correct(problem, steps)
    return WrittenSolution(steps=steps, correct=right, finished=True, tokens=30)


class KnownSteps:
    """Stands for `search.policy_steps`: goes on with a solution that it knows."""

    def __init__(self, stages, policy):
        self.policy, self.seed = policy, policy.seed

    def grow(self, requests):
        return [
            Grown(
                tuple(
                    tuple(self._next(problem, branch, request.steps, p) for p in request.paths(branch))
                    for branch in request.branches
                ),
                Cost(10, 10, 1e6),
            )
            for problem, request in requests
        ]

    def forget(self, problem):
        pass

    def _next(self, problem, branch, steps, path):
        [wholes] = known_solutions(self.policy, None, [problem], 4, self.seed, "candidates")
        at = len(branch.steps)
        fitting = [w.steps for w in wholes if w.steps[:at] == branch.steps and len(w.steps) > at]
        if branch.ended or not fitting:
            return Branch(branch.steps, path, True)
        whole = fitting[seed_of(self.seed, problem.id, *path) % len(fitting)]
        end = len(whole) if steps is None else at + steps
        return Branch(whole[:end], path, end >= len(whole))


def install(patch):
    """Put this policy in the place of the trained one; `patch(module, name, value)`."""
    patch(Policy, "sample", known_solutions)
    patch(search, "policy_steps", KnownSteps)


def run(directory, *more):
    """The exit code of the tiny job in this directory."""
    install(setattr)
    return uses_main([f"directory={directory}", *TINY, *more])


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
