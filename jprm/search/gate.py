"""When to refine at all: MAgICoRe's difficulty gate (arXiv 2409.12147).

Refining damages some right solutions, so it pays only where the majority is probably wrong. A
problem is hard if the solutions of its majority answer score below the data set's mean, and the
votes, weighted by either of two scores, are spread over several answers. The two are MAgICoRe's
outcome and process reward; here two aggregations of the same step rewards. `whose` may be "best"
instead: hard as long as no solution scores high, whatever the votes say.

Confidence is 2 (1 - sigmoid(H)) with H the entropy of the votes in nats, so 1 for one answer and
1/2 at H = ln 3, three equal ones. The released code takes the data set's mean from the first sample
of every problem; here it is that of all samples.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Gate:
    """mean, std: of the summed scores over a data set (`fit_gate`).

    below: standardised score under which a problem may be hard; whose: the majority's solutions
    (mean), or the best one. confidence: under which the votes count as spread; above 1 they always
    do, as no agreement exceeds it. The defaults are the paper's.
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
        """Whether these solutions of a problem should be refined; without any answer, yes.

        Equal answers are one answer, as far as their spelling tells.
        """
        rewards = [j.rewards for j in judged]
        votes = [(a, r) for a, r in zip(representatives([answers])[0], rewards, strict=True) if a is not None]
        if not votes:
            return True
        return self.quality(votes) < self.below and any(
            confidence([(a, aggregate(r, how) or 0.0) for a, r in votes]) < self.confidence
            for how in (self.outcome, self.process)
        )

    def quality(self, votes: Sequence[tuple[str, Sequence[float | None]]]) -> float:
        """Standardised score: the mean of the majority answer's solutions (of a tie, the first's),
        or the best of all.
        """
        if self.whose == "best":
            best = max(summed(r, self.outcome, self.process) for _, r in votes)
            return (best - self.mean) / self.std
        counts: dict[str, int] = {}
        for answer, _ in votes:
            counts[answer] = counts.get(answer, 0) + 1
        majority = max(counts, key=counts.__getitem__)
        scores = [summed(r, self.outcome, self.process) for a, r in votes if a == majority]
        return (mean(scores) - self.mean) / self.std


def confidence(votes: Sequence[tuple[str, float]]) -> float:
    """How far weighted votes agree, in (0, 1]; votes without any weight agree on nothing: 0."""
    cast: dict[str, list[float]] = {}
    for answer, score in votes:
        cast.setdefault(answer, []).append(score)
    weights = [math.fsum(scores) for scores in cast.values()]
    total = math.fsum(weights)
    if total <= 0:
        return 0.0
    entropy = -math.fsum(w / total * math.log(w / total) for w in weights if w > 0)
    return 2 / (1 + math.exp(entropy))


def summed(rewards: Sequence[float | None], outcome: str, process: str) -> float:
    """Outcome score plus process score; 0 for one that was not judged."""
    return (aggregate(rewards, outcome) or 0.0) + (aggregate(rewards, process) or 0.0)


def fit_gate(rows: Sequence[Mapping[str, Any]], outcome: str = "last", process: str = "prod") -> Gate:
    """The gate for a data set, from the rows of a search over it (best-of-N, say).

    Of a search in turns the solutions before the first one count. Raises UserError where all
    candidates score the same.
    """
    every = [c["rewards"] for row in rows for c in _members(row, 0)]
    scores = [summed(rewards, outcome, process) for rewards in every]
    if not scores:
        raise UserError("gate: no candidates in these rows")
    return Gate(float(np.mean(scores)), float(np.std(scores)), outcome, process)


def open_turns(row: Mapping[str, Any], gate: Gate) -> int:
    """How many turns of a critic's row this gate lets through, one after the other."""
    turns = max(0, len(row["pools"]) - 1)
    for turn in range(turns):
        members = _members(row, turn)
        judged = [JudgedBranch(Branch(tuple(c["steps"])), tuple(c["rewards"])) for c in members]
        if not gate.is_hard(judged, [c["answer"] for c in members]):
            return turn
    return turns


def behind(row: Mapping[str, Any], gate: Gate) -> dict[str, Any]:
    """The row that the critic would have given behind this gate, from its row without one.

    What it draws depends on the problem and the turn alone, so a gate only ends the turns earlier.
    The budget stays that of all turns; `notes["refined"]` counts the rewritings that are left.
    """
    pools, turns = row["pools"], open_turns(row, gate)
    if not pools:
        return dict(row)
    rest = len(pools) - 1 - turns
    refined = [*row["notes"]["refined"][:turns], *[0] * rest]
    return {**row, "pools": [*pools[:turns], *[pools[turns]] * (rest + 1)]} | {
        "notes": {**row["notes"], "refined": refined}
    }


def _members(row: Mapping[str, Any], turn: int) -> list[Mapping[str, Any]]:
    """The candidates after a turn; all of them where there are no turns."""
    pools = row.get("pools")
    return [row["candidates"][i] for i in pools[turn]] if pools else list(row["candidates"])
