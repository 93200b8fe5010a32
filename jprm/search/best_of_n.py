"""Best-of-N: whole solutions drawn independently, judged once. The baseline of every search."""

from __future__ import annotations

from dataclasses import dataclass

from jprm.records import Problem
from jprm.search.plan import Answer, Found, Talk, at_least, grow, judge, strategy
from jprm.search.ports import ROOT


@strategy("best_of_n")
@dataclass(frozen=True)
class BestOfN:
    """`n` solutions of each problem."""

    n: int = 16

    def __post_init__(self):
        at_least(1, n=self.n)

    def search(self, problem: Problem, answer: Answer) -> Talk[Found]:
        """As `Strategy`."""
        [drawn] = yield from grow([ROOT], n=self.n, steps=None)
        return Found(tuple((yield from judge(drawn))))
