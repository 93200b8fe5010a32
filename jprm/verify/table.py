"""One solution's rationales as they come in, by step and vote, and how many steps are still wanted.

Invariant: `limit` only falls, and to a step below which every vote's rationale will be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jprm.records import Problem, Rationale, ReadOut, Solution, Verdict
from jprm.verify.format import Machine

NO_VERDICT = Verdict(None, None, None)


@dataclass(eq=False)
class Table:
    """Rationales of the reported `votes`; other votes may be put in, as history, and are not told.

    limit: steps that are wanted. open_lanes: conversations that still write into this table.
    """

    problem: Problem
    solution: Solution
    votes: Sequence[int]
    mode: str
    limit: int = 0
    open_lanes: int = 0
    _rationales: dict[tuple[int, int], Rationale] = field(default_factory=dict)

    def __post_init__(self):
        self.limit = len(self.solution.steps)

    def put(
        self,
        step: int,
        vote: int,
        dialogue: Machine,
        verdict: Verdict,
        reason: str,
        shortened: int = 0,
    ) -> None:
        """Record what a vote wrote about a step."""
        self._rationales[step, vote] = Rationale(
            solution_id=self.solution.id,
            step=step,
            vote=vote,
            mode=self.mode,
            text=dialogue.text,
            executions=tuple(dialogue.executions),
            verdict=verdict,
            generated_tokens=dialogue.generated_tokens,
            forced_tokens=dialogue.forced_tokens,
            reason=reason,
            shortened=shortened,
        )

    def put_nothing(self, step: int, vote: int, reason: str) -> None:
        """Record that a vote never came to a step."""
        self._rationales[step, vote] = Rationale(
            self.solution.id, step, vote, self.mode, "", (), NO_VERDICT, 0, 0, reason
        )

    def stop_after(self, step: int, readout: ReadOut) -> bool:
        """Give up the later steps if every vote calls this one wrong; whether that is news."""
        if step + 1 >= self.limit:
            return False
        for vote in self.votes:
            rationale = self._rationales.get((step, vote))
            reward = rationale.verdict.reward(readout) if rationale else None
            if reward is None or reward >= 0.5:
                return False
        self.limit = step + 1
        return True

    def rows(self) -> list[Rationale]:
        """All rationales that are wanted, by step, then vote."""
        return [self._rationales[step, vote] for step in range(self.limit) for vote in self.votes]
