"""The one thread that owns every process: forks, asks, keeps the time, kills, rebuilds.

Snippets wait in two places: in their session, whose order they keep, and their session in `_turns`
until one of the `workers` places is free. A session in a place goes through `_advance` until its
snippet has an outcome: a process is forked, the history is run again in it as far as it is missing,
then the snippet runs.

A place may have to wait: for memory, in the order in which its snippets came (`_hungry`), or for
descriptors and processes, with a limit (`_try_again`). Where memory runs out nevertheless, processes
at rest are ended, the largest first, and then the largest at work: its snippet runs again when there
is room for what it held.

Invariant: whatever a process or a fork server does, every snippet gets exactly one outcome, or its
future fails because the pool itself did. Whatever ends the thread, all that wait are told.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import selectors
import signal
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator

from jprm.execute.fleet import Fleet
from jprm.execute.fork_server import Confinement, ForkServer, Limits, ServerStartError
from jprm.execute.handle import Handle
from jprm.execute.ledger import Job, Ledger, Track
from jprm.execute.outcome import (
    DIED,
    FINISHED,
    NO_MEMORY,
    NOT_REBUILT,
    NOT_STARTED,
    TIMED_OUT,
    Outcome,
    OutcomeKind,
)
from jprm.execute.place import PoolFailure
from jprm.execute.process import Forgery, SessionProcess
from jprm.execute.resources import Budget, anonymous_bytes, in_words
from jprm.execute.tiers import Tier, tier_of

SERVER_LOSSES_PER_SNIPPET = 3  # then it is the snippet that is to blame
FORK_LIMIT_S = 60.0  # after which a fork server that has not forked counts as lost
BURIAL_LIMIT_S = 10.0  # and one that has reported no death
LAST_BREATH_S = 0.05  # from the end of a channel to that of its process, which tells its cause
RETRIES_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # where the machine lacks something
REBUILDING_TIMEOUTS = 4  # a history may take so many time limits to run again
REBUILDINGS = 16  # of a session whose own code keeps ending its process
MEMORY_TRIES = 3  # of a snippet that is ended for want of memory
LOOKS_S = (0.02, 0.25)  # between two looks at the memory: where it may run out, and where not
LITTLE_BYTES = 16 << 20  # to end a process at work that holds no more gains nothing


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
        budget: Budget,
        done: Callable[[Job, Outcome | Exception | None], None],
        give_up: Callable[[Exception], None],
    ):
        super().__init__(name="execute", daemon=True)
        self.ledger = ledger
        self.limits = limits
        self.workers = workers
        self.live_sessions = live_sessions
        self.warm = warm
        self.budget = budget
        self.done = done
        self.give_up = give_up
        self.stopping = False
        self._inbox: deque[Track] = deque()
        self._turns: OrderedDict[int, Track] = OrderedDict()  # by session
        self._places: dict[int, Job] = {}  # by session
        self._processes: dict[int, SessionProcess] = {}  # by session
        self._forked: dict[int, SessionProcess] = {}  # the same by number, which no other ever has
        self._numbers = itertools.count(1)
        self._idle: OrderedDict[int, Track] = OrderedDict()  # sessions whose process rests
        self._later: dict[int, float] = {}  # sessions in a place that try again, and when
        self._hungry: dict[int, None] = {}  # those that wait for memory, in order
        self._left_bytes = float("inf")  # for all sessions, as of the last look
        self._next_look_s = 0.0
        self._dying: dict[int, int] = {}  # memory of processes that were told to end, by number
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
        """Until the pool is closed, or until something fails that nobody has foreseen."""
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
        self.fleet.warm(self.warm)
        while not self.stopping:
            while self._inbox:
                self._admit(self._inbox.popleft())
            while self._turns and len(self._places) < self.workers:
                self._begin(self._turns.popitem(last=False)[1])
            self._keep_time()
            for key, events in self._selector.select(self._patience_s()):
                key.data(events)

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
            self._enter(job)
            return
        if track.closed:
            self._end_process(track.identity)

    def _enter(self, job: Job) -> None:
        """Go on with a snippet that has a place as soon as there is memory for it."""
        track = job.track
        rests = track.identity in self._processes
        needed_bytes = self.budget.spare_bytes + (0 if rests else track.held_bytes)
        if next(iter(self._hungry), track.identity) == track.identity:
            self._look()
            self._make_room(needed_bytes)
            # Alone it may run in any case: nobody could make room for it.
            if self._left_bytes >= needed_bytes or not self._at_work(but=track.identity):
                self._hungry.pop(track.identity, None)
                self._advance(job)
                return
        self._hungry[track.identity] = None
        self._later[track.identity] = time.monotonic() + LOOKS_S[0]

    def _advance(self, job: Job) -> None:
        """The next thing to do for a snippet that has a place."""
        track = job.track
        self._later.pop(track.identity, None)
        track.tier = max(track.tier, tier_of(job.code))
        if track.identity not in self._processes:
            track.tier = max(track.tier, self._usual_tier())
        process = self._processes.get(track.identity)
        if process is not None and (process.server.tier < track.tier or process.is_lost()):
            self._end_process(track.identity)
            process = None
        if process is None and track.history and track.losses > REBUILDINGS:
            self._resolve(job, Outcome("died", NOT_REBUILT, 0.0))
        elif process is None:
            self._fork(job)
        elif process.ready:
            self._ask(process, job)

    def _ask(self, process: SessionProcess, job: Job) -> None:
        limit_s, history = self.limits.timeout_s, job.track.history
        if process.applied == len(history):
            process.ask(job.code, limit_s)
        else:
            now = time.monotonic()
            process.rebuilding_since_s = process.rebuilding_since_s or now
            left_s = process.rebuilding_since_s + REBUILDING_TIMEOUTS * limit_s - now
            if left_s <= 0:
                self._not_rebuilt(process, job)
                return
            process.ask(history[process.applied], min(limit_s, left_s))
        self._watch(process)

    def _fork(self, job: Job) -> None:
        track = job.track
        try:
            server = self.fleet.server(track.tier)
            if not server.ready:
                return  # its report brings every waiting session here again
            while len(self._processes) >= self.live_sessions and self._idle:
                self._evict(next(iter(self._idle)))
            process = SessionProcess(
                next(self._numbers), track.identity, server, self.limits.output_chars
            )
        except ConnectionError:
            return  # the server is gone, which its control socket is about to tell
        except OSError as error:
            self._try_again(job, error)
            return
        try:
            hear = functools.partial(self._hear, process)
            self._selector.register(process.channel, selectors.EVENT_READ, hear)
        except OSError as error:
            process.forget()
            self._try_again(job, error)
            return
        process.deadline_s = time.monotonic() + FORK_LIMIT_S
        self._processes[track.identity] = self._forked[process.number] = process
        self.ledger.count(forks=1)

    def _try_again(self, job: Job, error: OSError) -> None:
        """No process could be had: at once if one at rest makes room, else a little later."""
        wait_s = 0.0
        if self._idle and error.errno != errno.EAGAIN:
            self._evict(next(iter(self._idle)))
        elif job.refusals < len(RETRIES_AFTER_S):
            wait_s = RETRIES_AFTER_S[job.refusals]
            job.refusals += 1
        else:
            elapsed_s = time.monotonic() - job.begun_at_s
            self._resolve(job, Outcome("sandbox", NOT_STARTED, elapsed_s))
            return
        self._later[job.track.identity] = time.monotonic() + wait_s

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
        except (EOFError, Forgery) as end:
            if process.identity in self._places:
                self._await_burial(process, kill=isinstance(end, Forgery))
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
                self._not_rebuilt(process, job)
            return
        process.applied += kind in FINISHED
        self._idle[process.identity] = job.track
        self._resolve(job, Outcome(kind, text, elapsed_s), left_traces=kind == "timeout")
        process.pause()

    def _not_rebuilt(self, process: SessionProcess, job: Job) -> None:
        self._end_process(process.identity)
        elapsed_s = time.monotonic() - job.begun_at_s
        self._resolve(job, Outcome("died", NOT_REBUILT, elapsed_s))

    def _resolve(self, job: Job, outcome: Outcome, *, left_traces: bool = False) -> None:
        identity = job.track.identity
        del self._places[identity]
        self._later.pop(identity, None)
        self._hungry.pop(identity, None)
        if outcome.kind in ("died", "timeout") and identity not in self._processes:
            job.track.losses += 1
        self.ledger.finish(job, outcome, left_traces=left_traces)
        self.done(job, outcome)
        self._admit(job.track)

    def _await_burial(self, process: SessionProcess, kill: bool) -> None:
        """A channel has closed, or lies: whether its process died alone, the server will tell."""
        if kill:
            process.kill()
        process.ending = True
        process.deadline_s = time.monotonic() + (BURIAL_LIMIT_S if kill else LAST_BREATH_S)
        self._selector.unregister(process.channel)

    def _refuse(self, process: SessionProcess, error: OSError) -> None:
        """The jail could not be put on: nothing may run."""
        self._end_process(process.identity)
        job = self._places.pop(process.identity, None)
        if job is not None:
            self.done(job, PoolFailure(f"a session could not be confined: {error}"))
            self._admit(job.track)

    def _keep_time(self) -> None:
        now = time.monotonic()
        overdue = [p for p in self._processes.values() if p.deadline_s <= now]
        for process in overdue:
            if self._processes.get(process.identity) is not process:
                continue  # lost with its server a moment ago
            job = self._places.get(process.identity)
            if process.ending and not process.killed:
                process.kill()
                process.deadline_s = now + BURIAL_LIMIT_S
            elif process.ending or not process.ready:
                self.fleet.lose(process.server)  # it neither forks nor buries any more
            elif not process.alarmed:
                process.alarm()
                process.deadline_s += self.limits.grace_s
            elif job is not None:
                if process.applied < len(job.track.history):
                    self._not_rebuilt(process, job)
                    continue
                self._end_process(process.identity)
                self._resolve(job, Outcome("timeout", TIMED_OUT, now - process.asked_at_s))
        self.fleet.give_up_overdue(now)
        if self._processes:
            self._look()
        for identity in [one for one, at_s in self._later.items() if at_s <= now]:
            if job := self._places.get(identity):
                self._enter(job)

    def _patience_s(self) -> float | None:
        if self._inbox or (self._turns and len(self._places) < self.workers):
            return 0.0
        deadlines = [*self.fleet.deadlines, *self._later.values()]
        if self._processes:
            deadlines.append(self._next_look_s)
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
                self._enter(job)

    def session_opened(self, number: int, handle: Handle) -> None:
        """From here on a process can be signalled."""
        process = self._forked.get(number)
        if process is None:
            handle.close()  # given up already: it ends at its closed channel
            return
        process.handle = handle
        if process.ready and (job := self._places.get(process.identity)):
            self._advance(job)

    def session_failed(self, number: int, error: OSError) -> None:
        """The machine lacks something that a process needs."""
        process = self._forked.get(number)
        if process is None:
            return
        self._end_process(process.identity)
        if job := self._places.get(process.identity):
            self._try_again(job, error)

    def session_ended(self, number: int, status: int) -> None:
        """If nobody ordered it, the snippet has died; an answer may have preceded that.

        A session can send no signal, so one that is killed was killed from outside, by the kernel as
        a rule, because the memory has run out: no fault of its code.
        """
        self._dying.pop(number, None)
        process = self._forked.get(number)
        if process is None:
            return
        # Not until the channel ends: somebody else may hold its other side.
        while not process.ending and self._is_live(process) and process.has_bytes():
            self._hear(process, selectors.EVENT_READ)
        if not self._is_live(process):
            return
        self._end_process(process.identity)
        job = self._places.get(process.identity)
        if job is None:
            return
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not process.killed:
            self._starve(job, process.held_bytes)
        else:
            replaying = process.applied < len(job.track.history)
            text = NOT_REBUILT if replaying else DIED
            self._resolve(job, Outcome("died", text, time.monotonic() - process.asked_at_s))

    def _is_live(self, process: SessionProcess) -> bool:
        return self._processes.get(process.identity) is process

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """All its sessions are gone; they are rebuilt under a new server when they are needed."""
        for process in [p for p in self._processes.values() if p.server is server]:
            self._end_process(process.identity)
        self.ledger.count(restarts=1)
        self._dying.clear()
        for identity, job in list(self._places.items()):
            if identity in self._processes or job.track.tier != server.tier:
                continue
            job.attempts += server.ready
            if error is not None and error.may_pass:
                self._try_again(job, OSError(str(error)))
            elif error is not None:
                del self._places[identity]
                self.done(job, error)
                self._admit(job.track)
            elif job.attempts >= SERVER_LOSSES_PER_SNIPPET:
                self._resolve(job, Outcome("died", DIED, time.monotonic() - job.begun_at_s))
            else:
                self._enter(job)

    # Memory.

    def _look(self) -> None:
        """See how much is left, if it is time for that; what has run out is taken back."""
        now = time.monotonic()
        if now < self._next_look_s:
            return
        held_bytes = 0
        if self.budget.given_bytes is not None:
            held_bytes = sum(map(self._held_bytes, self._processes.values()))
        self._left_bytes = self.budget.left_bytes(held_bytes) + sum(self._dying.values())
        most_taken_bytes = self.workers * self.limits.memory_bytes
        plenty = self._left_bytes > most_taken_bytes + self.budget.spare_bytes
        self._next_look_s = now + LOOKS_S[plenty]
        if self._left_bytes < 0:
            self._make_room(self.budget.spare_bytes)
        if self._left_bytes < 0:
            largest = next(self._by_size(self._at_work()), None)
            if largest is not None and largest.held_bytes > LITTLE_BYTES:
                job = self._places[largest.identity]
                self._end_for_memory(largest)
                self._starve(job, largest.held_bytes)

    def _make_room(self, needed_bytes: int) -> None:
        """End processes at rest, the largest first; they are rebuilt when they are needed."""
        if self._left_bytes >= needed_bytes or not self._idle:
            return
        for process in self._by_size(self._idle):
            if self._left_bytes >= needed_bytes:
                return
            self._idle[process.identity].held_bytes = process.held_bytes
            self._end_for_memory(process)
            self.ledger.count(evicted=1)

    def _starve(self, job: Job, held_bytes: int) -> None:
        """A snippet has lost its process for want of memory: it runs again when there is room."""
        job.track.held_bytes = max(held_bytes, job.track.held_bytes)
        job.ended += 1
        if job.ended < MEMORY_TRIES and (self._at_work() or held_bytes == 0):
            self._hungry[job.track.identity] = None
            self._later[job.track.identity] = time.monotonic() + LOOKS_S[0]
        else:
            self._resolve(job, Outcome("memory", NO_MEMORY, time.monotonic() - job.begun_at_s))

    def _end_for_memory(self, process: SessionProcess) -> None:
        self._dying[process.number] = process.held_bytes
        self._left_bytes += process.held_bytes
        self._end_process(process.identity)

    def _at_work(self, but: int = 0) -> list[int]:
        """Sessions whose process runs a snippet."""
        return [one for one in self._places if one != but and one in self._processes]

    def _by_size(self, identities: Iterable[int]) -> Iterator[SessionProcess]:
        """Their processes, the largest first."""
        processes = [self._processes[identity] for identity in identities]
        return iter(sorted(processes, key=self._held_bytes, reverse=True))

    def _held_bytes(self, process: SessionProcess) -> int:
        """What a process holds beyond what it was forked with."""
        if process.handle is not None:
            size = anonymous_bytes(process.handle.process_id) - process.server.inherited_bytes
            process.held_bytes = max(0, size)
        return process.held_bytes

    # Ends.

    def _evict(self, identity: int) -> None:
        self._end_process(identity)
        self.ledger.count(evicted=1)

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

    def _end(self, why: Exception) -> None:
        """End everything and tell everybody; no step of it is left out because another fails."""
        with contextlib.ExitStack() as steps:  # the last is done first
            for socket_or_selector in (self._wake, self._woken, self._selector):
                steps.callback(socket_or_selector.close)
            steps.callback(self.fleet.end, why)
            steps.callback(self.give_up, why)
            for process in list(self._processes.values()):
                steps.callback(process.forget)
            self._processes.clear()
