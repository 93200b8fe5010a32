"""From stored rationales to what is scored: which of them count, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jprm.records import Rationale, ReadOut
from jprm.tasks.benchmark_file import BenchmarkRow
from jprm.tasks.vote_store import counted


@dataclass(frozen=True)
class JudgedRow:
    """A solution with the rewards [steps, votes] that count, nan without a judgement.

    `rewards` is None where it has no judgement at all; `lost` says why. `rationales` are those that count, by step,
    then vote.
    """

    item: BenchmarkRow
    rewards: np.ndarray | None
    rationales: tuple[Rationale, ...]
    lost: str = ""


def judged(
    item: BenchmarkRow, stored: Sequence[Rationale], n: int, readout: ReadOut, stop_early: bool
) -> JudgedRow | None:
    """Returns what counts of the stored rationales of a solution (see `counted`); None where some are missing."""
    kept = counted(stored, len(item.solution.steps), n, readout if stop_early else None)
    if kept is None:
        return None
    rewards = np.array([r.verdict.reward(readout) for r in kept], dtype=np.float64)  # None becomes nan
    return JudgedRow(item, rewards.reshape(-1, n), kept)


@dataclass(frozen=True)
class Account:
    """What the rationales that count cost and came to; nothing in it depends on the clock.

    none: verdicts that were not to be had, by reason. unread: the same by the kind of what stands in their place (see
    `jprm.verify.verdict`). code: executions by outcome. quoted: control tokens that texts of others spell, which were
    read as plain text.
    """

    rationales: int
    generated_tokens: int
    forced_tokens: int
    none: dict[str, int]
    unread: dict[str, int]
    code: dict[str, int]
    quoted: int

    @classmethod
    def of(cls, solutions: Sequence[JudgedRow]) -> Account:
        """Sums up the rationales of all solutions."""
        rows = [r for solution in solutions for r in solution.rationales]
        without = [r for r in rows if r.verdict.correct is None]
        none = Counter(r.reason or "unread" for r in without)
        unread = Counter(r.unread for r in without if r.unread)
        code = Counter(execution.kind for r in rows for execution in r.executions)
        return cls(
            rationales=len(rows),
            generated_tokens=sum(r.generated_tokens for r in rows),
            forced_tokens=sum(r.forced_tokens for r in rows),
            none=dict(sorted(none.items())),
            unread=dict(sorted(unread.items())),
            code=dict(sorted(code.items())),
            quoted=sum(r.quoted for r in rows),
        )

    @property
    def none_share(self) -> float:
        """The share of the rationales that have no verdict; nan where there are no rationales."""
        return sum(self.none.values()) / self.rationales if self.rationales else float("nan")
