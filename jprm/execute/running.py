"""The snippets that run: each goes on from step to step until it has an outcome.

A process is forked for its session if none is left, the history is run again in it as far as it is
missing, then the snippet runs. A snippet may have to wait before that: for memory, in the order in
which they came (`_hungry`), or for descriptors and processes, with a limit (`_try_again`). Where
memory runs out nevertheless, processes at rest are ended, the largest first, and then the largest at
work: its snippet runs once more, alone, and only what does not fit then has the kind "memory".

Used by the dispatcher's thread only.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import time
from collections.abc import Callable

from jprm.execute.fleet import Fleet
from jprm.execute.fork_server import ForkServer, ServerStartError
from jprm.execute.handle import Handle
from jprm.execute.ledger import Job, Ledger
from jprm.execute.outcome import DIED, FINISHED, NO_MEMORY, NOT_REBUILT, NOT_STARTED, TIMED_OUT, Outcome, OutcomeKind
from jprm.execute.place import PoolFailure
from jprm.execute.process import Forgery, SessionProcess
from jprm.execute.processes import LOOKS_S, Processes, Settings
from jprm.execute.resources import is_shortage
from jprm.execute.tiers import tier_of

SERVER_LOSSES_PER_SNIPPET = 3  # then it is the snippet that is to blame
FORK_LIMIT_S = 60.0  # after which a fork server that has not forked counts as lost
BURIAL_LIMIT_S = 10.0  # and one that has reported no death
LAST_BREATH_S = 0.05  # from the end of a channel to that of its process, which tells its cause
RETRIES_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # where the machine lacks something
MAKES_WAY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what the end of a process gives back
REBUILDING_TIMEOUTS = 4  # a history may take so many time limits to run again
REBUILDINGS = 16  # of a session whose own code keeps ending its process
LITTLE_BYTES = 64 << 20  # who holds no more is not to blame for a machine that has nothing left


class Running:
    """The snippets that have one of the pool's places; at most one of a session.

    over: told every job that has left its place, with its outcome or the failure of the pool.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        ledger: Ledger,
        settings: Settings,
        over: Callable[[Job, Outcome | Exception], None],
    ):
        limits = settings.limits
        self.processes = Processes(selector, ledger, settings)
        self.fleet = Fleet(selector, self, limits, settings.confinement, settings.preload)
        self._selector = selector
        self._ledger = ledger
        self._limits = limits
        self._over = over
        self._spare_bytes = settings.budget.spare_bytes
        self._jobs: dict[int, Job] = {}  # by session
        self._later: dict[int, float] = {}  # sessions that try again, and when
        self._hungry: dict[int, None] = {}  # sessions that wait for memory, in order
        self._alone: int | None = None  # the session beside which no other may begin

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, session: int) -> bool:
        return session in self._jobs

    def begin(self, job: Job) -> None:
        """Gives a snippet one of the places. No other snippet of its session may have one at that time."""
        self._jobs[job.track.identity] = job
        self._enter(job)

    def _enter(self, job: Job) -> None:
        """Goes on with a snippet that has a place, now or as soon as there is memory for it."""
        session = job.track.identity
        if self._alone in (None, session) and next(iter(self._hungry), session) == session:
            # At rest it would be ended to make room for itself.
            self.processes.at_rest.pop(session, None)
            self.processes.look()
            fits = self.processes.make_room(0 if session in self.processes else job.track.held_bytes)
            # Where nobody else is at work it may begin in any case: nobody could make more room.
            if (fits and not job.ended) or not self._at_work(but=session):
                self._alone = session if job.ended else None
                self._hungry.pop(session, None)
                self._advance(job)
                return
            if process := self.processes.of(session):
                self.processes.rest(process, job.track)
        self._wait_for_memory(job)

    def _wait_for_memory(self, job: Job) -> None:
        self._hungry[job.track.identity] = None
        self._later[job.track.identity] = time.monotonic() + LOOKS_S[0]

    def _advance(self, job: Job) -> None:
        """Does the next step of a snippet: fork a process, rebuild its session, or run the snippet itself."""
        track = job.track
        self._later.pop(track.identity, None)
        track.tier = max(track.tier, tier_of(job.code))
        if track.identity not in self.processes:
            track.tier = max(track.tier, self.processes.usual_tier())
        process = self.processes.of(track.identity)
        if process is not None and (process.server.tier < track.tier or process.is_lost()):
            self.processes.end(track.identity)
            process = None
        if process is None and track.history and track.losses > REBUILDINGS:
            self._resolve(job, Outcome("died", NOT_REBUILT, 0.0))
        elif process is None:
            self._fork(job)
        elif process.ready:
            self._ask(process, job)

    def _ask(self, process: SessionProcess, job: Job) -> None:
        limit_s, history = self._limits.timeout_s, job.track.history
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
        try:
            server = self.fleet.server(job.track.tier)
            if not server.ready:
                return  # its report brings every waiting session here again
            process = self.processes.open(job.track.identity, server, self._hear)
        except ConnectionError:
            return  # the server is gone, which its control socket is about to tell
        except OSError as error:
            self._try_again(job, error)
        else:
            process.deadline_s = time.monotonic() + FORK_LIMIT_S

    def _try_again(self, job: Job, error: OSError | None = None) -> None:
        """Plans another try after a fork has failed: at once if an idle process can make way, else a little later."""
        now = time.monotonic()
        if error is not None and error.errno in MAKES_WAY and self.processes.make_way():
            self._later[job.track.identity] = now
        elif job.refusals < len(RETRIES_AFTER_S):
            self._later[job.track.identity] = now + RETRIES_AFTER_S[job.refusals]
            job.refusals += 1
        else:
            self._resolve(job, Outcome("sandbox", NOT_STARTED, now - job.begun_at_s))

    def _watch(self, process: SessionProcess) -> None:
        """Waits for what the process writes, and for room on its channel while a long snippet is being sent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.outgoing else 0)
        key = self._selector.get_key(process.channel)
        if key.events != events:
            self._selector.modify(process.channel, events, key.data)

    def _hear(self, process: SessionProcess, events: int) -> None:
        if process.ending or not self.processes.is_live(process):
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
            if process.identity in self._jobs:
                self._await_burial(process, kill=isinstance(end, Forgery))
            else:
                self.processes.end(process.identity)  # rebuilt when it is needed
            return
        except OSError as error:
            self._refuse(process, error)
            return
        job = self._jobs.get(process.identity)
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
                self._ledger.count(replayed=1)
                self._advance(job)
            else:
                self._not_rebuilt(process, job)
            return
        process.applied += kind in FINISHED
        self.processes.rest(process, job.track)
        self._resolve(job, Outcome(kind, text, elapsed_s), left_traces=kind == "timeout")
        process.pause()

    def _not_rebuilt(self, process: SessionProcess, job: Job) -> None:
        """Gives a session up whose history takes too long, or ends differently from before, when it is run again."""
        self.processes.end(process.identity)
        job.track.losses = REBUILDINGS + 1
        self._resolve(job, Outcome("died", NOT_REBUILT, time.monotonic() - job.begun_at_s))

    def _resolve(self, job: Job, outcome: Outcome, *, left_traces: bool = False) -> None:
        if outcome.kind in ("died", "timeout") and job.track.identity not in self.processes:
            job.track.losses += 1
        self._ledger.finish(job, outcome, left_traces=left_traces)
        self._leave(job, outcome)

    def _leave(self, job: Job, outcome: Outcome | Exception) -> None:
        for sessions in (self._jobs, self._later, self._hungry):
            sessions.pop(job.track.identity, None)
        if self._alone == job.track.identity:
            self._alone = None
        self._over(job, outcome)

    def _await_burial(self, process: SessionProcess, kill: bool) -> None:
        """Waits for the fork server to report how a process died whose channel has closed or sent forged bytes."""
        if kill:
            process.kill()
        process.ending = True
        process.deadline_s = time.monotonic() + (BURIAL_LIMIT_S if kill else LAST_BREATH_S)
        self._selector.unregister(process.channel)

    def _refuse(self, process: SessionProcess, error: OSError) -> None:
        """Refuses to run anything in a process that could not put on its jail."""
        self.processes.end(process.identity)
        job = self._jobs.get(process.identity)
        if job is None:
            return
        if is_shortage(error):
            self._try_again(job, error)
        else:
            self._leave(job, PoolFailure(f"a session could not be confined: {error}"))

    def keep_time(self) -> None:
        """Does what is due: ends what is overdue or too large, and tries again what had to wait."""
        now = time.monotonic()
        overdue = [p for p in self.processes.all() if p.deadline_s <= now]
        for process in overdue:
            if not self.processes.is_live(process):
                continue  # lost with its server a moment ago
            job = self._jobs.get(process.identity)
            if process.ending and not process.killed:
                process.kill()
                process.deadline_s = now + BURIAL_LIMIT_S
            elif process.ending or not process.ready:
                self.fleet.lose(process.server)  # it neither forks nor buries any more
            elif not process.alarmed:
                process.alarm()
                process.deadline_s += self._limits.grace_s
            elif job is not None and process.applied < len(job.track.history):
                self._not_rebuilt(process, job)
            elif job is not None:
                self.processes.end(process.identity)
                self._resolve(job, Outcome("timeout", TIMED_OUT, now - process.asked_at_s))
        self.fleet.give_up_overdue(now)
        self._keep_within_memory()
        for identity in [one for one, at_s in self._later.items() if at_s <= now]:
            if job := self._jobs.get(identity):
                self._enter(job)

    @property
    def deadlines(self) -> list[float]:
        """Returns the monotonic times at which `keep_time` wants to be called."""
        deadlines = [*self.fleet.deadlines, *self._later.values()]
        if self.processes:
            deadlines.append(self.processes.next_look_s)
        for session in self._jobs:
            if process := self.processes.of(session):
                deadlines.append(process.deadline_s)
        return deadlines

    # What the fork servers tell.

    def server_ready(self) -> None:
        """Goes on with the sessions that waited for a fork server to be ready."""
        for identity, job in list(self._jobs.items()):
            if identity not in self.processes:
                self._enter(job)

    def session_opened(self, number: int, handle: Handle) -> None:
        """Takes the handle of a process that has been forked, by which it can be signalled."""
        process = self.processes.numbered(number)
        if process is None:
            handle.close()  # given up already: it ends at its closed channel
            return
        process.handle = handle
        if process.ready and (job := self._jobs.get(process.identity)):
            self._advance(job)

    def session_failed(self, number: int, error: OSError) -> None:
        """Plans another try for a session whose process the machine could not start."""
        if process := self.processes.numbered(number):
            self.processes.end(process.identity)
            if job := self._jobs.get(process.identity):
                self._try_again(job, error)

    def session_ended(self, number: int, status: int) -> None:
        """Handles the death of a process. Unless we ended it, its snippet died, or had answered just before.

        A session can send no signal, so one that is killed was killed from outside, by the kernel as
        a rule, because the memory has run out: no fault of its code.
        """
        self.processes.buried(number)
        process = self.processes.numbered(number)
        if process is None:
            return
        # Not until the channel ends: somebody else may hold its other side.
        while not process.ending and self.processes.is_live(process) and process.has_bytes():
            self._hear(process, selectors.EVENT_READ)
        if not self.processes.is_live(process):
            return
        from_outside = os.waitstatus_to_exitcode(status) == -signal.SIGKILL and not process.killed
        self.processes.end(process.identity)
        job = self._jobs.get(process.identity)
        if job is None:
            return
        if from_outside:
            self._starve(job, process.held_bytes)
        elif process.applied < len(job.track.history):
            self._not_rebuilt(process, job)
        else:
            self._resolve(job, Outcome("died", DIED, time.monotonic() - process.asked_at_s))

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """Handles the loss of a fork server: its sessions are rebuilt under a new one when they are needed."""
        self.processes.lost(server)
        self._ledger.count(restarts=1)
        for identity, job in list(self._jobs.items()):
            if identity in self.processes or job.track.tier != server.tier:
                continue
            job.attempts += server.ready
            if error is not None and error.may_pass:
                self._try_again(job)
            elif error is not None:
                self._leave(job, error)
            elif job.attempts >= SERVER_LOSSES_PER_SNIPPET:
                self._resolve(job, Outcome("died", DIED, time.monotonic() - job.begun_at_s))
            else:
                self._enter(job)

    # Memory.

    def _keep_within_memory(self) -> None:
        """Ends the largest working process if memory is short although all idle ones have been ended."""
        if not self.processes or not self.processes.look():
            return
        largest = next(iter(self.processes.by_size(self._at_work())), None)
        if largest is None:
            return
        job = self._jobs[largest.identity]
        little_bytes = LITTLE_BYTES if job.ended else min(LITTLE_BYTES, self._spare_bytes)
        if largest.held_bytes > little_bytes:
            self.processes.end_for_memory(largest)
            self._starve(job, largest.held_bytes)

    def _starve(self, job: Job, held_bytes: int) -> None:
        """Runs a snippet again that lost its process for want of memory: once, since others may be to blame."""
        job.track.held_bytes = max(held_bytes, job.track.held_bytes)
        if not job.ended:
            job.ended = True
            self._wait_for_memory(job)
        else:
            self._resolve(job, Outcome("memory", NO_MEMORY, time.monotonic() - job.begun_at_s))

    def _at_work(self, but: int = 0) -> list[int]:
        """Returns the sessions whose process is running a snippet now."""
        resting = self.processes.at_rest
        return [one for one in self._jobs if one != but and one in self.processes and one not in resting]
