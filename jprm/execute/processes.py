"""The live session processes: at most one for each session, which of them are idle, and the memory they hold.

The dispatcher's thread alone uses them. A process is a cache of its session, so one at rest may be ended
whenever its room is wanted: descriptors, its place among the live ones, or memory.
"""

import itertools
import selectors
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from jprm.execute.fork_servers import ForkServer, PoolSettings
from jprm.execute.preload import PreloadLevel
from jprm.execute.resources import anonymous_bytes
from jprm.execute.session_process import SessionProcess
from jprm.execute.sessions import SessionRecord, Sessions

LOOKS_S = (0.02, 0.25)  # between two looks at the memory: where it may run out, and where not


class SessionProcesses:
    """The live processes, by session and by number, and the memory that is left for them.

    of_session, of_number: the processes by session, and by their own numbers, which are never used again.
    at_rest: sessions whose process rests, the longest first.
    left_bytes: memory for all sessions as of the last look; negative if they hold too much.
    next_look_s: monotonic time of the next look.
    """

    def __init__(self, selector: selectors.BaseSelector, sessions: Sessions, settings: PoolSettings):
        self.of_session: dict[int, SessionProcess] = {}
        self.of_number: dict[int, SessionProcess] = {}
        self.at_rest: OrderedDict[int, SessionRecord] = OrderedDict()
        self.left_bytes = 0
        self.next_look_s = 0.0
        self._selector = selector
        self._sessions = sessions
        self._settings = settings
        self._budget = settings.budget
        self._plenty_bytes = settings.workers * settings.memory_bytes + settings.budget.spare_bytes
        # The memory of those that were ended for it and are not reaped yet, by number.
        self._dying: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._last_levels: deque[PreloadLevel] = deque(maxlen=33)

    def __contains__(self, session: int) -> bool:
        return session in self.of_session

    def is_live(self, process: SessionProcess) -> bool:
        """Whether a process has not been ended."""
        return self.of_session.get(process.identity) is process

    def usual_level(self) -> PreloadLevel:
        """Returns the level at which most recent sessions ended; a new session that begins there need not move."""
        levels = sorted(self._last_levels)
        return levels[len(levels) // 2] if levels else PreloadLevel.PLAIN

    def open(self, session: int, server: ForkServer, hear: Callable[[SessionProcess, int], None]) -> SessionProcess:
        """Has a process forked; `hear` is called with the events of its channel.

        Raises ConnectionError if the server is gone, another OSError if the machine lacks something.
        """
        while len(self.of_session) >= self._settings.live_sessions and self.evict():
            pass
        number = next(self._numbers)
        process = SessionProcess(number, session, server, self._settings.output_chars)
        try:
            self._selector.register(process.channel, selectors.EVENT_READ, lambda events: hear(process, events))
        except OSError:
            process.forget()
            raise
        self.of_session[session] = self.of_number[number] = process
        self._sessions.count(forks=1)
        return process

    def rest(self, process: SessionProcess, record: SessionRecord) -> None:
        """Marks a process as idle: its session has no snippet to run, so its memory does not change."""
        self.at_rest[process.identity] = record
        if self._budget.given_bytes is not None:
            self.measure(process)

    def end(self, session: int) -> None:
        """Ends the process of a session, if it has one."""
        process = self.of_session.pop(session, None)
        self.at_rest.pop(session, None)
        if process is None:
            return
        del self.of_number[process.number]
        if not process.ending:
            self._selector.unregister(process.channel)
        process.forget()
        self._last_levels.append(process.server.level)

    def reaped(self, number: int) -> None:
        """Notes that the kernel has taken back the memory of a process."""
        self._dying.pop(number, None)

    def lost(self, server: ForkServer) -> None:
        """Forgets the processes that a fork server took with it when it ended."""
        for process in [one for one in self.of_session.values() if one.server is server]:
            self.end(process.identity)
        self._dying.clear()

    def evict(self) -> bool:
        """Ends the process that has been idle longest; returns False if none is idle."""
        if not self.at_rest:
            return False
        self.end(next(iter(self.at_rest)))
        self._sessions.count(evicted=1)
        return True

    # Memory.

    def look(self) -> bool:
        """Sees how much is left, if it is time for that, and ends processes at rest where it is too little.

        Returns whether it is too little all the same.
        """
        now = time.monotonic()
        if now >= self.next_look_s:
            held_bytes = 0
            if self._budget.given_bytes is not None:
                for session in self.of_session.keys() - self.at_rest.keys():
                    self.measure(self.of_session[session])
                held_bytes = sum(process.held_bytes for process in self.of_session.values())
            self.left_bytes = self._budget.left_bytes(held_bytes) + sum(self._dying.values())
            calm = len(self.at_rest) == len(self.of_session)
            self.next_look_s = now + LOOKS_S[calm or self.left_bytes > self._plenty_bytes]
            if self.left_bytes < 0:
                self.make_room(0)
        return self.left_bytes < 0

    def make_room(self, wanted_bytes: int) -> bool:
        """Ends processes at rest, the largest first, until so much and a spare is left; returns whether it is."""
        wanted_bytes += self._budget.spare_bytes
        if self.left_bytes < wanted_bytes:
            for process in self.by_size(self.at_rest):
                if self.left_bytes >= wanted_bytes:
                    break
                self.at_rest[process.identity].held_bytes = process.held_bytes
                self.end_for_memory(process)
                self._sessions.count(evicted=1)
        return self.left_bytes >= wanted_bytes

    def end_for_memory(self, process: SessionProcess) -> None:
        """Ends a process and counts its memory as free at once, though the kernel needs a moment to take it back."""
        self._dying[process.number] = process.held_bytes
        self.left_bytes += process.held_bytes
        self.end(process.identity)

    def by_size(self, sessions: Iterable[int]) -> list[SessionProcess]:
        """Returns the processes of some sessions, the largest first."""
        found = [self.of_session[session] for session in sessions]
        return sorted(found, key=self.measure, reverse=True)

    def measure(self, process: SessionProcess) -> int:
        """Measures, and notes in the process, how many bytes it holds beyond what it was forked with."""
        if process.handle is not None:
            size_bytes = anonymous_bytes(process.handle.process_id)
            process.held_bytes = max(0, size_bytes - process.server.inherited_bytes)
        return process.held_bytes
