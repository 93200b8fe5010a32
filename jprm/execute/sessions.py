"""What is known of every session: the snippets that it has finished, those that wait, and the counts.

A session is defined by its history. The process that holds its namespace is only a cache of that, which
can be rebuilt by running the history again; so a process may be killed at any moment, and with a memo
it is started only when a history leads somewhere new.

The memo holds what identical histories led to. It numbers the histories: 0 is the empty one, and one dictionary leads
from a number and the next snippet to the next number and the outcome, so that a look-up costs the same whatever the
length of the history. It assumes that a snippet's outcome is a function of its session's history. That holds for
computation (the worker seeds `random` and hashing); a program that reads the clock would repeat its first answer.
Time-outs and deaths depend on the machine's load and are never remembered.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, fields, replace

from jprm.execute.outcome import FINISHED, Outcome
from jprm.execute.preload import PreloadLevel


@dataclass(slots=True)
class PoolStats:
    """Counts and times since the pool was opened."""

    snippets: int = 0  # answered, however
    memo_hits: int = 0  # of these, without running anything
    errors: int = 0
    timeouts: int = 0
    died: int = 0
    memory: int = 0  # ended because all sessions together held too much
    sandbox: int = 0  # not run because no process could be had
    replayed: int = 0  # finished snippets run again to rebuild a namespace
    forks: int = 0  # session processes started
    evicted: int = 0  # idle ones ended to make room
    restarts: int = 0  # fork servers started anew after their loss
    queue_s: float = 0.0  # snippets waited for their turn, summed
    run_s: float = 0.0  # snippets ran, summed; rebuilding included
    longest_queue_s: float = 0.0

    def since(self, before: PoolStats) -> dict[str, float]:
        """Returns what was added to an earlier copy, by name; the longest wait is that of all time."""
        gains = {f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)}
        return gains | {"longest_queue_s": self.longest_queue_s}


@dataclass(slots=True, eq=False)
class Snippet:
    """A snippet that waits or runs."""

    record: SessionRecord
    code: str
    future: Future[Outcome] = field(default_factory=Future)
    submitted_at_s: float = field(default_factory=time.monotonic)
    begun_at_s: float = 0.0
    server_losses: int = 0  # how often its fork server was lost under it
    refusals: int = 0  # how often no process could be had
    ended: bool = False  # whether its process was ended for want of memory: it runs again, alone


@dataclass(slots=True, eq=False)
class SessionRecord:
    """What the engine knows of one session.

    memo_number: of its history; None when that no longer tells the namespace (there is no memo, or a
        snippet that was stopped at its time limit has left names behind).
    """

    identity: int
    history: list[str]
    memo_number: int | None
    level: PreloadLevel = PreloadLevel.PLAIN
    waiting: deque[Snippet] = field(default_factory=deque)
    pending: int = 0  # snippets without an outcome yet
    closed: bool = False
    losses: int = 0  # how often its own code has cost it its process
    held_bytes: int = 0  # by its process when that was last ended for want of memory


class Sessions:
    """Sessions, memo and counts behind one lock; any thread may call every method.

    memo_capacity: how many snippets the memo holds before it forgets all and begins anew; 0 for no memo.
    """

    def __init__(self, memo_capacity: int):
        self.lock = threading.RLock()
        self._stats = PoolStats()
        self._identities = itertools.count(1)
        self._memo: dict[tuple[int, str], tuple[int, Outcome]] = {}
        self._memo_numbers = itertools.count(1)
        self._memo_capacity = memo_capacity

    def open(self, parent: SessionRecord | None = None) -> SessionRecord:
        """Returns a new session: empty, or with the finished history of another."""
        with self.lock:
            identity = next(self._identities)
            if parent is None:
                return SessionRecord(identity, [], 0 if self._memo_capacity else None)
            return SessionRecord(identity, list(parent.history), parent.memo_number, parent.level)

    def stats(self) -> PoolStats:
        """Returns a copy of the counts."""
        with self.lock:
            return replace(self._stats)

    def count(self, **more: int) -> None:
        """Adds to the counts by name."""
        with self.lock:
            for name, number in more.items():
                setattr(self._stats, name, getattr(self._stats, name) + number)

    def recall(self, record: SessionRecord, code: str) -> Outcome | None:
        """Returns the outcome of an identical history, if there was one; it becomes this one's too."""
        with self.lock:
            known = None if record.memo_number is None else self._memo.get((record.memo_number, code))
            if known is None:
                return None
            record.memo_number, outcome = known
            record.history.append(code)
            self._stats.memo_hits += 1
            self._tally(outcome)
            return outcome

    def begin(self, snippet: Snippet) -> None:
        """Notes that a snippet's turn has come."""
        snippet.begun_at_s = time.monotonic()
        waited_s = snippet.begun_at_s - snippet.submitted_at_s
        with self.lock:
            self._stats.queue_s += waited_s
            self._stats.longest_queue_s = max(self._stats.longest_queue_s, waited_s)

    def finish(self, snippet: Snippet, outcome: Outcome, *, left_traces: bool = False) -> None:
        """Notes an outcome. left_traces: the namespace now holds what no history tells."""
        record = snippet.record
        with self.lock:
            self._tally(outcome)
            self._stats.run_s += time.monotonic() - snippet.begun_at_s
            if outcome.kind in FINISHED:
                if record.memo_number is not None:
                    edge = (record.memo_number, snippet.code)
                    if edge not in self._memo:  # else an equal session was faster, and its number stays
                        if len(self._memo) >= self._memo_capacity:
                            self._memo.clear()
                        self._memo[edge] = (next(self._memo_numbers), outcome)
                    record.memo_number = self._memo[edge][0]
                record.history.append(snippet.code)
            elif left_traces:
                record.memo_number = None

    def _tally(self, outcome: Outcome) -> None:
        self._stats.snippets += 1
        self._stats.errors += outcome.kind == "error"
        self._stats.timeouts += outcome.kind == "timeout"
        self._stats.died += outcome.kind == "died"
        self._stats.memory += outcome.kind == "memory"
        self._stats.sandbox += outcome.kind == "sandbox"
