"""Where snippets run: here, on the nodes of a Ray cluster, or behind a SandboxFusion URL.

A place hands out sessions; a session is a persistent namespace, defined by the snippets that it has
finished. Code that runs snippets knows these two alone.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from jprm.errors import UserError
from jprm.execute.ledger import Ledger, Memo, Stats, Track
from jprm.execute.outcome import Outcome


class PoolFailure(UserError):
    """The place that runs code has failed, and the code that it ran is not the reason."""

    def __init__(self, reason: str):
        super().__init__(f"the pool that runs generated code has failed: {reason}")


class Session:
    """A persistent namespace; snippets of one session run in the order of submission."""

    def __init__(self, place: Place, track: Track):
        self._place = place
        self._track = track

    def submit(self, code: str) -> Future[Outcome]:
        """Queue a snippet; waits while the place's queue is full.

        The future fails only if the place itself does, never by the code. Cancelling it before its
        turn takes the snippet out of the session. Raises RuntimeError if the place is closed,
        PoolFailure if it has failed or belongs to another process.
        """
        self._place._check_owner()
        return self._place._submit(self._track, code + self._place.options)

    def run(self, code: str) -> Outcome:
        """Run a snippet and wait for its outcome."""
        return self.submit(code).result()

    def fork(self) -> Session:
        """A new session with the same finished history and, from here on, a life of its own."""
        self._place._check_owner()
        assert not self._track.pending, "fork a session only when its snippets are done"
        return Session(self._place, self._place._ledger.open(self._track))

    def close(self) -> None:
        """Give the namespace up once the queued snippets are done."""
        if self._place.is_own:
            self._place._forget(self._track)

    def __del__(self) -> None:
        if not self._place.closed:
            self.close()


class Place(ABC):
    """Hands out sessions until it is closed; a context manager.

    memoize: answer a snippet from the outcome of an identical history (see `ledger`).
    closed: whether it takes no more snippets. options: a last line for every snippet (see `runner`).
    """

    options = ""

    def __init__(self, memoize: bool, memo_capacity: int):
        self.closed = False
        self._owner = os.getpid()
        self._ledger = Ledger(Memo(memo_capacity) if memoize else None)

    @property
    @abstractmethod
    def description(self) -> str:
        """Where code runs, and what keeps it from doing harm; for the record of a run."""

    @abstractmethod
    def close(self) -> None:
        """End whatever still runs; snippets still waiting fail with RuntimeError."""

    @abstractmethod
    def _submit(self, track: Track, code: str) -> Future[Outcome]:
        """Queue a snippet. Raises RuntimeError if the place is closed."""

    @abstractmethod
    def _forget(self, track: Track) -> None:
        """The session is wanted no more, once what it has queued is done."""

    def session(self) -> Session:
        """Open an empty session. Raises PoolFailure in a process that was forked from the owner."""
        self._check_owner()
        return Session(self, self._ledger.open())

    @property
    def is_own(self) -> bool:
        """Whether this is the process that opened the place, and not one forked from it."""
        return self._owner == os.getpid()

    def _check_owner(self) -> None:
        """Threads do not survive a fork, so nobody would answer here; a lock may be held for ever."""
        if not self.is_own:
            raise PoolFailure(
                f"it was opened by process {self._owner} and this is {os.getpid()}, which was "
                "forked from it; open a pool of its own after the fork"
            )

    @property
    def stats(self) -> Stats:
        """A copy of the counts and times so far."""
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
