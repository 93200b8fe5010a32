"""A pool that runs model-written code on this machine, and the thread that owns all its processes.

A session lives in a process of its own, forked from a fork server that has its modules loaded, confined
to computing (see `jail`), and stopped between snippets. The process is a cache: whatever happens to it,
the session is rebuilt by running its finished snippets again.

The jail does not cover faults of the kernel in the calls that it leaves, what can be learnt from timing, and a snippet
that spoils later snippets of its own session (as in the reference). A snippet stopped softly at its time limit leaves
the names it had bound (as in the reference); they are lost if its process is. To run a history again may take four time
limits, and is done for sixteen lost processes of one session; after that its snippets have "died".
"""

import contextlib
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence

from jprm.execute.fork_servers import PoolSettings
from jprm.execute.outcome import Outcome
from jprm.execute.place import CodePlace, PoolFailure
from jprm.execute.preload import PreloadLevel
from jprm.execute.probe import survey
from jprm.execute.resources import MemoryBudget, in_words, open_files_limit
from jprm.execute.running import Running
from jprm.execute.sessions import SessionRecord, Snippet

LARGEST_SESSION_BYTES = 16 << 20  # private memory of a session after some sympy, 99th percentile


class Pool(CodePlace):
    """Runs snippets of many sessions, `workers` of them at a time; a context manager.

    workers: snippets that run at the same time.
    timeout_s: wall-clock limit of a snippet from its start; at `timeout_s + grace_s` it is killed.
    memory_bytes: what a session may take beyond the modules that it starts with.
    output_chars: longest text handed back; longer ones end with a mark.
    memoize: answer a snippet from the outcome of an identical history (see `sessions`).
    preload: modules that snippets may import besides the standard library, sympy, numpy and scipy;
        "name.*" is a package with all its parts.
    warm: the largest fork server that is loaded before the constructor returns (see `preload`).
    queue_limit: snippets that may wait before `submit` does.
    live_sessions: processes kept; beyond it, idle ones are ended and rebuilt when needed. None: as
        many as half of the free memory and the limit of open files allow.
    memory_budget_bytes: what all sessions may take together; None: what the machine and the control
        groups of this process have free, less a reserve. Where it runs out, sessions wait, idle ones
        are ended, and the largest snippet runs again later or gets an outcome of kind "memory".
    layers: of the jail (see `jail.LAYERS`); None: all that work here.
    uncovered: needs (see `probe.NEEDS`) that may go without a layer that stops them.

    Raises UserError if a layer does not work or a need is uncovered, ServerStartError if modules cannot be loaded.
    """

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        grace_s: float = 1.0,
        memory_bytes: int = 512 << 20,
        output_chars: int = 16_384,
        memoize: bool = False,
        memo_capacity: int = 1_000_000,
        preload: Sequence[str] = (),
        warm: PreloadLevel = PreloadLevel.SYMBOLIC,
        queue_limit: int = 65_536,
        live_sessions: int | None = None,
        memory_budget_bytes: int | None = None,
        layers: Sequence[str] | None = None,
        uncovered: Sequence[str] = (),
    ):
        super().__init__(memoize, memo_capacity, queue_limit)
        self.confinement = survey().confine(None if layers is None else tuple(layers), tuple(uncovered))
        settings = PoolSettings(
            workers,
            timeout_s,
            grace_s,
            memory_bytes,
            output_chars,
            tuple(preload),
            self.confinement,
            live_sessions or most_live_sessions(),
            MemoryBudget(memory_budget_bytes),
        )
        levels = [level for level in PreloadLevel if level <= warm]
        self._dispatcher = Dispatcher(self, settings, levels)
        self._dispatcher.start()
        try:
            self._dispatcher.running.servers.warmed.result()
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Says where code runs, and behind which layers of the jail."""
        found = survey().layers
        layers = [f"{name} {found[name].detail}".strip() for name in self.confinement.layers]
        return f"on this machine, behind {', '.join(layers) or 'nothing'}"

    def processes(self) -> list[int]:
        """Returns the process ids of the live sessions, as this process sees them."""
        live = list(self._dispatcher.running.processes.of_session.values())
        handles = [process.handle for process in live]
        return [handle.process_id for handle in handles if handle is not None]

    def servers(self) -> list[int]:
        """Returns the process ids of the programs that fork them."""
        return self._dispatcher.running.servers.program_ids()

    def close(self) -> None:
        """Ends every process; snippets that wait or run fail with RuntimeError."""
        if not self.is_own:
            self.closed = True  # here; the owner goes on
            return
        with self._room:
            self.closed = True
            self._room.notify_all()
        self._dispatcher.stopping = True
        self._dispatcher.wake()
        # In a callback of a future, which the dispatcher's thread runs, it cannot wait for itself.
        if self._may_wait():
            self._dispatcher.join()

    def _may_wait(self) -> bool:
        return threading.current_thread() is not self._dispatcher

    def _begin(self, record: SessionRecord) -> None:
        self._dispatcher.look_at(record)

    def _forget(self, record: SessionRecord) -> None:
        record.closed = True
        self._dispatcher.look_at(record)


def most_live_sessions() -> int:
    """Returns how many session processes this machine carries; raises the soft limit of open files."""
    free_bytes = MemoryBudget().left_bytes(0)
    # A live session takes two descriptors here; a quarter of them is left to everybody else.
    return max(8, min(open_files_limit() * 3 // 8, free_bytes // 2 // LARGEST_SESSION_BYTES))


class Dispatcher(threading.Thread):
    """The one thread that owns every process: it forks, asks, keeps the time, kills and rebuilds.

    Snippets wait in two places: in their session, whose order they keep, and their session in `_turns`
    until one of the workers' places is free. `Running` takes each from there to its outcome.

    Invariant: whatever a process or a fork server does, every snippet gets exactly one outcome, or its
    future fails because the pool itself did. Whatever ends the thread, everybody who waits is told.

    warm: levels whose fork servers are started at once.
    """

    def __init__(self, pool: Pool, settings: PoolSettings, warm: Sequence[PreloadLevel]):
        super().__init__(name="execute", daemon=True)
        self.stopping = False
        self._pool = pool
        self._sessions = pool._sessions
        self._workers = settings.workers
        self._warm = warm
        self._news: deque[SessionRecord] = deque()
        self._turns: OrderedDict[int, SessionRecord] = OrderedDict()  # by session
        self._selector = selectors.DefaultSelector()
        self.running = Running(self._selector, self._sessions, settings, self._over)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drain)

    # For any thread.

    def look_at(self, record: SessionRecord) -> None:
        """Tells the thread that a session has a new snippet, or was closed."""
        self._news.append(record)
        self.wake()

    def wake(self) -> None:
        """Makes the thread look around."""
        with contextlib.suppress(OSError):  # full: it is awake already; or closed: nobody is there
            self._wake.send(b"!")

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
        self.running.servers.warm(self._warm)
        while not self.stopping:
            # 1. Give the sessions with news a turn, unless they run or wait for one already.
            while self._news:
                self._admit(self._news.popleft())
            # 2. Give free places to the sessions that have waited longest.
            while self._turns and len(self.running) < self._workers:
                self._begin(self._turns.popitem(last=False)[1])
            # 3. Do what is due: time limits, retries, memory.
            self.running.keep_time()
            # 4. Wait for sessions, servers or callers, but no longer than until something is due.
            for key, events in self._selector.select(self._patience_s()):
                key.data(events)

    def _drain(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _patience_s(self) -> float | None:
        if self._news or (self._turns and len(self.running) < self._workers):
            return 0.0
        nearest_s = min(self.running.deadlines, default=float("inf"))
        return None if nearest_s == float("inf") else max(0.0, nearest_s - time.monotonic())

    def _admit(self, record: SessionRecord) -> None:
        if record.identity in self.running:
            return  # it comes here again with its outcome
        if record.waiting:
            self._turns.setdefault(record.identity, record)
        elif record.closed:
            self.running.processes.end(record.identity)

    def _begin(self, record: SessionRecord) -> None:
        """Gives a session a place for its next snippet, unless that needs none."""
        while record.waiting:
            snippet = record.waiting.popleft()
            if not snippet.future.set_running_or_notify_cancel():
                self._pool._answer(snippet, None)
                continue
            self._sessions.begin(snippet)
            if outcome := self._sessions.recall(record, snippet.code):
                self._pool._answer(snippet, outcome)
                continue
            self.running.begin(snippet)
            return
        if record.closed:
            self.running.processes.end(record.identity)

    def _over(self, snippet: Snippet, outcome: Outcome | Exception) -> None:
        """Takes the outcome of a snippet, whose place is free again."""
        self._pool._answer(snippet, outcome)
        self._admit(snippet.record)

    def _end(self, why: Exception) -> None:
        """Ends every process and answers every waiting future; a step that fails keeps back no other."""
        with contextlib.ExitStack() as steps:  # the last is done first
            for socket_or_selector in (self._wake, self._woken, self._selector):
                steps.callback(socket_or_selector.close)
            steps.callback(self.running.servers.end, why)
            steps.callback(self._pool._give_up, why)
            for process in list(self.running.processes.of_session.values()):
                steps.callback(process.forget)
