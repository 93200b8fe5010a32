"""What is known of every session: its finished snippets, those that wait, and the counts.

A session is defined by its history. The process that holds its namespace is only a cache of that,
which can be rebuilt by running the history again; so a process may be killed at any moment, and with
a memo it is started only when a history leads somewhere new.

The memo holds what identical histories led to: a tree whose edges are snippets and whose nodes are
outcomes. A session stands on a node; its path from the root is the list of the snippets that it has
finished. Looking a snippet up is one dictionary access, whatever the length of the history.
Assumption: a snippet's outcome is a function of its session's history. It holds for computation
(the worker seeds `random` and hashing); a program that reads the clock would repeat its first
answer. Time-outs and deaths depend on the machine's load and are never remembered.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field, fields, replace

from jprm.execute.outcome import FINISHED, Outcome
from jprm.execute.tiers import Tier


@dataclass(slots=True)
class Stats:
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

    def since(self, before: Stats) -> dict[str, float]:
        """What was added to an earlier copy, by name; the longest wait is that of all time."""
        gains = {f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)}
        return gains | {"longest_queue_s": self.longest_queue_s}


class Node:
    """One history: the outcome of its last snippet (None at the root) and what followed it."""

    __slots__ = ("following", "outcome")

    def __init__(self, outcome: Outcome | None = None):
        self.outcome = outcome
        self.following: dict[str, Node] = {}


class Memo:
    """A tree of at most `capacity` nodes; when full it forgets all and begins anew."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.size = 0
        self.root = Node()

    def remember(self, node: Node, code: str, outcome: Outcome) -> Node:
        """Return the node after `code`, made with `outcome` if no equal session was faster."""
        if code not in node.following:
            if self.size >= self.capacity:
                # Live sessions keep their own nodes, which are merely no longer found from here.
                self.root, self.size = Node(), 0
            node.following[code] = Node(outcome)
            self.size += 1
        return node.following[code]


@dataclass(slots=True, eq=False)
class Job:
    """A snippet that waits or runs."""

    track: Track
    code: str
    future: Future[Outcome]
    submitted_at_s: float = field(default_factory=time.monotonic)
    begun_at_s: float = 0.0
    attempts: int = 0  # how often its fork server was lost under it
    refusals: int = 0  # how often no process could be had
    ended: bool = False  # whether its process was ended for want of memory: it runs again, alone


@dataclass(slots=True, eq=False)
class Track:
    """The engine's record of one session.

    node: where its history stands in the memo; None when that no longer tells the namespace
        (no memo, or a snippet stopped at its time limit left names behind).
    losses: how often its own code has cost it its process.
    held_bytes: memory that its process held when it was last ended for want of memory.
    """

    identity: int
    history: list[str]
    node: Node | None
    tier: Tier = Tier.PLAIN
    jobs: deque[Job] = field(default_factory=deque)
    pending: int = 0  # snippets without an outcome yet
    closed: bool = False
    losses: int = 0
    held_bytes: int = 0


class Ledger:
    """Sessions, memo and counts behind one lock; every method may be called by any thread."""

    def __init__(self, memo: Memo | None):
        self.lock = threading.Lock()
        self._memo = memo
        self._stats = Stats()
        self._sessions = 0

    def open(self, parent: Track | None = None) -> Track:
        """A new session: empty, or with the finished history of another."""
        with self.lock:
            self._sessions += 1
            if parent is None:
                return Track(self._sessions, [], self._memo.root if self._memo else None)
            return Track(self._sessions, list(parent.history), parent.node, parent.tier)

    def stats(self) -> Stats:
        """A copy of the counts."""
        with self.lock:
            return replace(self._stats)

    def count(self, **more: int) -> None:
        """Add to the counts by name."""
        with self.lock:
            for name, number in more.items():
                setattr(self._stats, name, getattr(self._stats, name) + number)

    def recall(self, track: Track, code: str) -> Outcome | None:
        """The outcome of an identical history, if there was one; it becomes this one's too."""
        with self.lock:
            node = track.node.following.get(code) if track.node else None
            if node is None:
                return None
            assert node.outcome is not None
            track.node = node
            track.history.append(code)
            self._stats.memo_hits += 1
            self._tally(node.outcome)
            return node.outcome

    def begin(self, job: Job) -> None:
        """Its turn has come."""
        job.begun_at_s = time.monotonic()
        waited_s = job.begun_at_s - job.submitted_at_s
        with self.lock:
            self._stats.queue_s += waited_s
            self._stats.longest_queue_s = max(self._stats.longest_queue_s, waited_s)

    def finish(self, job: Job, outcome: Outcome, *, left_traces: bool = False) -> None:
        """Enter an outcome; left_traces: the namespace holds what no history tells."""
        track = job.track
        with self.lock:
            self._tally(outcome)
            self._stats.run_s += time.monotonic() - job.begun_at_s
            if outcome.kind in FINISHED:
                if track.node and self._memo:
                    track.node = self._memo.remember(track.node, job.code, outcome)
                track.history.append(job.code)
            elif left_traces:
                track.node = None

    def _tally(self, outcome: Outcome) -> None:
        self._stats.snippets += 1
        self._stats.errors += outcome.kind == "error"
        self._stats.timeouts += outcome.kind == "timeout"
        self._stats.died += outcome.kind == "died"
        self._stats.memory += outcome.kind == "memory"
        self._stats.sandbox += outcome.kind == "sandbox"
