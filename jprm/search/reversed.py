"""Two passes over a solution: backwards and forwards (BiPRM, arXiv 2508.01682), and the control.

A forward scorer has not read the steps behind the one that it judges; read in reverse order, it
has. The average of both needs no parameters. But two passes of anything are an ensemble: the gain
counts only beyond that of two forward passes with different seeds.

    Mean([scorer, Reversed(scorer)])          BiPRM
    Mean([scorer, scorer_of_another_seed])    its control

Only for whole solutions: in a search over steps there is nothing behind the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

from jprm.errors import UserError
from jprm.records import Problem
from jprm.search.budget import Cost
from jprm.search.ports import StepRewards, StepScorer, forget
from jprm.ties import mean


class Reversed:
    """A scorer that shows its steps to another one last step first."""

    def __init__(self, scorer: StepScorer):
        self.scorer = scorer

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:
        """As `StepScorer`, rewards and analyses back in the order of the steps."""
        replies = self.scorer.score([(problem, steps[::-1]) for problem, steps in items])
        return [
            reply
            if isinstance(reply, Exception)
            else StepRewards(reply.rewards[::-1], reply.cost, reply.analyses[::-1])
            for reply in replies
        ]

    def forget(self, problem: Problem) -> None:
        """As `StepScorer`."""
        forget(self.scorer, problem)


class Mean:
    """The mean of several scorers, step by step; a None of one leaves the step to the others.

    The costs add up; the analyses are those of the first.
    """

    def __init__(self, scorers: Sequence[StepScorer]):
        """Raises UserError without scorers."""
        if not scorers:
            raise UserError("the mean of no scorers is undefined; give at least one")
        self.scorers = list(scorers)

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:
        """As `StepScorer`; an item that one scorer fails on is answered by its exception."""
        passes = [scorer.score(items) for scorer in self.scorers]
        return [mean_rewards(replies) for replies in zip(*passes, strict=True)]

    def forget(self, problem: Problem) -> None:
        """As `StepScorer`."""
        for scorer in self.scorers:
            forget(scorer, problem)


def mean_rewards(replies: Sequence[StepRewards | Exception]) -> StepRewards | Exception:
    """The mean of several replies to one item; an exception among them stands for all."""
    good = []
    for reply in replies:
        if isinstance(reply, Exception):
            return reply
        good.append(reply)
    steps = zip(*(reply.rewards for reply in good), strict=True)
    judged = [[r for r in rewards if r is not None] for rewards in steps]
    return StepRewards(
        tuple(mean(rewards) if rewards else None for rewards in judged),
        sum((reply.cost for reply in good), Cost()),
        good[0].analyses,
    )
