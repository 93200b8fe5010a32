"""Searches over steps that only go forward, and their baseline.

    best_of_n   whole solutions, drawn independently and judged once
    beam        draw, judge, keep the best, again
    dvts        a beam cut into independent subtrees, so that the children of one branch cannot crowd out all
                others (diverse verifier tree search; Beeching et al. 2024, search-and-learn)
    lookahead   a beam that ranks a branch by where it leads (Snell et al. 2024, arXiv 2408.03314)

A solution that has ended keeps its place in a beam until better branches push it out, so the width
bounds what is expanded and the result is the last beam.
"""

import itertools
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
    """Draws `n` solutions of each problem."""

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
    """Keeps the best `width` branches at each step and expands each by `expand` draws, `max_steps` deep.

    The first step is drawn width x expand times. Branches are ranked by `aggregation` of their rewards; of equal
    branches the earlier draw is kept. What has not ended at `max_steps` is a candidate as it is.
    """

    width: int = 4
    expand: int = 4
    aggregation: str = "last"
    max_steps: int = 20

    def __post_init__(self):
        at_least(1, width=self.width, expand=self.expand, max_steps=self.max_steps)
        aggregation[self.aggregation]

    def search(self, problem: Problem, answer: Answer) -> Asking[Found]:
        """Expands and prunes step by step until every branch that is kept has ended."""
        # 1. Draw the first step, and keep the best of it.
        [first] = yield from grow([ROOT], n=self.width * self.expand)
        subtrees, size = self.subtrees((yield from self.rank(first)))
        beams = [best(scored, size) for scored in subtrees]
        for _ in range(1, self.max_steps):
            # 2. Expand what has not ended, all subtrees in one request.
            growing = [[judged.branch for _, judged in beam if not judged.branch.ended] for beam in beams]
            if not any(growing):
                break
            grown = yield from grow([branch for own in growing for branch in own], n=self.expand)
            children = iter((yield from self.rank([child for of_one in grown for child in of_one])))
            # 3. The children compete with what has ended in their subtree.
            for at, (beam, own) in enumerate(zip(beams, growing, strict=True)):
                ended = [scored for scored in beam if scored[1].branch.ended]
                beams[at] = best([*ended, *itertools.islice(children, len(own) * self.expand)], size)
        return Found(tuple(judged for beam in beams for _, judged in beam))

    def subtrees(self, first: list[Scored]) -> tuple[list[list[Scored]], int]:
        """Returns the first steps by the subtree that they begin, and how many branches a subtree keeps."""
        return [first], self.width

    def rank(self, branches: Sequence[Branch]) -> Asking[list[Scored]]:
        """Scores each branch; the score decides on its survival."""
        judged = yield from judge(branches)
        return [(j.score(self.aggregation), j) for j in judged]


@strategy("dvts")
@dataclass(frozen=True)
class Diverse(Beam):
    """Goes down `width` subtrees; in each the best of `expand` draws is kept at every step."""

    def subtrees(self, first: list[Scored]) -> tuple[list[list[Scored]], int]:
        """Puts every `width`-th first step into the same subtree, which keeps one branch."""
        return [first[i :: self.width] for i in range(self.width)], 1


@strategy("lookahead")
@dataclass(frozen=True)
class Lookahead(Beam):
    """Is beam search in which a child takes the score of its continuation by `ahead` steps.

    The continuation itself is thrown away; `greedy` False draws it. With `ahead` = 0 it is beam search.
    """

    ahead: int = 1
    greedy: bool = True

    def __post_init__(self):
        super().__post_init__()
        at_least(0, ahead=self.ahead)

    def rank(self, branches: Sequence[Branch]) -> Asking[list[Scored]]:
        """Scores each branch by its continuation; the rewards are those of the branch itself."""
        judged = yield from judge(branches)
        going = [b for b in branches if not b.ended] if self.ahead else []
        ahead = yield from grow(going, steps=self.ahead, greedy=self.greedy, label="ahead")
        seen = yield from judge([branch for [branch] in ahead])
        scores = {b.path: j.score(self.aggregation) for b, j in zip(going, seen, strict=True)}
        return [(scores.get(j.branch.path, j.score(self.aggregation)), j) for j in judged]


def best(scored: Sequence[Scored], n: int) -> list[Scored]:
    """Returns the `n` highest scores, the highest first; of equal ones the earlier."""
    return [scored[i] for i in highest_first([score for score, _ in scored])[:n]]
