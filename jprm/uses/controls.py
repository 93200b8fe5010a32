"""Step scorers that lack something, as controls of what uses it: the place of a fault, or the score."""

from __future__ import annotations

from collections.abc import Sequence

from jprm.records import Problem
from jprm.search import StepRewards, StepScorer, forget
from jprm.seeds import rng_of


class Blind:
    """A `StepScorer` whose rewards are drawn from a stock, as another scorer's are spent on the text.

    A text has the same rewards whenever it is met. Analyses are the other scorer's.
    """

    def __init__(self, scorer: StepScorer, stock: Sequence[float | None], seed: int):
        self.scorer, self.stock, self.seed = scorer, stock, seed

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:
        """As `StepScorer`."""
        replies = self.scorer.score(items)
        return [
            reply if isinstance(reply, Exception) else self._drawn(*item, reply)
            for item, reply in zip(items, replies, strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """As `StepScorer`."""
        forget(self.scorer, problem)

    def _drawn(self, problem: Problem, steps: tuple[str, ...], reply: StepRewards) -> StepRewards:
        rng = rng_of(self.seed, "blind", problem.id, *steps)
        drawn = rng.integers(len(self.stock), size=len(steps))
        return StepRewards(tuple(self.stock[i] for i in drawn), reply.cost, reply.analyses)


class Shuffled:
    """A `StepScorer` whose rewards and analyses stand at other steps of the same solution."""

    def __init__(self, scorer: StepScorer, seed: int):
        self.scorer, self.seed = scorer, seed

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:
        """As `StepScorer`."""
        replies = self.scorer.score(items)
        return [self._shuffled(*item, reply) for item, reply in zip(items, replies, strict=True)]

    def forget(self, problem: Problem) -> None:
        """As `StepScorer`."""
        forget(self.scorer, problem)

    def _shuffled(
        self, problem: Problem, steps: tuple[str, ...], reply: StepRewards | Exception
    ) -> StepRewards | Exception:
        if isinstance(reply, Exception):
            return reply
        order = rng_of(self.seed, "shuffled", problem.id, *steps).permutation(len(steps))
        analyses = tuple(reply.analyses[i] for i in order) if reply.analyses else ()
        return StepRewards(tuple(reply.rewards[i] for i in order), reply.cost, analyses)
