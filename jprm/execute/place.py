"""Where snippets run: on this machine, on the nodes of a Ray cluster, or behind a SandboxFusion URL.

A place hands out sessions; a session is a persistent namespace, defined by the snippets that it has
finished. Code that runs snippets knows these two alone.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

from jprm.errors import UserError
from jprm.execute.outcome import Outcome, OutcomeKind
from jprm.execute.sessions import PoolStats, SessionRecord, Sessions, Snippet


class PoolFailure(UserError):
    """The place that runs code has failed, and the code that it ran is not the reason."""

    def __init__(self, reason: str):
        super().__init__(f"the pool that runs generated code has failed: {reason}")


class Session:
    """A persistent namespace; snippets of one session run in the order of submission."""

    def __init__(self, place: CodePlace, record: SessionRecord):
        self._place = place
        self._record = record

    def submit(self, code: str) -> Future[Outcome]:
        """Queues a snippet; waits while the place's queue is full.

        The future fails only if the place itself does, never by the code. Cancelling it before its
        turn takes the snippet out of the session. Raises RuntimeError if the place is closed,
        PoolFailure if it has failed or belongs to another process.
        """
        self._place._check_owner()
        return self._place._submit(self._record, code + self._place.options)

    def run(self, code: str) -> Outcome:
        """Runs a snippet and waits for its outcome."""
        return self.submit(code).result()

    def fork(self) -> Session:
        """Returns a new session with the same finished history and, from here on, a life of its own."""
        self._place._check_owner()
        assert not self._record.pending, "fork a session only when its snippets are done"
        return Session(self._place, self._place._sessions.open(self._record))

    def close(self) -> None:
        """Gives the namespace up once the queued snippets are done."""
        if self._place.is_own:
            self._place._forget(self._record)

    def __del__(self) -> None:
        if not self._place.closed:
            self.close()


class CodePlace(ABC):
    """Hands out sessions until it is closed; a context manager.

    memoize: answer a snippet from the outcome of an identical history (see `sessions`).
    closed: whether it takes no more snippets. options: a last line for every snippet (see `runner`).
    """

    options = ""

    def __init__(self, memoize: bool, memo_capacity: int, queue_limit: float = float("inf")):
        self.closed = False
        self._owner = os.getpid()
        self._sessions = Sessions(memo_capacity if memoize else 0)
        self._unanswered: set[Snippet] = set()
        self._queue_limit = queue_limit
        self._room = threading.Condition(self._sessions.lock)
        self._failure: PoolFailure | None = None

    @property
    @abstractmethod
    def description(self) -> str:
        """Says where code runs and what keeps it from doing harm, for the record of a run."""

    @abstractmethod
    def close(self) -> None:
        """Ends whatever still runs; snippets still waiting fail with RuntimeError."""

    @abstractmethod
    def _begin(self, record: SessionRecord) -> None:
        """Takes a session into the queue whose first snippet may run now; the lock is held."""

    @abstractmethod
    def _forget(self, record: SessionRecord) -> None:
        """Takes note that nobody wants the session any more, once what it has queued is done."""

    def _may_wait(self) -> bool:
        """Whether this thread may wait for room in the queue; the one that makes room may not."""
        return True

    def session(self) -> Session:
        """Opens an empty session. Raises PoolFailure in a process that was forked from the owner."""
        self._check_owner()
        return Session(self, self._sessions.open())

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
    def stats(self) -> PoolStats:
        """A copy of the counts and times so far."""
        return self._sessions.stats()

    def _submit(self, record: SessionRecord, code: str) -> Future[Outcome]:
        """Answers a snippet from the memo or queues it. Raises as `Session.submit` says."""
        snippet = Snippet(record, code)
        with self._room:
            known = None if self.closed or record.pending else self._sessions.recall(record, code)
            if known is None:
                while len(self._unanswered) >= self._queue_limit and not self.closed and self._may_wait():
                    self._room.wait()
                if self._failure is not None:
                    raise self._failure
                if self.closed:
                    raise RuntimeError("the pool is closed")
                self._unanswered.add(snippet)
                record.waiting.append(snippet)
                record.pending += 1
                if record.pending == 1:
                    self._begin(record)
        if known is not None:
            snippet.future.set_result(known)
        return snippet.future

    def _answer(self, snippet: Snippet, outcome: Outcome | Exception | None) -> None:
        """Tells the outcome of a snippet that has had its turn; None if it was cancelled before."""
        with self._room:
            told = snippet not in self._unanswered  # `_give_up` was faster
            self._unanswered.discard(snippet)
            snippet.record.pending -= 1
            if snippet.record.pending:
                self._begin(snippet.record)
            self._room.notify()
        if told or outcome is None:
            return
        if isinstance(outcome, Outcome):
            snippet.future.set_result(outcome)
        else:
            snippet.future.set_exception(outcome)

    def _give_up(self, why: Exception) -> None:
        """Takes no more snippets, and tells everybody who waits for one why."""
        with self._room:
            if isinstance(why, PoolFailure) and not self.closed:
                self._failure = why
            self.closed = True
            unanswered = list(self._unanswered)
            self._unanswered.clear()
            self._room.notify_all()
        for snippet in unanswered:
            if snippet.future.running() or snippet.future.set_running_or_notify_cancel():
                snippet.future.set_exception(why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from a remote place.

    replayed: how many other snippets were run again for this one.
    left_traces: whether the namespace now holds what no history tells.
    """

    kind: OutcomeKind
    text: str
    replayed: int = 0
    left_traces: bool = False


class RemotePool(CodePlace):
    """A place with threads that carry snippets away, each of them one at a time.

    One snippet of a session is under way at a time, whatever the number of threads. A subclass says in
    `_ask` how a snippet is run; its constructor calls this one when it is ready to.
    """

    def __init__(self, threads: int, memoize: bool, memo_capacity: int):
        super().__init__(memoize, memo_capacity)
        self._ready: queue.SimpleQueue[SessionRecord | None] = queue.SimpleQueue()
        # Daemons: a request under way must not keep an interrupted program from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"execute-{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def _ask(self, record: SessionRecord, code: str) -> Reply:
        """Runs `code` after the session's history. Raises UserError where the place fails."""

    def _begin(self, record: SessionRecord) -> None:
        self._ready.put(record)

    def _forget(self, record: SessionRecord) -> None:
        """A place may have nothing to forget."""

    def close(self) -> None:
        """Stops at once; snippets still waiting or under way fail with RuntimeError."""
        self._give_up(RuntimeError("the pool was closed"))
        for _ in self._threads:
            self._ready.put(None)

    def _work(self) -> None:
        while (record := self._ready.get()) is not None and not self.closed:
            snippet = record.waiting.popleft()
            with self._room:
                wanted = snippet in self._unanswered and snippet.future.set_running_or_notify_cancel()
            self._answer(snippet, self._run(snippet) if wanted else None)

    def _run(self, snippet: Snippet) -> Outcome | Exception:
        """Runs a session's next snippet, unless an equal session has been here meanwhile."""
        self._sessions.begin(snippet)
        if (known := self._sessions.recall(snippet.record, snippet.code)) is not None:
            return known
        try:
            reply = self._ask(snippet.record, snippet.code)
        except Exception as error:  # the waiting caller must hear of it
            return error
        outcome = Outcome(reply.kind, reply.text, time.monotonic() - snippet.begun_at_s)
        self._sessions.count(replayed=reply.replayed)
        self._sessions.finish(snippet, outcome, left_traces=reply.left_traces)
        return outcome
