"""The votes on one solution as they come in, by step and vote, and how many steps are still wanted.

Invariant: `limit` only falls, and to a step below which every vote's rationale will be there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jprm.records import Problem, Rationale, ReadOut, Solution
from jprm.ties import below
from jprm.verify.votes import NO_VERDICT

LOST = "lost: "  # how the reason begins where the sampler could not complete a conversation


@dataclass(eq=False)
class VoteTable:
    """The rationales of the reported `votes`; those of other votes may be put in, as history, and are not reported.

    known: rationales that were there before. heard: is called with every other rationale of the votes.
    limit: steps that are wanted. n_open: conversations that still write into this table.
    """

    problem: Problem
    solution: Solution
    votes: Sequence[int]
    mode: str
    known: Sequence[Rationale]
    heard: Callable[[Rationale], None]
    limit: int = 0
    n_open: int = 0
    _rationales: dict[tuple[int, int], Rationale] = field(default_factory=dict)

    def __post_init__(self):
        self.limit = len(self.solution.steps)
        self._rationales = {(r.step, r.vote): r for r in self.known}

    def put(self, rationale: Rationale) -> None:
        """Records what a vote wrote about a step, and reports it where it is new."""
        key = rationale.step, rationale.vote
        is_new = self._rationales.get(key) != rationale
        self._rationales[key] = rationale
        if is_new and rationale.vote in self.votes:
            self.heard(rationale)

    def put_nothing(self, step: int, vote: int, reason: str) -> None:
        """Records that a vote never came to a step."""
        nothing = (step, vote, self.mode, "", (), NO_VERDICT, 0, 0, reason)
        self.put(Rationale(self.solution.id, *nothing))

    def lose(self, fault: str) -> None:
        """Ends a solution that cannot be completed. Its missing votes are not `heard`, so a later run asks again."""
        heard, self.heard = self.heard, lambda rationale: None
        for step in range(self.limit):
            for vote in self.lacking(step):
                self.put_nothing(step, vote, f"{LOST}{fault}")
        self.heard = heard

    def rationale(self, step: int, vote: int) -> Rationale:
        """Returns what a vote wrote about a step. Raises KeyError where that is not there yet."""
        return self._rationales[step, vote]

    def lacking(self, step: int) -> list[int]:
        """Returns the votes without a rationale of this step."""
        return [vote for vote in self.votes if (step, vote) not in self._rationales]

    def behind(self, earliest_only: bool) -> list[int]:
        """Returns the votes that lack a wanted step; with `earliest_only` those that lack the earliest one."""
        lacking = (votes for step in range(self.limit) if (votes := self.lacking(step)))
        if earliest_only:
            return next(lacking, [])
        return sorted({vote for votes in lacking for vote in votes})

    def stop_where_known(self, readout: ReadOut) -> None:
        """Gives up the steps behind the first one that every vote calls wrong."""
        any(self.stop_after(step, readout) for step in range(self.limit))

    def stop_after(self, step: int, readout: ReadOut) -> bool:
        """Gives up the later steps if every vote calls this one wrong, and says whether it did."""
        if step + 1 >= self.limit:
            return False
        for vote in self.votes:
            rationale = self._rationales.get((step, vote))
            reward = rationale.verdict.reward(readout) if rationale else None
            if reward is None or not below(reward, 0.5):
                return False
        self.limit = step + 1
        return True

    def rows(self) -> list[Rationale]:
        """Returns all rationales that are wanted, by step, then vote."""
        return [self._rationales[step, vote] for step in range(self.limit) for vote in self.votes]
