"""A pool of worker programs and the sessions that run in them.

A session is a namespace that persists from snippet to snippet and that no other session sees: one
per vote, as the training data was made. It is defined by its history, the snippets that it has
finished; the namespace in a worker is only a cache of it and can be rebuilt there by running the
history again. So a worker may be killed at any moment, and with `memoize` a session comes to life
only when its history leads somewhere new.

Covered: endless loops (in C too), exits, crashes, endless output, memory, processes, signals, and
files opened for writing; none of them reaches the engine or another session's text.
Not covered yet: hostile code. A snippet can read files, walk around the refusals by ctypes, forge
its own reply, patch modules that the other sessions of its worker share, and leave a thread behind
(the kernel refuses threads to plain users, not to root). A snippet stopped softly at its time limit
leaves the names it had bound (as in the reference); they are lost if its worker is rebuilt.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType

from jprm.execute.memo import Memo, Node
from jprm.execute.outcome import FINISHED, NOT_REBUILT, Outcome
from jprm.execute.process import Limits, Process, Reply


@dataclass(slots=True)
class Stats:
    """Counts since the pool was opened."""

    snippets: int = 0  # answered, however
    memo_hits: int = 0  # of these, without running anything
    errors: int = 0
    timeouts: int = 0
    died: int = 0
    replayed: int = 0  # finished snippets run again to rebuild a session
    restarts: int = 0  # workers killed and started anew


@dataclass(slots=True)
class _Job:
    session: Session
    code: str
    future: Future[Outcome]


class Session:
    """A persistent namespace; snippets of one session run in the order of submission."""

    def __init__(self, pool: Pool, identity: int, history: list[str], node: Node | None):
        self._pool = pool
        self._identity = identity
        self._history = history
        self._node = node  # None: not memoised (switched off, or a soft time-out left its traces)
        self._worker: _Worker | None = None
        self._waiting = 0

    def submit(self, code: str) -> Future[Outcome]:
        """Queue a snippet. The future fails only if the pool itself does, never by the code."""
        return self._pool._submit(self, code)

    def run(self, code: str) -> Outcome:
        """Run a snippet and wait for its outcome."""
        return self.submit(code).result()

    def fork(self) -> Session:
        """A new session with the same finished history and, from here on, a life of its own."""
        assert self._waiting == 0, "fork a session only when its snippets are done"
        return self._pool._open(list(self._history), self._node)

    def close(self) -> None:
        """Let the worker forget the namespace."""
        if self._worker is not None:
            self._worker.closed.put(self._identity)


class _Worker(threading.Thread):
    """The thread that owns one worker program and talks to it, one snippet at a time."""

    def __init__(self, pool: Pool, name: str):
        super().__init__(name=name, daemon=True)
        self.pool = pool
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.closed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.load = 0  # snippets queued or running; guarded by the pool's lock
        self.process: Process | None = None

    def run(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # met again, and told, with a snippet
            self._program()
        while (job := self.jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                self.pool._drop(job)
                continue
            try:
                outcome = self.pool._recall(job) or self._execute(self._program(), job)
            except Exception as error:  # a fault of the pool: the waiting caller must hear of it
                self.pool._drop(job)
                job.future.set_exception(error)
            else:
                job.future.set_result(outcome)
        if self.process is not None:
            self.process.kill()

    def _program(self) -> Process:
        if self.pool.closing:
            raise RuntimeError("the pool was closed")
        if self.process is None:
            self.process = Process(self.pool.limits, self.pool.preload)
        return self.process

    def _execute(self, process: Process, job: _Job) -> Outcome:
        started = time.perf_counter()
        reply = self._ask(process, job.session, job.code)
        if reply.memory and len(process.applied) > 1:
            # The worker's memory is shared: only alone in a fresh one is the session to blame.
            process.restart()
            reply = self._ask(process, job.session, job.code)
        self._program()  # a death at the closing of the pool is not the snippet's
        if reply.kind in FINISHED:
            process.applied[job.session._identity] = len(job.session._history) + 1
        outcome = Outcome(reply.kind, reply.text, time.perf_counter() - started)
        self.pool._finish(job, outcome)
        return outcome

    def _ask(self, process: Process, session: Session, code: str) -> Reply:
        """Bring the program's copy of the session up to date, then run `code` in it."""
        identity, history = session._identity, session._history
        for seed in range(process.applied.setdefault(identity, 0), len(history)):
            reply = process.ask(identity, history[seed], seed, self._forgotten(process))
            if reply.kind not in FINISHED:
                return Reply("died", NOT_REBUILT)
            if reply.memory and len(process.applied) > 1:
                return reply
            process.applied[identity] = seed + 1
            self.pool._replayed()
        return process.ask(identity, code, len(history), self._forgotten(process))

    def _forgotten(self, process: Process) -> list[int]:
        forgotten = []
        while not self.closed.empty():
            forgotten.append(self.closed.get())
            process.applied.pop(forgotten[-1], None)
        return forgotten


