"""When to refine at all: MAgICoRe's difficulty gate (arXiv 2409.12147).

Refining damages some right solutions, so it pays only where the majority is probably wrong. A
problem is hard if the solutions of its majority answer score below the data set's mean, and the
votes, weighted by either of two scores, are spread over several answers. The two are MAgICoRe's
outcome and process reward; here two aggregations of the same step rewards. The released code takes
the data set's mean from the first sample of every problem; here it is that of all samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from jprm.errors import UserError
from jprm.grade import representatives
from jprm.search.base import JudgedBranch
from jprm.search.ports import Branch
from jprm.search.selection import aggregate, aggregation
from jprm.ties import mean

Whose = Literal["majority", "best"]
Rewards = Sequence[float | None]  # of the steps of a solution


@dataclass(frozen=True)
class Gate:
    """Whether a problem is hard, by the scores and answers of its solutions. The defaults are the paper's.

    mean, std: of the summed outcome and process scores over a data set (`fit_gate`).
    outcome, process: the aggregations that give the two scores.
    confidence: the agreement under which the votes count as spread; above 1 they always do.
    below: the standardised score under which a problem may be hard.
    whose: "majority", the mean over the majority answer's solutions, or "best": hard as long as no solution
        scores high, whatever the votes say.
    """

    mean: float
    std: float
    outcome: str = "last"
    process: str = "prod"
    confidence: float = 0.5
    below: float = 0.0
    whose: Whose = "majority"

    def __post_init__(self):
        for how in (self.outcome, self.process):
            aggregation[how]
        if self.whose not in get_args(Whose):
            raise UserError(f"gate: whose = {self.whose!r} must be 'majority' or 'best'")
        if not self.std > 0:
            raise UserError(f"gate: std = {self.std} must be above 0; were all scores equal?")

    def is_hard(self, judged: Sequence[JudgedBranch], answers: Sequence[str | None]) -> bool:
        """Says whether these solutions of a problem should be refined; without any answer, yes.

        Equal answers are one answer, as far as their spelling tells.
        """
        rewards: dict[str, list[Rewards]] = {}  # by answer
        for answer, one in zip(representatives([answers])[0], judged, strict=True):
            if answer is not None:
                rewards.setdefault(answer, []).append(one.rewards)
        if not rewards:
            return True
        return self.quality(rewards) < self.below and any(
            confidence([math.fsum(aggregate(r, how) or 0.0 for r in each) for each in rewards.values()])
            < self.confidence
            for how in (self.outcome, self.process)
        )

    def quality(self, rewards: Mapping[str, Sequence[Rewards]]) -> float:
        """Returns the standardised score of the majority answer's solutions (of a tie, the first's), or the best."""
        scores = [[summed(r, self.outcome, self.process) for r in each] for each in rewards.values()]
        if self.whose == "best":
            return (max(map(max, scores)) - self.mean) / self.std
        return (mean(max(scores, key=len)) - self.mean) / self.std


def confidence(weights: Sequence[float]) -> float:
    """Says how far the summed votes for each answer agree, in (0, 1]; 0 where there is no weight at all.

    It is 2 (1 - sigmoid(H)) with H the entropy of the votes in nats: 1 for one answer, 1/2 for three equal ones.
    """
    total = math.fsum(weights)
    if total <= 0:
        return 0.0
    entropy = -math.fsum(w / total * math.log(w / total) for w in weights if w > 0)
    return 2 / (1 + math.exp(entropy))


def summed(rewards: Rewards, outcome: str, process: str) -> float:
    """Returns outcome score plus process score; 0 for each that a solution does not have."""
    return (aggregate(rewards, outcome) or 0.0) + (aggregate(rewards, process) or 0.0)


def fit_gate(rows: Sequence[Mapping[str, Any]], outcome: str = "last", process: str = "prod") -> Gate:
    """Makes the gate for a data set from the rows of a search over it (best-of-N, say).

    Of a search in turns, the solutions before the first turn count. Raises UserError where all
    candidates score the same.
    """
    every = [c["rewards"] for row in rows for c in _members(row, 0)]
    scores = [summed(rewards, outcome, process) for rewards in every]
    if not scores:
        raise UserError("gate: no candidates in these rows")
    return Gate(float(np.mean(scores)), float(np.std(scores)), outcome, process)


def open_turns(row: Mapping[str, Any], gate: Gate) -> int:
    """Counts the turns of a critic's row that this gate lets through, one after the other."""
    turns = max(0, len(row["pools"]) - 1)
    for turn in range(turns):
        members = _members(row, turn)
        judged = [JudgedBranch(Branch(tuple(c["steps"])), tuple(c["rewards"])) for c in members]
        if not gate.is_hard(judged, [c["answer"] for c in members]):
            return turn
    return turns


def behind(row: Mapping[str, Any], gate: Gate) -> dict[str, Any]:
    """Returns the row that the critic would have given behind this gate, from its row without one.

    What it draws depends on the problem and the turn alone, so a gate only ends the turns earlier.
    The budget stays that of all turns; `notes["refined"]` counts the rewritings that are left.
    """
    if not row["pools"]:
        return dict(row)
    turns, pools = open_turns(row, gate), row["pools"]
    rest = len(pools) - 1 - turns
    notes = row["notes"] | {"refined": [*row["notes"]["refined"][:turns], *[0] * rest]}
    return {**row, "pools": [*pools[:turns], *[pools[turns]] * (rest + 1)], "notes": notes}


def _members(row: Mapping[str, Any], turn: int) -> list[Mapping[str, Any]]:
    """The candidates after a turn; all of them where there are no turns."""
    pools = row.get("pools")
    return [row["candidates"][i] for i in pools[turn]] if pools else list(row["candidates"])
