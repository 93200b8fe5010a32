"""The one thread that owns every process: forks, asks, keeps the time, kills, rebuilds.

Snippets wait in two places: in their session, whose order they keep, and their session in `_turns`
until one of the `workers` places is free. A session in a place goes through `_advance` until its
snippet has an outcome: a process is forked, the history is run again in it as far as it is missing,
then the snippet runs.

Invariant: whatever a process or a fork server does, every snippet gets exactly one outcome, or its
future fails because the pool itself did.
"""

from __future__ import annotations

import functools
import itertools
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from jprm.execute.fleet import Fleet
from jprm.execute.fork_server import Confinement, ForkServer, Limits, ServerStartError
from jprm.execute.handle import Handle
from jprm.execute.ledger import Job, Ledger, Track
from jprm.execute.outcome import DIED, FINISHED, NOT_REBUILT, TIMED_OUT, Outcome, OutcomeKind
from jprm.execute.process import Forgery, SessionProcess
from jprm.execute.tiers import Tier, tier_of

SERVER_LOSSES_PER_SNIPPET = 3  # then it is the snippet that is to blame
FORK_LIMIT_S = 60.0  # after which a fork server that has not forked counts as lost
BURIAL_LIMIT_S = 10.0  # and one that has reported no death


class Dispatcher(threading.Thread):
    """Runs the snippets of all sessions; see `Pool` for the meaning of the arguments."""

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        confinement: Confinement,
        preload: tuple[str, ...],
        workers: int,
        live_sessions: int,
        warm: tuple[Tier, ...],
        done: Callable[[Job, Outcome | Exception | None], None],
    ):
        super().__init__(name="execute", daemon=True)
        self.ledger = ledger
        self.limits = limits
        self.workers = workers
        self.live_sessions = live_sessions
        self.warm = warm
        self.done = done
        self.stopping = False
        self._inbox: deque[Track] = deque()
        self._turns: OrderedDict[int, Track] = OrderedDict()  # by session
        self._places: dict[int, Job] = {}  # by session
        self._processes: dict[int, SessionProcess] = {}  # by session
        self._forked: dict[int, SessionProcess] = {}  # the same by number, which no other ever has
        self._numbers = itertools.count(1)
        self._idle: OrderedDict[int, None] = OrderedDict()  # sessions whose process rests
        self._last_tiers: deque[Tier] = deque(maxlen=33)
        self._selector = selectors.DefaultSelector()
        self.fleet = Fleet(self._selector, self, limits, confinement, preload)
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
        handles = [process.handle for process in list(self._processes.values())]
        return [handle.process_id for handle in handles if handle is not None]

    # The thread.

    def run(self) -> None:
        """Until the pool is closed."""
        try:
            for tier in self.warm:
                self.fleet.server(tier)
            while not self.stopping:
                while self._inbox:
                    self._admit(self._inbox.popleft())
                while self._turns and len(self._places) < self.workers:
                    self._begin(self._turns.popitem(last=False)[1])
                self._keep_time()
                for key, events in self._selector.select(self._patience_s()):
                    key.data(events)
        finally:
            self._end()

    def _drain(self, _: int) -> None:
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _admit(self, track: Track) -> None:
        if track.identity in self._places:
            return  # it comes here again with its outcome
        if track.jobs:
            self._turns.setdefault(track.identity, track)
        elif track.closed:
            self._end_process(track.identity)

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
            self._places[track.identity] = job
            self._idle.pop(track.identity, None)
            self._advance(job)
            return
        if track.closed:
            self._end_process(track.identity)

    def _advance(self, job: Job) -> None:
        """The next thing to do for a snippet that has a place."""
        track = job.track
        track.tier = max(track.tier, tier_of(job.code))
        if track.identity not in self._processes:
            track.tier = max(track.tier, self._usual_tier())
        process = self._processes.get(track.identity)
        if process is not None and (process.server.tier < track.tier or process.is_lost()):
            self._end_process(track.identity)
            process = None
        if process is None:
            self._fork(track)
        elif process.ready:
            replaying = process.applied < len(track.history)
            code = track.history[process.applied] if replaying else job.code
            process.ask(code, self.limits.timeout_s)
            self._watch(process)

    def _fork(self, track: Track) -> None:
        server = self.fleet.server(track.tier)
        if not server.ready:
            return  # its report brings every waiting session here again
        while len(self._processes) >= self.live_sessions and self._idle:
            self._end_process(next(iter(self._idle)))
            self.ledger.count(evicted=1)
        try:
            process = SessionProcess(
                next(self._numbers), track.identity, server, self.limits.output_chars
            )
        except OSError:
            return  # the server is gone, which its control socket is about to tell
        process.deadline_s = time.monotonic() + FORK_LIMIT_S
        self._processes[track.identity] = self._forked[process.number] = process
        self.ledger.count(forks=1)
        self._selector.register(
            process.channel, selectors.EVENT_READ, functools.partial(self._hear, process)
        )

    def _usual_tier(self) -> Tier:
        """Where most sessions of late have ended: to begin there saves them the move."""
        tiers = sorted(self._last_tiers)
        return tiers[len(tiers) // 2] if tiers else Tier.PLAIN

    def _watch(self, process: SessionProcess) -> None:
        """Wait for what the process writes, and for room if a long snippet is still to be sent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.outgoing else 0)
        key = self._selector.get_key(process.channel)
        if key.events != events:
            self._selector.modify(process.channel, events, key.data)

    def _hear(self, process: SessionProcess, events: int) -> None:
        if process.ending or self._processes.get(process.identity) is not process:
            return  # ended by an earlier event of the same round
        if events & selectors.EVENT_WRITE:
            process.flush()
            self._watch(process)
        if not events & selectors.EVENT_READ:
            return
        was_alive = process.alive
        try:
            reply = process.hear()
        except (EOFError, Forgery):
            if process.identity in self._places:
                self._await_burial(process)
            else:
                self._end_process(process.identity)  # rebuilt when it is needed
            return
        except OSError as error:
            self._refuse(process, error)
            return
        job = self._places.get(process.identity)
        if job is None:
            return
        if reply is not None:
            self._answer(process, job, *reply)
        elif process.alive and not was_alive:
            process.deadline_s = float("inf")
            self._advance(job)

    def _answer(self, process: SessionProcess, job: Job, kind: OutcomeKind, text: str) -> None:
        elapsed_s = time.monotonic() - process.asked_at_s
        if process.applied < len(job.track.history):
            if kind in FINISHED:
                process.applied += 1
                self.ledger.count(replayed=1)
                self._advance(job)
            else:
                self._end_process(process.identity)
                self._resolve(job, Outcome("died", NOT_REBUILT, elapsed_s))
            return
        process.applied += kind in FINISHED
        self._idle[process.identity] = None
        self._resolve(job, Outcome(kind, text, elapsed_s), left_traces=kind == "timeout")
        process.pause()

    def _resolve(self, job: Job, outcome: Outcome, *, left_traces: bool = False) -> None:
        del self._places[job.track.identity]
        self.ledger.finish(job, outcome, left_traces=left_traces)
        self.done(job, outcome)
        self._admit(job.track)

    def _await_burial(self, process: SessionProcess) -> None:
        """A channel has closed, or lies: whether its process died alone, the server will tell."""
        process.kill()
        process.ending = True
        process.deadline_s = time.monotonic() + BURIAL_LIMIT_S
        self._selector.unregister(process.channel)

    def _refuse(self, process: SessionProcess, error: OSError) -> None:
        """The jail could not be put on: nothing may run."""
        self._end_process(process.identity)
        job = self._places.pop(process.identity, None)
        if job is not None:
            self.done(job, RuntimeError(f"a session could not be confined: {error}"))
            self._admit(job.track)

    def _keep_time(self) -> None:
        now = time.monotonic()
        overdue = [p for p in self._processes.values() if p.deadline_s <= now]
        for process in overdue:
            if self._processes.get(process.identity) is not process:
                continue  # lost with its server a moment ago
            job = self._places.get(process.identity)
            if process.ending or not process.ready:
                self.fleet.lose(process.server)  # it neither forks nor buries any more
            elif not process.alarmed:
                process.alarm()
                process.deadline_s += self.limits.grace_s
            elif job is not None:
                replaying = process.applied < len(job.track.history)
                kind, text = ("died", NOT_REBUILT) if replaying else ("timeout", TIMED_OUT)
                self._end_process(process.identity)
                self._resolve(job, Outcome(kind, text, now - process.asked_at_s))
        self.fleet.give_up_overdue(now)

    def _patience_s(self) -> float | None:
        if self._inbox or (self._turns and len(self._places) < self.workers):
            return 0.0
        deadlines = self.fleet.deadlines
        for identity in self._places:
            if process := self._processes.get(identity):
                deadlines.append(process.deadline_s)
        nearest_s = min(deadlines, default=float("inf"))
        return None if nearest_s == float("inf") else max(0.0, nearest_s - time.monotonic())

    # What the fork servers tell.

    def server_ready(self) -> None:
        """Sessions may have waited for it."""
        for identity, job in list(self._places.items()):
            if identity not in self._processes:
                self._advance(job)

    def session_opened(self, number: int, handle: Handle) -> None:
        """From here on a process can be signalled."""
        process = self._forked.get(number)
        if process is None:
            handle.close()  # given up already: it ends at its closed channel
            return
        process.handle = handle
        if process.ready and (job := self._places.get(process.identity)):
            self._advance(job)

    def session_ended(self, number: int) -> None:
        """If nobody ordered it, the snippet has died; an answer may have preceded that."""
        process = self._forked.get(number)
        if process is None:
            return
        while self._processes.get(process.identity) is process and not process.ending:
            self._hear(process, selectors.EVENT_READ)
        self._end_process(process.identity)
        job = self._places.get(process.identity)
        if job is not None:
            replaying = process.applied < len(job.track.history)
            text = NOT_REBUILT if replaying else DIED
            self._resolve(job, Outcome("died", text, time.monotonic() - process.asked_at_s))

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """All its sessions are gone; they are rebuilt under a new server when they are needed."""
        for process in [p for p in self._processes.values() if p.server is server]:
            self._end_process(process.identity)
        self.ledger.count(restarts=1)
        for identity, job in list(self._places.items()):
            if identity in self._processes or job.track.tier != server.tier:
                continue
            job.attempts += server.ready
            if error is not None:
                del self._places[identity]
                self.done(job, error)
                self._admit(job.track)
            elif job.attempts >= SERVER_LOSSES_PER_SNIPPET:
                self._resolve(job, Outcome("died", DIED, time.monotonic() - job.begun_at_s))
            else:
                self._advance(job)

    # Ends.

    def _end_process(self, identity: int) -> None:
        process = self._processes.pop(identity, None)
        self._idle.pop(identity, None)
        if process is None:
            return
        del self._forked[process.number]
        if not process.ending:
            self._selector.unregister(process.channel)
        process.forget()
        self._last_tiers.append(process.server.tier)

    def _end(self) -> None:
        for identity in list(self._processes):
            self._end_process(identity)
        self.fleet.end()
        self._selector.close()
        self._woken.close()
        self._wake.close()
        closed = RuntimeError("the pool was closed")
        running = list(self._places.values())
        tracks = {*self._turns.values(), *self._inbox, *(job.track for job in running)}
        for job in running:
            self.done(job, closed)
        for job in (job for track in tracks for job in track.jobs):
            self.done(job, closed if job.future.set_running_or_notify_cancel() else None)