class Pool:
    """Worker programs behind threads; a context manager.

    workers: programs that run at the same time.
    timeout_s: wall-clock limit of a snippet; at `timeout_s + grace_s` its program is killed.
    memory_bytes: address space of a worker, shared by its sessions.
    output_chars: longest text handed back; longer ones end with a mark.
    memoize: answer a snippet from the outcome of an identical history (see `memo`).
    preload: modules that each worker imports before its first snippet; off the snippets' clock.
    """

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        grace_s: float = 1.0,
        memory_bytes: int = 1 << 30,
        output_chars: int = 16_384,
        memoize: bool = False,
        memo_capacity: int = 1_000_000,
        preload: Sequence[str] = (),
    ):
        self.limits = Limits(timeout_s, grace_s, memory_bytes, output_chars)
        self.preload = tuple(preload)
        self.closing = False
        self._memo = Memo(memo_capacity) if memoize else None
        self._stats = Stats()
        self._lock = threading.Lock()
        self._identities = itertools.count()
        self._workers = [_Worker(self, f"execute-{index}") for index in range(workers)]
        for worker in self._workers:
            worker.start()

    def session(self) -> Session:
        """Open an empty session."""
        return self._open([], self._memo.root if self._memo else None)

    @property
    def stats(self) -> Stats:
        """A copy of the counts so far."""
        processes = [worker.process for worker in self._workers]
        with self._lock:
            return replace(self._stats, restarts=sum(p.restarts for p in processes if p))

    @property
    def confined_by(self) -> tuple[str, ...]:
        """Names of the resource limits that hold in the workers (empty before the first use)."""
        processes = [worker.process for worker in self._workers]
        return max((process.confined_by for process in processes if process), key=len, default=())

    def close(self) -> None:
        """Kill the workers; snippets still waiting fail with RuntimeError."""
        self.closing = True
        for worker in self._workers:
            worker.jobs.put(None)
            if worker.process is not None:
                worker.process.signal_death()
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    # What sessions and workers share; everything below holds the lock while it changes anything.

    def _open(self, history: list[str], node: Node | None) -> Session:
        return Session(self, next(self._identities), history, node)

    def _submit(self, session: Session, code: str) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        with self._lock:
            if self.closing:
                raise RuntimeError("the pool is closed")
            outcome = self._known(session, code) if session._waiting == 0 else None
            if outcome is None:
                if session._worker is None:
                    session._worker = min(self._workers, key=lambda worker: worker.load)
                session._waiting += 1
                session._worker.load += 1
                session._worker.jobs.put(_Job(session, code, future))
        if outcome is not None:
            future.set_result(outcome)
        return future

    def _known(self, session: Session, code: str) -> Outcome | None:
        node = session._node.following.get(code) if session._node else None
        if node is None:
            return None
        session._node = node
        session._history.append(code)
        self._stats.memo_hits += 1
        assert node.outcome is not None
        self._tally(node.outcome)
        return node.outcome

    def _recall(self, job: _Job) -> Outcome | None:
        """Look again when a queued snippet's turn has come: an equal session may have been here."""
        with self._lock:
            outcome = self._known(job.session, job.code)
            if outcome is not None:
                self._leave(job)
            return outcome

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        session = job.session
        with self._lock:
            self._leave(job)
            self._tally(outcome)
            if outcome.kind in FINISHED:
                if session._node and self._memo:
                    session._node = self._memo.remember(session._node, job.code, outcome)
                session._history.append(job.code)
            elif outcome.kind == "timeout":
                session._node = None  # the names it bound are in no history

    def _drop(self, job: _Job) -> None:
        with self._lock:
            self._leave(job)

    def _leave(self, job: _Job) -> None:
        job.session._waiting -= 1
        assert job.session._worker is not None
        job.session._worker.load -= 1

    def _tally(self, outcome: Outcome) -> None:
        self._stats.snippets += 1
        self._stats.errors += outcome.kind == "error"
        self._stats.timeouts += outcome.kind == "timeout"
        self._stats.died += outcome.kind == "died"

    def _replayed(self) -> None:
        with self._lock:
            self._stats.replayed += 1
