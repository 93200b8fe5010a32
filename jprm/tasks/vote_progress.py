"""What is told while votes are drawn: how far they are and how fast, and whether the model can speak the protocol."""

from collections import Counter
from collections.abc import Callable, Mapping

from jprm.execute import CodePlace
from jprm.jobs import Progress
from jprm.records import Rationale
from jprm.verify import RationaleFormat

JUDGED_BY = 8  # rationales, before anything is said about a model
MANY_NONE = 0.8  # of the rationales: more than a model that was trained for the protocol leaves without a verdict
END_CHARS = 300  # of the rationale that is shown


class VoteProgress:
    """Counts the rationales that come in, out of those that are expected, and says so.

    speed: tells in words how fast the sampler is; "" until there is one.
    """

    def __init__(
        self,
        label: str,
        progress: Progress,
        expected: Mapping[str, int],
        n_solutions: int,
        pool: CodePlace | None,
        format: RationaleFormat | None,
    ):
        """expected: the rationales that each of the solutions lacks which are judged, by id, out of `n_solutions`.

        pool: runs the code; None where there is none. format: the protocol; None where no text is sampled.
        """
        self.speed: Callable[[], str] = str
        self._label, self._format, self._progress, self._pool = label, format, progress, pool
        self._code_before = pool.stats.snippets if pool else 0
        self._n_solutions, self._judged_before = n_solutions, n_solutions - len(expected)
        self._left, self._expected = dict(expected), sum(expected.values())
        self._done = self._ended = self._heard = 0
        self._none: Counter[str] = Counter()
        self._knows_protocol = self._doubted = False

    def heard(self, rationale: Rationale) -> None:
        """Counts a rationale that is new and stored: whole solutions may take minutes, so the work may stop here.

        Raises what a safe point raises.
        """
        self._count(rationale.solution_id, 1)
        self._heard += 1
        self._knows_protocol = (
            self._knows_protocol or self._format is None or self._format.closes_section(rationale.text)
        )
        if rationale.verdict.correct is None:
            self._none[rationale.reason or "no reason"] += 1
            self._doubt(rationale)
        self._progress.beat(self.share)
        self._progress.check()

    def ended(self, solution_id: str) -> None:
        """Counts a solution that is done; where it needed fewer rationales than expected, none is left of it."""
        self._ended += 1
        self._count(solution_id, self._left.get(solution_id, 0))
        self._progress.show(self.line(), share=self.share)

    @property
    def share(self) -> float:
        """How much is done of the rationales that are expected, from 0 to 1."""
        return self._done / max(1, self._expected)

    def line(self) -> str:
        """How far it is, in one line."""
        told = [
            f"{self._label}: {self._done} of {self._expected} rationales",
            f"{self._judged_before + self._ended} of {self._n_solutions} solutions judged",
        ]
        if self._pool and (ran := self._pool.stats.snippets - self._code_before):
            told.append(f"code run {ran} times")
        return ", ".join([*told, *filter(None, [self.speed()])])

    def _count(self, solution_id: str, rationales: int) -> None:
        counted = min(rationales, self._left.get(solution_id, 0))
        if counted:
            self._left[solution_id] -= counted
            self._done += counted

    def _doubt(self, rationale: Rationale) -> None:
        """Tells, once, that verdicts cannot be read, and shows what is there instead."""
        none = self._none.total()
        if self._doubted or self._heard < JUDGED_BY or none < MANY_NONE * self._heard:
            return
        self._doubted = True
        reasons = ", ".join(f"{reason} {n}" for reason, n in self._none.most_common())
        why = "" if self._knows_protocol else "; it closes no section: the model seems untrained for this protocol"
        self._progress.note(f"note: {none} of {self._heard} rationales have no verdict ({reasons}){why}")
        if rationale.text:
            end = rationale.text[-END_CHARS:].replace("\n", "\\n").replace("\t", "\\t")
            self._progress.note(f"note: this is how one of them ends: {end}")
