"""The snippets that run: each goes on from step to step until it has an outcome.

A process is forked for its session if none is left, the history is run again in it as far as it is
missing, then the snippet runs. A snippet may have to wait before that: for memory, in the order in
which they came (`_for_memory`), or for descriptors and processes, with a limit (`_try_again`). Where
memory runs out nevertheless, processes at rest are ended, the largest first, and then the largest at
work: its snippet runs once more, alone, and only what does not fit then has the kind "memory".

The dispatcher's thread alone uses this.
"""

import errno
import os
import selectors
import signal
import time
from collections.abc import Callable

from jprm.execute.fork_servers import ForkServer, ForkServers, Handle, PoolSettings, ServerStartError
from jprm.execute.outcome import DIED, FINISHED, NO_MEMORY, NOT_REBUILT, NOT_STARTED, TIMED_OUT, Outcome, OutcomeKind
from jprm.execute.place import PoolFailure
from jprm.execute.preload import level_of
from jprm.execute.processes import LOOKS_S, SessionProcesses
from jprm.execute.resources import is_shortage
from jprm.execute.session_process import Forgery, SessionProcess
from jprm.execute.sessions import Sessions, Snippet

SERVER_LOSSES_PER_SNIPPET = 3  # then it is the snippet that is to blame
FORK_LIMIT_S = 60.0  # after which a fork server that has not forked counts as lost
REAP_LIMIT_S = 10.0  # and one that has reported no death
EXIT_GRACE_S = 0.05  # from the end of a channel to that of its process, which tells its cause
RETRIES_AFTER_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # where the machine lacks something
FREED_BY_AN_END = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what the end of a process gives back
REBUILDING_TIMEOUTS = 4  # a history may take so many time limits to run again
REBUILDINGS = 16  # of a session whose own code keeps ending its process
LITTLE_BYTES = 64 << 20  # who holds no more is not to blame for a machine that has nothing left


