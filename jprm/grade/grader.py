"""The grader: exact where the spelling settles it, else a comparison in the execution pool."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import get_args

from jprm.errors import UserError
from jprm.execute import Outcome, Pool, Session
from jprm.grade.exact import Grade, Percent, Verdict, decide
from jprm.grade.normal import normalise
from jprm.grade.units import split_unit

MAX_LENGTH = 10_000  # characters of an answer
SESSION_LENGTH = 500  # comparisons after which a session is left for a new one

_LETTER_UNIT = re.compile(r"[\d./]+ ?[a-zA-Z]")  # 3 h: a unit, or a variable

_COMPARE = (
    "from jprm.grade import symbolic\nverdict = symbolic.compare({!r}, {!r}, {!r})\n"
    "print(verdict.grade, verdict.reason)"
)
_OPINION = "from jprm.grade import symbolic\nprint(symbolic.opinion({!r}, {!r}))"


@dataclass(frozen=True, slots=True)
class Graded:
    """A grade, why ("" where it is plain), and whether mathematics was needed for it."""

    grade: Grade
    reason: str = ""
    symbolic: bool = False


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two answers on which this grader and math-verify alone do not say the same."""

    gold: str
    answer: str
    graded: Graded
    math_verify: bool


class Grader:
    """Compares answers with the right ones, from any thread; safe against answers that hang.

    pool: an open pool with `preload=PRELOAD`; its `timeout_s` is the limit of one comparison.
    percent: "strict" (50% is 0.5 and not 50) or "either".
    second_opinion: also ask math-verify alone, and keep what it sees otherwise in
        `disagreements`; costs a comparison for every pair, never changes a grade.
    counts: how many pairs got each grade. symbolic: how many of them needed mathematics.
    """

    def __init__(self, pool: Pool, percent: Percent = "strict", second_opinion: bool = False):
        if percent not in get_args(Percent):
            raise UserError(f"percent is {percent!r}; it can be 'strict' or 'either'")
        self.pool = pool
        self.percent: Percent = percent
        self.second_opinion = second_opinion
        self.counts: Counter[Grade] = Counter()
        self.symbolic = 0
        self.disagreements: list[Disagreement] = []
        self._lock = threading.Lock()
        self._idle: list[tuple[Session, int]] = []

    def grade(self, gold: str, answer: str | None) -> Graded:
        """Compare `answer` with `gold` and wait; None, no answer at all, is "unparsed"."""
        return self.submit(gold, answer).result()

    def submit(self, gold: str, answer: str | None) -> Future[Graded]:
        """Start a comparison. The future fails only if the pool itself does."""
        future: Future[Graded] = Future()
        verdict, left, right = self._exact(gold, answer or "")
        then = partial(self._settle, future, gold, answer or "")
        if verdict is not None:
            then(Graded(verdict.grade, verdict.reason))
        else:
            code = _COMPARE.format(left, right, self.percent)
            self._run(code, future, lambda outcome: then(_graded(outcome)))
        return future

    def _exact(self, gold: str, answer: str) -> tuple[Verdict | None, str, str]:
        """The verdict if the spelling settles it, and the values that are left to compare."""
        if max(len(gold), len(answer)) > MAX_LENGTH:
            same = bool(gold.strip()) and gold.strip() == answer.strip()
            verdict = Verdict("equal") if same else Verdict("unparsed", "too large")
            return verdict, gold, answer
        left, right = normalise(gold), normalise(answer)
        verdict = decide(left, right, self.percent)
        if verdict is not None:
            return verdict, left, right
        (left, unit), (right, other) = split_unit(left), split_unit(right)
        bare = right if unit else left
        if (unit and other and unit != other) or (unit != other and _LETTER_UNIT.fullmatch(bare)):
            return Verdict("unparsed", "units differ"), left, right
        if unit == "°" and not other and r"\pi" in right:
            left = rf"\frac{{{left}\pi}}{{180}}"
        elif other == "°" and not unit and r"\pi" in left:
            right = rf"\frac{{{right}\pi}}{{180}}"
        if unit or other:
            verdict = decide(left, right, self.percent)
        return verdict, left, right

    def _settle(self, future: Future[Graded], gold: str, answer: str, graded: Graded) -> None:
        with self._lock:
            self.counts[graded.grade] += 1
            self.symbolic += graded.symbolic
        if not self.second_opinion:
            future.set_result(graded)
            return

        def heard(outcome: Outcome) -> None:
            agreed = str(graded.grade == "equal")
            if outcome.kind == "ok" and outcome.text != agreed:
                found = Disagreement(gold, answer, graded, outcome.text == "True")
                with self._lock:
                    self.disagreements.append(found)
            future.set_result(graded)

        self._run(_OPINION.format(gold, answer), future, heard)

    def _run(self, code: str, future: Future[Graded], then: Callable[[Outcome], None]) -> None:
        """Run a snippet in a session that no other comparison uses meanwhile."""
        with self._lock:
            session, used = self._idle.pop() if self._idle else (self.pool.session(), 0)

        def done(running: Future[Outcome]) -> None:
            error = running.exception()
            if error is not None:
                future.set_exception(error)
                return
            outcome = running.result()
            if outcome.kind in ("ok", "error") and used + 1 < SESSION_LENGTH:
                with self._lock:
                    self._idle.append((session, used + 1))
            else:  # its program may be gone: a session rebuilds itself by running its past again
                session.close()
            then(outcome)

        session.submit(code).add_done_callback(done)


def _graded(outcome: Outcome) -> Graded:
    if outcome.kind == "timeout":
        return Graded("timeout", symbolic=True)
    if outcome.kind == "died":
        return Graded("error", "the program of the comparison died", symbolic=True)
    grade, _, reason = outcome.text.partition(" ")
    if outcome.kind == "ok" and grade in get_args(Grade):
        return Graded(grade, reason, symbolic=True)
    return Graded("error", outcome.text[:200], symbolic=True)
