"""The grader: exact where the spelling settles it, else a comparison in the execution pool."""

import threading
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import get_args

from jprm.errors import UserError
from jprm.execute import Outcome, Pool, Session
from jprm.grade.exact import Grade, Graded, Percent, by_spelling

SESSION_LENGTH = 100  # comparisons; should its program be lost, a session repeats all of them

_SYMPY = (
    "abc assumptions.facts assumptions.handlers assumptions.handlers.calculus "
    "assumptions.handlers.common assumptions.handlers.matrices assumptions.handlers.ntheory "
    "assumptions.handlers.order assumptions.handlers.sets assumptions.lra_satask "
    "assumptions.predicates.calculus assumptions.predicates.common "
    "assumptions.predicates.matrices assumptions.predicates.ntheory assumptions.predicates.order "
    "assumptions.predicates.sets assumptions.satask assumptions.sathandlers assumptions.wrapper "
    "combinatorics combinatorics.galois concrete.delta discrete.recurrences integrals.heurisch "
    "integrals.manualintegrate integrals.prde integrals.rde integrals.risch "
    "logic.algorithms.dpll logic.algorithms.dpll2 logic.algorithms.lra_theory "
    "matrices.expressions.applyfunc matrices.expressions.factorizations "
    "matrices.expressions.fourier matrices.normalforms physics.matrices physics.units "
    "polys.dispersion polys.distributedmodules polys.domains.old_fractionfield "
    "polys.domains.old_polynomialring polys.domains.quotientring polys.matrices._dfm "
    "polys.numberfields.resolvent_lookup polys.polymatrix sets.handlers.add "
    "sets.handlers.functions sets.handlers.issubset sets.handlers.mul sets.handlers.power "
    "sets.setexpr tensor.array.array_derivatives tensor.array.expressions tensor.tensor"
)
# What the programs of a grader's pool import before their first comparison. They may open no file later, and sympy
# imports much only when it is needed. A module that is still missing then shows as the grade "error" or "unparsed",
# never as a wrong one.
PRELOAD = (
    "jprm.grade.symbolic",  # brings math_verify, latex2sympy2_extended and sympy
    "antlr4.LL1Analyzer",
    *(f"sympy.{name}" for name in _SYMPY.split()),
)
_COMPARE = (
    "from jprm.grade import symbolic\nverdict = symbolic.compare({!r}, {!r}, {!r})\n"
    "print(verdict.grade, verdict.reason)"
)


@dataclass(slots=True)
class _OpenSession:
    """A session, how many deaths its grader had seen when it was opened, and its comparisons so far."""

    session: Session
    deaths: int
    used: int = 0


@dataclass(slots=True)
class _Comparison:
    code: str
    future: Future[Graded]


class Grader:
    """Compares answers with the right ones, from any thread; safe against answers that hang.

    pool: an open pool with `preload=PRELOAD`; its `timeout_s` is the limit of one comparison.
    percent: "strict" (50% is 0.5 and not 50) or "either".
    sessions: comparisons that run at the same time; more than the pool has workers gain nothing.
    counts: how many pairs got each grade.
    """

    def __init__(self, pool: Pool, percent: Percent = "strict", *, sessions: int = 2):
        if percent not in get_args(Percent):
            raise UserError(f"percent is {percent!r}; it can be 'strict' or 'either'")
        self.pool = pool
        self.percent: Percent = percent
        self.sessions = sessions
        self.counts: Counter[Grade] = Counter()
        self._lock = threading.Lock()
        self._waiting: deque[_Comparison] = deque()
        self._idle: list[_OpenSession] = []
        self._busy = 0
        self._deaths = 0

    def grade(self, gold: str, answer: str | None) -> Graded:
        """Compares `answer` with `gold` and waits; None, no answer at all, is "unparsed"."""
        return self.submit(gold, answer).result()

    def submit(self, gold: str, answer: str | None) -> Future[Graded]:
        """Starts a comparison. The future fails only if the pool itself does."""
        future: Future[Graded] = Future()
        future.set_running_or_notify_cancel()  # what others wait behind cannot be taken back
        verdict, left, right = by_spelling(gold, answer or "", self.percent)
        if verdict is not None:
            self._settle(future, verdict)
        else:
            with self._lock:
                self._waiting.append(_Comparison(_COMPARE.format(left, right, self.percent), future))
            self._start()
        return future

    def _settle(self, future: Future[Graded], graded: Graded) -> None:
        with self._lock:
            self.counts[graded.grade] += 1
        future.set_result(graded)

    def _start(self) -> None:
        """Gives waiting comparisons to sessions that are free, one each."""
        while True:
            with self._lock:
                if not self._waiting or (not self._idle and self._busy >= self.sessions):
                    return
                comparison = self._waiting.popleft()
                self._busy += 1
                opened = self._idle.pop() if self._idle else None
            try:
                opened = opened or _OpenSession(self.pool.session(), self._deaths)
                running = opened.session.submit(comparison.code)
            except (RuntimeError, UserError) as error:  # the pool was closed, or has failed
                with self._lock:
                    self._busy -= 1
                comparison.future.set_exception(error)
                continue
            running.add_done_callback(partial(self._finish, opened, comparison.future))

    def _finish(self, opened: _OpenSession, future: Future[Graded], running: Future[Outcome]) -> None:
        error = running.exception()
        opened.used += 1
        with self._lock:
            self._busy -= 1
            if error is not None or running.result().kind not in ("ok", "error"):
                # Its program may have taken other sessions with it. A session that has lost its
                # program runs all of its past again, and none here has a past worth that.
                self._deaths += 1
                left, self._idle = [opened, *self._idle], []
            elif opened.used == SESSION_LENGTH or opened.deaths != self._deaths:
                left = [opened]
            else:
                left = []
                self._idle.append(opened)
        for old in left:
            old.session.close()
        self._start()
        if error is not None:
            future.set_exception(error)
        else:
            self._settle(future, _graded(running.result()))


def _graded(outcome: Outcome) -> Graded:
    if outcome.kind == "timeout":
        return Graded("timeout")
    if outcome.kind == "died":
        return Graded("error", "the program of the comparison died")
    if outcome.kind in ("memory", "sandbox"):
        return Graded("error", "the machine lacked memory or processes")
    word, _, reason = outcome.text.partition(" ")
    for grade in get_args(Grade):
        if outcome.kind == "ok" and grade == word:
            return Graded(grade, reason)
    return Graded("error", outcome.text[:200])
