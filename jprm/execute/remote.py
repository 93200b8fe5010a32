"""What the remote places share: threads that carry snippets away, and sessions that wait in line.

A session here is a history; where it runs, it is whatever the place makes of that. One snippet of a
session is under way at a time, whatever the number of threads.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from jprm.execute.memo import Memo, Node
from jprm.execute.outcome import FINISHED, Outcome, OutcomeKind
from jprm.execute.pool import Stats


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the kind and text of the snippet, and how many others were run again for it."""

    kind: OutcomeKind
    text: str
    replayed: int = 0


class RemoteSession:
    """A session of a remote place; see `place.PlaceSession`.

    identity: its number, unique within its pool.
    history: the snippets that it has finished.
    """

    def __init__(self, pool: RemotePool, identity: int, history: list[str], node: Node | None):
        self.identity = identity
        self.history = history
        self._pool = pool
        self._node = (
            node  # None: not memoised (switched off, or a time-out may have left its traces)
        )
        self._jobs: deque[tuple[str, Future[Outcome]]] = deque()

    def submit(self, code: str) -> Future[Outcome]:
        """Queue a snippet. The future fails only if the place does (UserError) or is closed."""
        return self._pool._submit(self, code)

    def run(self, code: str) -> Outcome:
        """Run a snippet and wait for its outcome."""
        return self.submit(code).result()

    def fork(self) -> RemoteSession:
        """A new session with the same finished history and, from here on, a life of its own."""
        assert not self._jobs, "fork a session only when its snippets are done"
        return self._pool._open(list(self.history), self._node)

    def close(self) -> None:
        """Let the place forget the namespace."""
        self._pool._forget(self)


class RemotePool(ABC):
    """A pool of `threads` threads, each of which carries one snippet at a time; see `place.Place`.

    A subclass says in `_ask` how a snippet is run. Its constructor calls this one first.
    """

    def __init__(self, threads: int, memoize: bool, memo_capacity: int):
        self._memo = Memo(memo_capacity) if memoize else None
        self._stats = Stats()
        self._identities = itertools.count()
        self._lock = threading.Lock()
        self._closing = False
        self._unanswered: set[Future[Outcome]] = set()
        # Daemons: a request under way must not keep an interrupted program from ending.
        self._ready: queue.SimpleQueue[RemoteSession | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"execute-{index}", daemon=True)
            for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def _ask(self, session: RemoteSession, code: str) -> Reply:
        """Run `code` after the session's history. Raises UserError where the place fails."""

    def _forget(self, session: RemoteSession) -> None:  # noqa: B027 - a place may keep nothing
        """The session was closed."""

    def session(self) -> RemoteSession:
        """Open an empty session."""
        return self._open([], self._memo.root if self._memo else None)

    @property
    def stats(self) -> Stats:
        """A copy of the counts so far."""
        with self._lock:
            return replace(self._stats)

    def close(self) -> None:
        """Stop at once; snippets still waiting or under way fail with RuntimeError."""
        with self._lock:
            self._closing = True
            unanswered = list(self._unanswered)
            self._unanswered.clear()
        for _ in self._threads:
            self._ready.put(None)
        for future in unanswered:
            if future.running() or future.set_running_or_notify_cancel():
                future.set_exception(RuntimeError("the pool was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, history: list[str], node: Node | None) -> RemoteSession:
        return RemoteSession(self, next(self._identities), history, node)

    def _submit(self, session: RemoteSession, code: str) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        with self._lock:
            if self._closing:
                raise RuntimeError("the pool is closed")
            outcome = None if session._jobs else self._known(session, code)
            if outcome is None:
                self._unanswered.add(future)
                session._jobs.append((code, future))
                if len(session._jobs) == 1:
                    self._ready.put(session)
        if outcome is not None:
            future.set_result(outcome)
        return future

    def _work(self) -> None:
        while (session := self._ready.get()) is not None and not self._closing:
            self._next(session)

    def _next(self, session: RemoteSession) -> None:
        """Run the session's first waiting snippet and stand it in line again for the rest."""
        code, future = session._jobs[0]
        outcome, failure = None, None
        with self._lock:
            wanted = future in self._unanswered and future.set_running_or_notify_cancel()
            if wanted:
                outcome = self._known(session, code)  # an equal session may have been here
            else:
                self._unanswered.discard(future)
        if wanted and outcome is None:
            started = time.perf_counter()
            try:
                reply = self._ask(session, code)
            except Exception as error:  # the waiting caller must hear of it
                failure = error
            else:
                outcome = Outcome(reply.kind, reply.text, time.perf_counter() - started)
                self._finish(session, code, outcome, reply.replayed)
        with self._lock:
            session._jobs.popleft()
            if session._jobs:
                self._ready.put(session)
            answer = future in self._unanswered  # or `close` has answered
            self._unanswered.discard(future)
        if answer and failure is not None:
            future.set_exception(failure)
        elif answer and outcome is not None:
            future.set_result(outcome)

    def _known(self, session: RemoteSession, code: str) -> Outcome | None:
        """The remembered outcome, which the session has then had; the lock is held."""
        node = session._node.following.get(code) if session._node else None
        if node is None or node.outcome is None:
            return None
        session._node = node
        session.history.append(code)
        self._stats.memo_hits += 1
        self._tally(node.outcome)
        return node.outcome

    def _finish(self, session: RemoteSession, code: str, outcome: Outcome, replayed: int) -> None:
        with self._lock:
            self._stats.replayed += replayed
            self._tally(outcome)
            if outcome.kind in FINISHED:
                if session._node and self._memo:
                    session._node = self._memo.remember(session._node, code, outcome)
                session.history.append(code)
            elif outcome.kind == "timeout":
                session._node = None  # the names it bound are in no history

    def _tally(self, outcome: Outcome) -> None:
        self._stats.snippets += 1
        self._stats.errors += outcome.kind == "error"
        self._stats.timeouts += outcome.kind == "timeout"
        self._stats.died += outcome.kind == "died"