class Running:
    """The snippets that have one of the pool's places; at most one of a session.

    over: is told every snippet that has left its place, with its outcome or the failure of the pool.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        sessions: Sessions,
        settings: PoolSettings,
        over: Callable[[Snippet, Outcome | Exception], None],
    ):
        self.processes = SessionProcesses(selector, sessions, settings)
        self.servers = ForkServers(selector, self, settings)
        self._selector = selector
        self._sessions = sessions
        self._settings = settings
        self._over = over
        self._snippets: dict[int, Snippet] = {}  # by session
        self._later: dict[int, float] = {}  # sessions that try again, and when
        self._for_memory: dict[int, None] = {}  # sessions that wait for memory, in order
        self._alone: int | None = None  # the session beside which no other may begin

    def __len__(self) -> int:
        return len(self._snippets)

    def __contains__(self, session: int) -> bool:
        return session in self._snippets

    def begin(self, snippet: Snippet) -> None:
        """Gives a snippet one of the places. No other snippet of its session may have one at that time."""
        self._snippets[snippet.record.identity] = snippet
        self._enter(snippet)

    def _enter(self, snippet: Snippet) -> None:
        """Goes on with a snippet that has a place, now or as soon as there is memory for it."""
        session = snippet.record.identity
        if self._alone in (None, session) and next(iter(self._for_memory), session) == session:
            # At rest it would be ended to make room for itself.
            self.processes.at_rest.pop(session, None)
            self.processes.look()
            fits = self.processes.make_room(0 if session in self.processes else snippet.record.held_bytes)
            # Where nobody else is at work it may begin in any case: nobody could make more room.
            if (fits and not snippet.ended) or not self._at_work(but=session):
                self._alone = session if snippet.ended else None
                self._for_memory.pop(session, None)
                self._advance(snippet)
                return
            if process := self.processes.of_session.get(session):
                self.processes.rest(process, snippet.record)
        self._wait_for_memory(snippet)

    def _wait_for_memory(self, snippet: Snippet) -> None:
        self._for_memory[snippet.record.identity] = None
        self._later[snippet.record.identity] = time.monotonic() + LOOKS_S[0]

    def _advance(self, snippet: Snippet) -> None:
        """Does the next step of a snippet; what the step brings about calls it again."""
        record = snippet.record
        self._later.pop(record.identity, None)
        # 1. Find the preload level that it needs. A new process begins where most sessions end.
        record.level = max(record.level, level_of(snippet.code))
        if record.identity not in self.processes:
            record.level = max(record.level, self.processes.usual_level())
        # 2. Give up a process that lacks modules, or has ended at rest.
        process = self.processes.of_session.get(record.identity)
        if process is not None and (process.server.level < record.level or process.is_lost()):
            self.processes.end(record.identity)
            process = None
        # 3. Fork another, unless the session's own code has ended too many.
        if process is None:
            if record.history and record.losses > REBUILDINGS:
                self._resolve(snippet, Outcome("died", NOT_REBUILT, 0.0))
            else:
                self._fork(snippet)
        # 4. Run the next snippet of the history that the process has missed, else this one.
        elif process.ready and process.applied < len(record.history):
            self._rebuild(process, snippet)
        elif process.ready:
            process.ask(snippet.code, self._settings.timeout_s)
            self._watch(process)

    def _fork(self, snippet: Snippet) -> None:
        try:
            server = self.servers.server(snippet.record.level)
            if not server.ready:
                return  # its report brings every waiting session here again
            process = self.processes.open(snippet.record.identity, server, self._hear)
        except ConnectionError:
            return  # the server is gone, which its control socket is about to tell
        except OSError as error:
            self._try_again(snippet, error)
        else:
            process.deadline_s = time.monotonic() + FORK_LIMIT_S

    def _try_again(self, snippet: Snippet, error: OSError | None = None) -> None:
        """Tries a failed fork again: at once if an idle process can be ended for it, else a little later."""
        now = time.monotonic()
        if error is not None and error.errno in FREED_BY_AN_END and self.processes.evict():
            self._later[snippet.record.identity] = now
        elif snippet.refusals < len(RETRIES_AFTER_S):
            self._later[snippet.record.identity] = now + RETRIES_AFTER_S[snippet.refusals]
            snippet.refusals += 1
        else:
            self._resolve(snippet, Outcome("sandbox", NOT_STARTED, now - snippet.begun_at_s))

    def _rebuild(self, process: SessionProcess, snippet: Snippet) -> None:
        now, limit_s = time.monotonic(), self._settings.timeout_s
        process.rebuilding_since_s = process.rebuilding_since_s or now
        left_s = process.rebuilding_since_s + REBUILDING_TIMEOUTS * limit_s - now
        if left_s <= 0:
            self._not_rebuilt(process, snippet)
            return
        process.ask(snippet.record.history[process.applied], min(limit_s, left_s))
        self._watch(process)

    def _not_rebuilt(self, process: SessionProcess, snippet: Snippet) -> None:
        """Gives a session up whose history takes too long, or ends differently from before, when it is run again."""
        self.processes.end(process.identity)
        snippet.record.losses = REBUILDINGS + 1
        self._resolve(snippet, Outcome("died", NOT_REBUILT, time.monotonic() - snippet.begun_at_s))

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
        snippet = self._snippets.get(process.identity)
        was_alive = process.alive
        try:
            reply = process.hear()
        except (EOFError, Forgery) as end:
            if snippet is not None:
                self._await_report(process, kill=isinstance(end, Forgery))
            else:
                self.processes.end(process.identity)  # rebuilt when it is needed
        except OSError as error:
            self._refuse(process, snippet, error)
        else:
            if snippet is not None and reply is not None:
                self._answer(process, snippet, *reply)
            elif snippet is not None and process.alive and not was_alive:
                process.deadline_s = float("inf")
                self._advance(snippet)

    def _answer(self, process: SessionProcess, snippet: Snippet, kind: OutcomeKind, text: str) -> None:
        elapsed_s = time.monotonic() - process.asked_at_s
        if process.applied == len(snippet.record.history):
            process.applied += kind in FINISHED
            self.processes.rest(process, snippet.record)
            self._resolve(snippet, Outcome(kind, text, elapsed_s), left_traces=kind == "timeout")
            process.pause()
        elif kind in FINISHED:
            process.applied += 1
            self._sessions.count(replayed=1)
            self._advance(snippet)
        else:
            self._not_rebuilt(process, snippet)

    def _resolve(self, snippet: Snippet, outcome: Outcome, *, left_traces: bool = False) -> None:
        if outcome.kind in ("died", "timeout") and snippet.record.identity not in self.processes:
            snippet.record.losses += 1
        self._sessions.finish(snippet, outcome, left_traces=left_traces)
        self._leave(snippet, outcome)

    def _leave(self, snippet: Snippet, outcome: Outcome | Exception) -> None:
        for sessions in (self._snippets, self._later, self._for_memory):
            sessions.pop(snippet.record.identity, None)
        if self._alone == snippet.record.identity:
            self._alone = None
        self._over(snippet, outcome)

    def _await_report(self, process: SessionProcess, kill: bool) -> None:
        """Waits for the fork server to report how a process died whose channel has closed or sent forged bytes."""
        if kill:
            process.kill()
        process.ending = True
        process.deadline_s = time.monotonic() + (REAP_LIMIT_S if kill else EXIT_GRACE_S)
        self._selector.unregister(process.channel)

    def _refuse(self, process: SessionProcess, snippet: Snippet | None, error: OSError) -> None:
        """Refuses to run anything in a process that could not put on its jail."""
        self.processes.end(process.identity)
        if snippet is not None and is_shortage(error):
            self._try_again(snippet, error)
        elif snippet is not None:
            self._leave(snippet, PoolFailure(f"a session could not be confined: {error}"))

    def keep_time(self) -> None:
        """Does what is due: ends what is overdue or too large, and tries again what had to wait."""
        # 1. Time limits: an alarm first, then the end.
        now = time.monotonic()
        for process in [p for p in self.processes.of_session.values() if p.deadline_s <= now]:
            if self.processes.is_live(process):  # else it was lost with its server a moment ago
                self._overdue(process, now)
        for server in [one for one, at_s in self.servers.deadlines.items() if at_s <= now]:
            self.servers.lose(server)
        # 2. Memory: the largest working process if it is short although all idle ones have been ended.
        if self.processes.of_session and self.processes.look():
            self._end_the_largest()
        # 3. Retries.
        for session in [one for one, at_s in self._later.items() if at_s <= now]:
            if snippet := self._snippets.get(session):
                self._enter(snippet)

    def _overdue(self, process: SessionProcess, now: float) -> None:
        snippet = self._snippets.get(process.identity)
        if process.ending and not process.killed:
            process.kill()
            process.deadline_s = now + REAP_LIMIT_S
        elif process.ending or not process.ready:
            self.servers.lose(process.server)  # it neither forks nor reaps any more
        elif not process.alarmed:
            process.alarm()
            process.deadline_s += self._settings.grace_s
        elif snippet is not None and process.applied < len(snippet.record.history):
            self._not_rebuilt(process, snippet)
        elif snippet is not None:
            self.processes.end(process.identity)
            self._resolve(snippet, Outcome("timeout", TIMED_OUT, now - process.asked_at_s))

    @property
    def deadlines(self) -> list[float]:
        """The monotonic times at which `keep_time` wants to be called."""
        deadlines = [*self.servers.deadlines.values(), *self._later.values()]
        if self.processes.of_session:
            deadlines.append(self.processes.next_look_s)
        return deadlines + [p.deadline_s for p in map(self.processes.of_session.get, self._snippets) if p]

    # What the fork servers tell.

    def server_ready(self) -> None:
        """Goes on with the sessions that waited for a fork server to be ready."""
        for session, snippet in list(self._snippets.items()):
            if session not in self.processes:
                self._enter(snippet)

    def session_opened(self, number: int, handle: Handle) -> None:
        """Takes the handle of a process that has been forked, by which it can be signalled."""
        process = self.processes.of_number.get(number)
        if process is None:
            handle.close()  # given up already: it ends at its closed channel
            return
        process.handle = handle
        if process.ready and (snippet := self._snippets.get(process.identity)):
            self._advance(snippet)

    def session_failed(self, number: int, error: OSError) -> None:
        """Tries again for a session whose process the machine could not start, for want of something."""
        if process := self.processes.of_number.get(number):
            self.processes.end(process.identity)
            if snippet := self._snippets.get(process.identity):
                self._try_again(snippet, error)

    def session_ended(self, number: int, status: int) -> None:
        """Handles the death of a process; `status` is as `os.waitpid` gives it.

        Unless we ended it, its snippet died, or had answered just before. A session can send no signal,
        so one that is killed was killed from outside, by the kernel as a rule, because the memory has
        run out: no fault of its code.
        """
        self.processes.reaped(number)
        process = self.processes.of_number.get(number)
        if process is None:
            return
        # Not until the channel ends: somebody else may hold its other side.
        while not process.ending and self.processes.is_live(process) and process.has_bytes():
            self._hear(process, selectors.EVENT_READ)
        if not self.processes.is_live(process):
            return
        from_outside = os.waitstatus_to_exitcode(status) == -signal.SIGKILL and not process.killed
        self.processes.end(process.identity)
        snippet = self._snippets.get(process.identity)
        if snippet is None:
            return
        if from_outside:
            self._rerun_alone(snippet, process.held_bytes)
        elif process.applied < len(snippet.record.history):
            self._not_rebuilt(process, snippet)
        else:
            self._resolve(snippet, Outcome("died", DIED, time.monotonic() - process.asked_at_s))

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """Handles the loss of a fork server: its sessions are rebuilt under a new one when they are needed.

        error: why there is no use in another, if so.
        """
        self.processes.lost(server)
        self._sessions.count(restarts=1)
        for session, snippet in list(self._snippets.items()):
            if session in self.processes or snippet.record.level != server.level:
                continue
            snippet.server_losses += server.ready
            if error is not None and error.may_pass:
                self._try_again(snippet)
            elif error is not None:
                self._leave(snippet, error)
            elif snippet.server_losses >= SERVER_LOSSES_PER_SNIPPET:
                self._resolve(snippet, Outcome("died", DIED, time.monotonic() - snippet.begun_at_s))
            else:
                self._enter(snippet)

    # Memory.

    def _end_the_largest(self) -> None:
        largest = next(iter(self.processes.by_size(self._at_work())), None)
        if largest is None:
            return
        snippet = self._snippets[largest.identity]
        spare_bytes = self._settings.budget.spare_bytes
        little_bytes = LITTLE_BYTES if snippet.ended else min(LITTLE_BYTES, spare_bytes)
        if largest.held_bytes > little_bytes:
            self.processes.end_for_memory(largest)
            self._rerun_alone(snippet, largest.held_bytes)

    def _rerun_alone(self, snippet: Snippet, held_bytes: int) -> None:
        """Runs a snippet again that lost its process for want of memory: once, since others may be to blame."""
        snippet.record.held_bytes = max(held_bytes, snippet.record.held_bytes)
        if not snippet.ended:
            snippet.ended = True
            self._wait_for_memory(snippet)
        else:
            self._resolve(snippet, Outcome("memory", NO_MEMORY, time.monotonic() - snippet.begun_at_s))

    def _at_work(self, but: int = 0) -> list[int]:
        """Returns the sessions whose process is running a snippet now."""
        resting = self.processes.at_rest
        return [one for one in self._snippets if one != but and one in self.processes and one not in resting]
