"""Look-ahead: beam search that ranks a branch by where it leads.

Every child is continued for a few more steps, without randomness, and takes the score of that
continuation; the continuation itself is thrown away (Snell et al. 2024, arXiv 2408.03314). With
`ahead` = 0 it is beam search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jprm.search.beam import Beam
from jprm.search.plan import Judged, Talk, at_least, grow, judge, strategy
from jprm.search.ports import Branch


@strategy("lookahead")
@dataclass(frozen=True)
class Lookahead(Beam):
    """Beam search with continuations of `ahead` steps; `greedy` False draws them."""

    ahead: int = 1
    greedy: bool = True

    def __post_init__(self):
        super().__post_init__()
        at_least(0, ahead=self.ahead)

    def rank(self, branches: Sequence[Branch]) -> Talk[list[tuple[float, Judged]]]:
        """Scores from the continuations, rewards of the branches themselves."""
        judged = yield from judge(branches)
        going = [b for b in branches if not b.ended] if self.ahead else []
        ahead = yield from grow(going, steps=self.ahead, greedy=self.greedy, label="ahead")
        seen = yield from judge([branch for [branch] in ahead])
        scores = {b.path: j.score(self.aggregation) for b, j in zip(going, seen, strict=True)}
        return [(scores.get(j.branch.path, j.score(self.aggregation)), j) for j in judged]
