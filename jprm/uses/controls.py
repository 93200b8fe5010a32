"""Reward models that lack something, as controls of what uses them: the place of a fault, or the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jprm.records import Problem
from jprm.search import RewardModel, StepRewards, Steps
from jprm.seeds import rng_of

Change = Callable[[Problem, Steps, StepRewards], StepRewards]


class Changed(RewardModel):
    """Another model's rewards, each reply changed by a function of the item and the reply."""

    def __init__(self, model: RewardModel, change: Change):
        self.model, self.change = model, change

    def score(self, items: Sequence[tuple[Problem, Steps]]) -> list[StepRewards | Exception]:
        """The changed rewards; an item that the other model fails on is answered by its exception."""
        return [
            reply if isinstance(reply, Exception) else self.change(*item, reply)
            for item, reply in zip(items, self.model.score(items), strict=True)
        ]

    def forget(self, problem: Problem) -> None:
        """Tells the other model that the search of this problem is over."""
        self.model.forget(problem)


def blind(stock: Sequence[float | None], seed: int) -> Change:
    """Rewards drawn from a stock, the same whenever a text is met; costs and analyses stay as they are."""

    def change(problem: Problem, steps: Steps, reply: StepRewards) -> StepRewards:
        drawn = rng_of(seed, "blind", problem.id, *steps).integers(len(stock), size=len(steps))
        return StepRewards(tuple(stock[i] for i in drawn), reply.cost, reply.analyses)

    return change


def shuffled(seed: int) -> Change:
    """Rewards and analyses moved to other steps of the same solution."""

    def change(problem: Problem, steps: Steps, reply: StepRewards) -> StepRewards:
        order = rng_of(seed, "shuffled", problem.id, *steps).permutation(len(steps))
        analyses = tuple(reply.analyses[i] for i in order) if reply.analyses else ()
        return StepRewards(tuple(reply.rewards[i] for i in order), reply.cost, analyses)

    return change
