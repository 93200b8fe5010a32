"""Searches over steps that only go forward, and their baseline.

    best_of_n   whole solutions, drawn independently and judged once
    beam        draw, judge, keep the best, again
    dvts        a beam cut into independent subtrees, so that the children of one branch cannot crowd out all
                others (diverse verifier tree search; Beeching et al. 2024, search-and-learn)
    lookahead   a beam that ranks a branch by where it leads (Snell et al. 2024, arXiv 2408.03314)

A solution that has ended keeps its place in a beam until better branches push it out, so the width
bounds what is expanded and the result is the last beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.records import Problem
from jprm.search.base import Answer, Asking, Found, JudgedBranch, at_least, grow, judge, strategy
from jprm.search.ports import ROOT, Branch
from jprm.search.selection import aggregation
from jprm.ties import highest_first

Scored = tuple[float, JudgedBranch]


@strategy("best_of_n")
@dataclass(frozen=True)
class BestOfN:
    """`n` solutions of each problem."""

    n: int = 16

    def __post_init__(self):
        at_least(1, n=self.n)

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Draws whole solutions and has them judged."""
        [drawn] = yield from grow([ROOT], n=self.n, steps=None)
        return Found(tuple((yield from judge(drawn))))


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

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Expands and prunes the beam step by step until all of it has ended."""
        [first] = yield from grow([ROOT], n=self.width * self.expand)
        beam = best((yield from self.rank(first)), self.width)
        for _ in range(1, self.max_steps):
            growing = [judged.branch for _, judged in beam if not judged.branch.ended]
            if not growing:
                break
            grown = yield from grow(growing, n=self.expand)
            ended = [scored for scored in beam if scored[1].branch.ended]
            children = yield from self.rank([child for of_one in grown for child in of_one])
            beam = best([*ended, *children], self.width)
        return Found(tuple(judged for _, judged in beam))

    def rank(self, branches: Sequence[Branch]) -> Asking[list[Scored]]:
        """Each branch with the score that decides on its survival."""
        judged = yield from judge(branches)
        return [(j.score(self.aggregation), j) for j in judged]


@strategy("dvts")
@dataclass(frozen=True)
class Diverse(Beam):
    """`width` subtrees; in each the best of `expand` draws is kept at every step."""

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Goes down all subtrees together; the result is the best child of every subtree."""
        [first] = yield from grow([ROOT], n=self.width * self.expand)
        scored = yield from self.rank(first)
        kept = [best(scored[i :: self.width], 1)[0] for i in range(self.width)]
        for _ in range(1, self.max_steps):
            growing = [i for i, (_, judged) in enumerate(kept) if not judged.branch.ended]
            if not growing:
                break
            grown = yield from grow([kept[i][1].branch for i in growing], n=self.expand)
            scored = yield from self.rank([child for of_one in grown for child in of_one])
            for at, i in enumerate(growing):
                kept[i] = best(scored[at * self.expand : (at + 1) * self.expand], 1)[0]
        return Found(tuple(judged for _, judged in kept))


@strategy("lookahead")
@dataclass(frozen=True)
class Lookahead(Beam):
    """Beam search in which a child takes the score of its continuation by `ahead` steps.

    The continuation itself is thrown away; `greedy` False draws it. With `ahead` = 0 it is beam search.
    """

    ahead: int = 1
    greedy: bool = True

    def __post_init__(self):
        super().__post_init__()
        at_least(0, ahead=self.ahead)

    def rank(self, branches: Sequence[Branch]) -> Asking[list[Scored]]:
        """Scores from the continuations, rewards of the branches themselves."""
        judged = yield from judge(branches)
        going = [b for b in branches if not b.ended] if self.ahead else []
        ahead = yield from grow(going, steps=self.ahead, greedy=self.greedy, label="ahead")
        seen = yield from judge([branch for [branch] in ahead])
        scores = {b.path: j.score(self.aggregation) for b, j in zip(going, seen, strict=True)}
        return [(scores.get(j.branch.path, j.score(self.aggregation)), j) for j in judged]


def best(scored: Sequence[Scored], n: int) -> list[Scored]:
    """The `n` highest scores, the highest first; of equal ones the earlier."""
    return [scored[i] for i in highest_first([score for score, _ in scored])[:n]]
