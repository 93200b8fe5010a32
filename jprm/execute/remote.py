"""What the remote places share: threads that carry snippets away, and sessions that wait in line.

A session here is a history; where it runs, it is whatever the place makes of that. One snippet of a
session is under way at a time, whatever the number of threads.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass

from jprm.execute.ledger import Job, Track
from jprm.execute.outcome import Outcome, OutcomeKind
from jprm.execute.place import Place


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a snippet's kind and text, and how many others were run again for it.

    left_traces: the namespace now holds what no history tells.
    """

    kind: OutcomeKind
    text: str
    replayed: int = 0
    left_traces: bool = False


class RemotePool(Place):
    """A pool of `threads` threads, each of which carries one snippet at a time; see `place.Place`.

    A subclass says in `_ask` how a snippet is run. Its constructor calls this one before that.
    """

    def __init__(self, threads: int, memoize: bool, memo_capacity: int):
        super().__init__(memoize, memo_capacity)
        self._lock = threading.Lock()
        self._unanswered: set[Job] = set()
        self._ready: queue.SimpleQueue[Track | None] = queue.SimpleQueue()
        # Daemons: a request under way must not keep an interrupted program from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"execute-{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def _ask(self, track: Track, code: str) -> Reply:
        """Run `code` after the session's history. Raises UserError where the place fails."""

    def _forget(self, track: Track) -> None:
        """A place may have nothing to forget."""

    def close(self) -> None:
        """Stop at once; snippets still waiting or under way fail with RuntimeError."""
        with self._lock:
            self.closed = True
            unanswered = list(self._unanswered)
            self._unanswered.clear()
        for _ in self._threads:
            self._ready.put(None)
        for job in unanswered:
            if job.future.running() or job.future.set_running_or_notify_cancel():
                job.future.set_exception(RuntimeError("the pool was closed"))

    def _submit(self, track: Track, code: str) -> Future[Outcome]:
        job = Job(track, code, Future())
        with self._lock:
            if self.closed:
                raise RuntimeError("the pool is closed")
            outcome = None if track.pending else self._ledger.recall(track, code)
            if outcome is None:
                self._unanswered.add(job)
                track.jobs.append(job)
                track.pending += 1
                if track.pending == 1:
                    self._ready.put(track)
        if outcome is not None:
            job.future.set_result(outcome)
        return job.future

    def _work(self) -> None:
        while (track := self._ready.get()) is not None and not self.closed:
            job = track.jobs.popleft()
            with self._lock:
                wanted = job in self._unanswered and job.future.set_running_or_notify_cancel()
                if not wanted:
                    self._unanswered.discard(job)
            answer = self._answer(job) if wanted else None
            with self._lock:
                track.pending -= 1
                if track.pending:
                    self._ready.put(track)
                told = job not in self._unanswered  # cancelled, or `close` has answered
                self._unanswered.discard(job)
            if told or answer is None:
                continue
            if isinstance(answer, Outcome):
                job.future.set_result(answer)
            else:
                job.future.set_exception(answer)

    def _answer(self, job: Job) -> Outcome | Exception:
        """Run a session's next snippet, unless an equal session has been here meanwhile."""
        self._ledger.begin(job)
        if (known := self._ledger.recall(job.track, job.code)) is not None:
            return known
        try:
            reply = self._ask(job.track, job.code)
        except Exception as error:  # the waiting caller must hear of it
            return error
        outcome = Outcome(reply.kind, reply.text, time.monotonic() - job.begun_at_s)
        self._ledger.count(replayed=reply.replayed)
        self._ledger.finish(job, outcome, left_traces=reply.left_traces)
        return outcome
