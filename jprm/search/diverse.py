"""Diverse beam search (DVTS): a beam cut into independent subtrees, each searched greedily.

A wide beam ends up with children of one branch; subtrees cannot crowd each other out (Beeching et
al. 2024, search-and-learn). The result is the best child of every subtree.
"""

from __future__ import annotations

from dataclasses import dataclass

from jprm.records import Problem
from jprm.search.beam import Beam, best
from jprm.search.plan import Answer, Found, Talk, grow, strategy
from jprm.search.ports import ROOT


@strategy("dvts")
@dataclass(frozen=True)
class Diverse(Beam):
    """`width` subtrees; in each the best of `expand` draws is kept at every step."""

    def search(self, problem: Problem, answer: Answer) -> Talk[Found]:
        """As `Strategy`."""
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
