"""A policy, scorers and a refiner whose exact behaviour is known in closed form.

A solution has T steps. In the good state a step errs with probability `slip`, in the bad state it
recovers with probability `recover`; the answer is right if the last state is good.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jprm.records import Problem
from jprm.search import Branch, Cost, Grown, Revised, RewardModel, StepRewards
from jprm.seeds import seed_of


def uniform(*path):
    """A number in [0, 1) that belongs to a place; a generator for each would take all the time."""
    return seed_of(*path) / 2**63


def normal(*path):
    return NormalDist().inv_cdf(max(uniform(*path), 1e-12))


def problems(n, steps=5):
    return [Problem(f"p{i}", f"{steps} steps\n", "right") for i in range(n)]


def length(problem):
    return int(problem.text.split()[0])


def is_good(step):
    return " good " in step


class Answers:
    """The grading of toy solutions; wrong ones give one of `wrong` other answers."""

    def __init__(self, wrong=3):
        self.wrong = wrong

    def answer(self, steps):
        if not steps:
            return None
        number = int(steps[-1].split()[-1])
        return "right" if is_good(steps[-1]) else f"wrong {number % self.wrong}"

    def is_correct(self, problem, steps):
        return len(steps) == length(problem) and self.answer(steps) == problem.answer


@dataclass
class ToyPolicy:
    """The two-state chain as a generator; each step is a token."""

    slip: float = 0.15
    recover: float = 0.0
    seed: int = 0
    calls: int = 0

    def value(self, problem, steps):
        """P(right answer) from here."""
        good = float(not steps or is_good(steps[-1]))
        for _ in range(length(problem) - len(steps)):
            good = good * (1 - self.slip) + (1 - good) * self.recover
        return good

    def grow(self, requests):
        self.calls += 1
        return [self._grown(problem, request) for problem, request in requests]

    def forget(self, problem):
        pass

    def _grown(self, problem, request):
        groups, written = [], 0
        for branch in request.branches:
            group = [self._continue(problem, branch, path, request) for path in request.paths(branch)]
            written += sum(len(child.steps) - len(branch.steps) for child in group)
            groups.append(tuple(group))
        return Grown(tuple(groups), Cost(len(request.branches), written, float(written)))

    def _continue(self, problem, branch, path, request):
        steps, most = list(branch.steps), length(problem)
        wanted = most if request.steps is None else len(steps) + request.steps
        while len(steps) < min(most, wanted):
            place = (self.seed, problem.id, *path, len(steps))
            good = not steps or is_good(steps[-1])
            chance = 1 - self.slip if good else self.recover
            good = chance >= 0.5 if request.greedy else uniform(*place) < chance
            steps.append(f"step {'good' if good else 'bad'} {seed_of(*place, 'name') % 10**9}\n")
        return Branch(tuple(steps), path, len(steps) == most)


class Scored(RewardModel):
    """A reward model from a function of (problem, steps) to rewards."""

    def __init__(self, rewards):
        self.rewards, self.calls, self.items = rewards, 0, 0

    def score(self, items):
        self.calls += 1
        self.items += len(items)
        return [
            StepRewards(
                tuple(self.rewards(problem, steps)),
                Cost(0, len(steps), float(len(steps))),
                tuple(f"Analysis: looked at {step}" for step in steps),
            )
            for problem, steps in items
        ]


def perfect():
    return Scored(lambda problem, steps: [float(is_good(s)) for s in steps])


def flipping(rate, seed=0):
    """The truth of each step, flipped with this probability."""

    def rewards(problem, steps):
        flips = [uniform(seed, "flip", problem.id, t, steps[t]) < rate for t in range(len(steps))]
        return [float(is_good(s) != flip) for s, flip in zip(steps, flips, strict=True)]

    return Scored(rewards)


def soft(seed=0, spread=0.12):
    """Rewards around .8 for good and .3 for bad steps."""

    def rewards(problem, steps):
        noise = [normal(seed, "soft", problem.id, t, steps[t]) for t in range(len(steps))]
        means = [0.8 if is_good(step) else 0.3 for step in steps]
        return [float(np.clip(m + spread * n, 0, 1)) for m, n in zip(means, noise, strict=True)]

    return Scored(rewards)


def noise(seed=0, leak=0.0):
    """Random rewards; a share `leak` of them is the truth."""

    def rewards(problem, steps):
        out = []
        for t, step in enumerate(steps):
            place = (seed, problem.id, t, step)
            told = uniform(*place, "leak") < leak
            out.append(float(is_good(step)) if told else uniform(*place, "noise"))
        return out

    return Scored(rewards)


@dataclass
class ToyRefiner:
    """Goes on from the step that the feedback quotes.

    If that is the first wrong one, it is mended with probability `mend` and all behind it is right;
    a solution without a fault is damaged with probability `damage`. What is quoted before the first
    fault, or behind it, helps nothing.
    """

    mend: float = 0.6
    damage: float = 0.1
    seed: int = 0
    calls: int = 0

    def revise(self, items):
        self.calls += len(items)
        return [self._revised(problem, revision) for problem, revision in items]

    def _revised(self, problem, revision):
        place = (self.seed, "revise", problem.id, *revision.path)
        steps = list(revision.steps)
        first = next((t for t, step in enumerate(steps) if not is_good(step)), -1)
        quoted = [t for t, step in enumerate(steps) if f">{step.strip()}" in revision.feedback]
        number = seed_of(*place, "name") % 10**9
        if first < 0 and uniform(*place) < self.damage:
            steps = steps[:-1] + [f"step bad {number}\n"]
        elif first >= 0 and first in quoted and uniform(*place) < self.mend:
            steps = steps[:first] + [f"step good {number + t}\n" for t in range(first, len(steps))]
        return Revised(Branch(tuple(steps), revision.path, True), Cost(len(steps), len(steps), 1.0))
