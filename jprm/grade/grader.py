"""The grader: exact where the spelling settles it, else a comparison in the execution pool."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import get_args

from jprm.errors import UserError
from jprm.execute import Outcome, Pool, Session
from jprm.grade.exact import Grade, Percent
from jprm.grade.spelling import by_spelling

SESSION_LENGTH = 100  # comparisons; should its program be lost, a session repeats all of them

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


@dataclass(slots=True)
class _Place:
    """A session, how many deaths this grader had seen when it was opened, and its length."""

    session: Session
    deaths: int
    used: int = 0


@dataclass(slots=True)
class _Snippet:
    code: str
    future: Future[Graded]
    then: Callable[[Outcome], None]


class Grader:
    """Compares answers with the right ones, from any thread; safe against answers that hang.

    pool: an open pool with `preload=PRELOAD`; its `timeout_s` is the limit of one comparison.
    percent: "strict" (50% is 0.5 and not 50) or "either".
    sessions: comparisons that run at the same time; more than the pool has workers gain nothing.
    second_opinion: also ask math-verify alone, and keep what it sees otherwise in
        `disagreements`; costs a comparison for every pair, never changes a grade.
    counts: how many pairs got each grade. symbolic: how many of them needed mathematics.
    """

    def __init__(self, pool: Pool, percent: Percent = "strict", *, sessions: int = 2, second_opinion: bool = False):
        if percent not in get_args(Percent):
            raise UserError(f"percent is {percent!r}; it can be 'strict' or 'either'")
        self.pool = pool
        self.percent: Percent = percent
        self.sessions = sessions
        self.second_opinion = second_opinion
        self.counts: Counter[Grade] = Counter()
        self.symbolic = 0
        self.disagreements: list[Disagreement] = []
        self._lock = threading.Lock()
        self._waiting: deque[_Snippet] = deque()
        self._idle: list[_Place] = []
        self._busy = 0
        self._deaths = 0

    def grade(self, gold: str, answer: str | None) -> Graded:
        """Compare `answer` with `gold` and wait; None, no answer at all, is "unparsed"."""
        return self.submit(gold, answer).result()

    def submit(self, gold: str, answer: str | None) -> Future[Graded]:
        """Start a comparison. The future fails only if the pool itself does."""
        future: Future[Graded] = Future()
        future.set_running_or_notify_cancel()  # what others wait behind cannot be taken back
        verdict, left, right = by_spelling(gold, answer or "", self.percent)
        then = partial(self._settle, future, gold, answer or "")
        if verdict is not None:
            then(Graded(verdict.grade, verdict.reason))
        else:
            code = _COMPARE.format(left, right, self.percent)
            self._run(code, future, lambda outcome: then(_graded(outcome)))
        return future

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
        """Queue a snippet; `then` hears its outcome."""
        with self._lock:
            self._waiting.append(_Snippet(code, future, then))
        self._start()

    def _start(self) -> None:
        """Give waiting snippets to sessions that are free, one each."""
        while True:
            with self._lock:
                if not self._waiting or (not self._idle and self._busy >= self.sessions):
                    return
                snippet = self._waiting.popleft()
                self._busy += 1
                place = self._idle.pop() if self._idle else None
            try:
                place = place or _Place(self.pool.session(), self._deaths)
                running = place.session.submit(snippet.code)
            except (RuntimeError, UserError) as error:  # the pool was closed, or has failed
                with self._lock:
                    self._busy -= 1
                snippet.future.set_exception(error)
                continue
            running.add_done_callback(partial(self._finish, place, snippet))

    def _finish(self, place: _Place, snippet: _Snippet, running: Future[Outcome]) -> None:
        error = running.exception()
        place.used += 1
        with self._lock:
            self._busy -= 1
            if error is not None or running.result().kind not in ("ok", "error"):
                # Its program may have taken other sessions with it. A session that has lost its
                # program runs all of its past again, and none here has a past worth that.
                self._deaths += 1
                left, self._idle = [place, *self._idle], []
            elif place.used == SESSION_LENGTH or place.deaths != self._deaths:
                left = [place]
            else:
                left = []
                self._idle.append(place)
        for old in left:
            old.session.close()
        self._start()
        if error is not None:
            snippet.future.set_exception(error)
        else:
            snippet.then(running.result())


def _graded(outcome: Outcome) -> Graded:
    if outcome.kind == "timeout":
        return Graded("timeout", symbolic=True)
    if outcome.kind == "died":
        return Graded("error", "the program of the comparison died", symbolic=True)
    if outcome.kind in ("memory", "sandbox"):
        return Graded("error", "the machine lacked memory or processes", symbolic=True)
    word, _, reason = outcome.text.partition(" ")
    for grade in get_args(Grade):
        if outcome.kind == "ok" and grade == word:
            return Graded(grade, reason, symbolic=True)
    return Graded("error", outcome.text[:200], symbolic=True)
