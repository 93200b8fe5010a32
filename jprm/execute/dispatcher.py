"""The one thread that owns every process: forks, asks, keeps the time, kills, rebuilds.

Snippets wait in two places: in their session, whose order they keep, and their session in `_turns`
until one of the `workers` places is free. What happens in a place is told in `running`.

Invariant: whatever a process or a fork server does, every snippet gets exactly one outcome, or its
future fails because the pool itself did. Whatever ends the thread, all that wait are told.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from jprm.execute.ledger import Job, Ledger, Track
from jprm.execute.outcome import Outcome
from jprm.execute.place import PoolFailure
from jprm.execute.processes import Settings
from jprm.execute.resources import in_words
from jprm.execute.running import Running
from jprm.execute.tiers import Tier


class Dispatcher(threading.Thread):
    """Runs the snippets of all sessions; see `Pool` for the meaning of the arguments."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        warm: tuple[Tier, ...],
        done: Callable[[Job, Outcome | Exception | None], None],
        give_up: Callable[[Exception], None],
    ):
        super().__init__(name="execute", daemon=True)
        self.ledger = ledger
        self.workers = settings.workers
        self.warm = warm
        self.done = done
        self.give_up = give_up
        self.stopping = False
        self._inbox: deque[Track] = deque()
        self._turns: OrderedDict[int, Track] = OrderedDict()  # by session
        self._selector = selectors.DefaultSelector()
        self.running = Running(self._selector, ledger, settings, self._over)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drain)

    # For any thread.

    def look_at(self, track: Track) -> None:
        """A session has a new snippet, or was closed."""
        self._inbox.append(track)
        self.wake()

    def wake(self) -> None:
        """Make the thread look around."""
        try:
            self._wake.send(b"!")
        except OSError:
            pass  # full: it is awake already; or closed: nobody is there

    def process_ids(self) -> list[int]:
        """Of the live sessions, as this process sees them."""
        handles = [process.handle for process in self.running.processes.all()]
        return [handle.process_id for handle in handles if handle is not None]

    # The thread.

    def run(self) -> None:
        """Works until the pool is closed, or until something fails that was not foreseen."""
        try:
            self._work()
        except OSError as error:
            self._end(PoolFailure(in_words(error)))
        except BaseException as error:  # a fault of this program: told here, and shown in full
            self._end(PoolFailure(in_words(error)))
            raise
        else:
            self._end(RuntimeError("the pool was closed"))

    def _work(self) -> None:
        self.running.fleet.warm(self.warm)
        while not self.stopping:
            while self._inbox:
                self._admit(self._inbox.popleft())
            while self._turns and len(self.running) < self.workers:
                self._begin(self._turns.popitem(last=False)[1])
            self.running.keep_time()
            for key, events in self._selector.select(self._patience_s()):
                key.data(events)

    def _drain(self, _: int) -> None:
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _patience_s(self) -> float | None:
        if self._inbox or (self._turns and len(self.running) < self.workers):
            return 0.0
        nearest_s = min(self.running.deadlines, default=float("inf"))
        return None if nearest_s == float("inf") else max(0.0, nearest_s - time.monotonic())

    def _admit(self, track: Track) -> None:
        if track.identity in self.running:
            return  # it comes here again with its outcome
        if track.jobs:
            self._turns.setdefault(track.identity, track)
        elif track.closed:
            self.running.processes.end(track.identity)

    def _begin(self, track: Track) -> None:
        """Give a session a place for its next snippet, unless that needs none."""
        while track.jobs:
            job = track.jobs.popleft()
            if not job.future.set_running_or_notify_cancel():
                self.done(job, None)
                continue
            self.ledger.begin(job)
            if outcome := self.ledger.recall(track, job.code):
                self.done(job, outcome)
                continue
            self.running.begin(job)
            return
        if track.closed:
            self.running.processes.end(track.identity)

    def _over(self, job: Job, outcome: Outcome | Exception) -> None:
        """Takes the outcome of a snippet, whose place is free again."""
        self.done(job, outcome)
        self._admit(job.track)

    def _end(self, why: Exception) -> None:
        """Ends every process and answers every waiting future; a step that fails keeps back no other."""
        with contextlib.ExitStack() as steps:  # the last is done first
            for socket_or_selector in (self._wake, self._woken, self._selector):
                steps.callback(socket_or_selector.close)
            steps.callback(self.running.fleet.end, why)
            steps.callback(self.give_up, why)
            for process in self.running.processes.all():
                steps.callback(process.forget)
