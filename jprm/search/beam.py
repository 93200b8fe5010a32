"""Beam search over steps: draw, judge, keep the best, again.

A solution that has ended keeps its place in the beam until better branches push it out, so the
width bounds what is expanded and the result is the last beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.records import Problem
from jprm.search.plan import Answer, Found, Judged, Talk, at_least, grow, judge, strategy
from jprm.search.ports import ROOT, Branch
from jprm.search.selection import aggregation
from jprm.ties import places


@strategy("beam")
@dataclass(frozen=True)
class Beam:
    """`width` branches survive each step; each is expanded by `expand` draws, `max_steps` deep.

    The first step is drawn width x expand times. Branches are ranked by `aggregation` of their
    rewards; of equal branches the earlier draw is kept. What has not ended at `max_steps` is a
    candidate as it is.
    """

    width: int = 4
    expand: int = 4
    aggregation: str = "last"
    max_steps: int = 20

    def __post_init__(self):
        at_least(1, width=self.width, expand=self.expand, max_steps=self.max_steps)
        aggregation[self.aggregation]

    def search(self, problem: Problem, answer: Answer) -> Talk[Found]:
        """As `Strategy`."""
        [first] = yield from grow([ROOT], n=self.width * self.expand)
        beam = best((yield from self.rank(first)), self.width)
        for _ in range(1, self.max_steps):
            growing = [scored for scored in beam if not scored[1].branch.ended]
            if not growing:
                break
            grown = yield from grow([judged.branch for _, judged in growing], n=self.expand)
            children = [child for of_one in grown for child in of_one]
            ended = [scored for scored in beam if scored[1].branch.ended]
            beam = best([*ended, *(yield from self.rank(children))], self.width)
        return Found(tuple(judged for _, judged in beam))

    def rank(self, branches: Sequence[Branch]) -> Talk[list[tuple[float, Judged]]]:
        """Each branch with the score that decides on its survival."""
        judged = yield from judge(branches)
        return [(j.score(self.aggregation), j) for j in judged]


def best(scored: Sequence[tuple[float, Judged]], n: int) -> list[tuple[float, Judged]]:
    """The `n` highest scores, the highest first; of equal ones the earlier."""
    place = places([score for score, _ in scored])
    return [scored[i] for i in sorted(range(len(scored)), key=place.__getitem__)[:n]]
