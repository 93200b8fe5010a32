"""A search strategy of your own, tried on a policy that needs no model: `python examples/own_strategy.py`.

With a sweep's models: `python -m jprm search --run RUN --plugin examples/own_strategy.py --strategy patient most=8`.
"""

from dataclasses import dataclass
from pathlib import Path

import jprm
from jprm.search import ROOT, Branch, Choosing, Found, Grown, RewardModel, StepRewards, grow, judge, run_search, summary
from jprm.seeds import rng_of
from jprm.worlds import load_world


@jprm.strategy("patient")
@dataclass(frozen=True)
class Patient:
    """Draws one solution after another until the scorer likes one; it depends on nothing but the replies."""

    most: int = 8
    enough: float = 0.9

    def search(self, problem, answer):
        candidates = []
        for i in range(self.most):
            [[drawn]] = yield from grow([ROOT], n=1, steps=None, first=i)
            candidates += yield from judge([drawn])
            if candidates[-1].score("min") >= self.enough:
                break
        return Found(tuple(candidates), notes={"drawn": len(candidates)})


class Careless:
    """A policy that is right in one case of three."""

    def grow(self, requests):
        return [Grown((tuple(self._draw(problem, path) for path in asked.paths(ROOT)),)) for problem, asked in requests]

    def _draw(self, problem, path):
        rng = rng_of(0, problem.id, *path)
        wrong = WORLD.planted(problem, rng) if rng.random() > 1 / 3 else None
        return Branch((wrong or WORLD.reference(problem)).steps, path, ended=True)

    def forget(self, problem):
        pass


class Truth(RewardModel):  # a scorer that errs in nothing
    def score(self, items):
        firsts = [(WORLD.truth(problem, steps)[0], len(steps)) for problem, steps in items]
        return [StepRewards(tuple(float(not 0 <= at <= t) for t in range(n))) for at, n in firsts]


WORLD = load_world("embedded")
if __name__ == "__main__":
    Path("searched.jsonl").unlink(missing_ok=True)
    rows = run_search(WORLD.problems("dev", 20, 0), Patient(), Careless(), Truth(), WORLD, "searched.jsonl")
    drawn = sum(row["notes"]["drawn"] for row in rows) / len(rows)
    print("accuracy", summary(rows, Choosing("min", "argmax"))["accuracy"], "drawn a problem", drawn)
