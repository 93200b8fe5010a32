"""Fast and slow: a cheap verdict first, the expensive one only where the cheap one is unsure.

The idea is DyVe's (arXiv 2502.11157): a single token settles most steps. Here any two scorers make
a cascade, and what it saves is seen in its tokens, beside those of always asking the slow one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.errors import UserError
from jprm.records import Problem
from jprm.search.ports import StepRewards, StepScorer, forget


@dataclass(frozen=True)
class Cascade:
    """Rewards of `fast`, those in [low, high] (and the unjudged) replaced by rewards of `slow`.

    The slow scorer reads a solution only up to its last unsure step, and only if it has one. With
    the band [0, 1] it judges everything, and with low > high nothing but what `fast` could not.
    """

    fast: StepScorer
    slow: StepScorer
    low: float = 0.2
    high: float = 0.8

    def __post_init__(self):
        if not (0.0 <= self.low <= 1.0 and 0.0 <= self.high <= 1.0):
            raise UserError(f"cascade: the band [{self.low}, {self.high}] must lie in [0, 1]")

    def score(self, items: Sequence[tuple[Problem, tuple[str, ...]]]) -> list[StepRewards | Exception]:
        """As `StepScorer`; the costs of both."""
        replies = list(self.fast.score(items))
        asked: dict[int, tuple[Problem, tuple[str, ...]]] = {}
        for i, (reply, (problem, steps)) in enumerate(zip(replies, items, strict=True)):
            unsure = [] if isinstance(reply, Exception) else self._unsure(reply)
            if unsure:
                asked[i] = problem, steps[: unsure[-1] + 1]
        slow = self.slow.score(list(asked.values())) if asked else []
        for i, second in zip(asked, slow, strict=True):
            first = replies[i]
            assert isinstance(first, StepRewards)
            replies[i] = second if isinstance(second, Exception) else self._merged(first, second)
        return replies

    def forget(self, problem: Problem) -> None:
        """As `StepScorer`."""
        forget(self.fast, problem)
        forget(self.slow, problem)

    def _unsure(self, reply: StepRewards) -> list[int]:
        return [t for t, r in enumerate(reply.rewards) if r is None or self.low <= r <= self.high]

    def _merged(self, fast: StepRewards, slow: StepRewards) -> StepRewards:
        rewards, analyses = list(fast.rewards), list(fast.analyses or [""] * len(fast.rewards))
        for t in self._unsure(fast):
            rewards[t] = slow.rewards[t]
            if slow.analyses:
                analyses[t] = slow.analyses[t]
        return StepRewards(tuple(rewards), fast.cost + slow.cost, tuple(analyses))
