"""The engine's side of the fork servers: they are started when needed, asked for sessions, heard, and replaced.

There is one for each preload level that a snippet has asked for (`server` is the program). The
dispatcher's thread alone uses them, and a listener is told what they report.
"""

import contextlib
import errno
import functools
import os
import re
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from jprm.errors import UserError
from jprm.execute import bubblewrap
from jprm.execute.jail import memory_file
from jprm.execute.outcome import CONTROL, ENDED, FAILED, OPEN, OPENED, READY, SIGNAL
from jprm.execute.preload import PreloadLevel
from jprm.execute.resources import MemoryBudget, anonymous_bytes, in_words, is_shortage

FAILED_STARTS = 3  # a server that is killed so often while it loads will not start here
START_LIMIT_S = 120.0  # on a busy machine
ENDS_BY_ITSELF_WITHIN_S = 0.3
TELLS_WITHIN_S = 2.0  # why it did not start, from the moment that it has hung up
LAST_WORDS_BYTES = 4096  # read of what a program has said before its end


class ServerStartError(UserError):
    """A fork server did not start: a fault of this installation, never of a snippet.

    may_pass: whether another attempt may go better: it was killed, or the machine lacked something.
    """

    def __init__(self, reason: str, may_pass: bool):
        super().__init__(
            f"the program that runs generated code did not start: {reason}; "
            "`python -m jprm doctor` tries it and says what is missing"
        )
        self.may_pass = may_pass


@dataclass(frozen=True)
class PoolSettings:
    """What a pool was opened with; `Pool` explains each of them."""

    workers: int
    timeout_s: float
    grace_s: float
    memory_bytes: int
    output_chars: int
    preload: tuple[str, ...]
    confinement: bubblewrap.Confinement
    live_sessions: int
    budget: MemoryBudget


class Handle:
    """Signals one process of another program and tells its id, by a pidfd where the kernel has them.

    A process id can be given to another process as soon as its owner is reaped; a pidfd cannot.

    descriptor: a pidfd, or -1 on a kernel before 5.3.
    otherwise: there, sends a signal for us (the parent of the process can, without confusion).
    Raises OSError, with the descriptor closed, if no more files can be open here.
    """

    def __init__(self, descriptor: int, process_id: int, otherwise: Callable[[int], None]):
        self.descriptor = descriptor
        try:
            self.process_id = process_id if descriptor < 0 else _as_seen_from_here(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._otherwise = otherwise

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens if the process is gone."""
        if self.descriptor < 0:
            self._otherwise(number)
            return
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            pass  # it ended a moment ago

    def close(self) -> None:
        """Gives the descriptor back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _as_seen_from_here(descriptor: int) -> int:
    """The process id in our own process namespace; a jail may count anew. -1 without /proc."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as file:
            found = re.search(r"^Pid:\s*(-?\d+)", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return -1
    return int(found[1]) if found else -1


def has_pidfds() -> bool:
    """Whether the kernel has pidfds (Linux 5.3); without, signals go by way of the fork server.

    Raises OSError where the machine lacks something for the moment.
    """
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        if is_shortage(error):
            raise
        return False
    return True


class ForkServer:
    """One program; used by the thread that made it, whose end is the program's end.

    program_id: process id of the child that we started (bubblewrap's, if it is around the server).
    gives_handles: whether it attaches pidfds to its reports.
    inherited_bytes: of the memory that each of its sessions seems to hold, once it is ready.
    """

    def __init__(self, level: PreloadLevel, settings: PoolSettings):
        self.level = level
        self.gives_handles = has_pidfds()
        self.inherited_bytes = 0
        self._memory_bytes = settings.memory_bytes
        self._address_space_bytes = 0  # of a session; known once the server is ready
        # Packets where the system has them; every packet is one write of one size in any case.
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
        confinement = settings.confinement
        with contextlib.ExitStack() as undo:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, kind)
            undo.callback(self.control.close)
            with theirs:
                self._errors = undo.enter_context(memory_file())
                arguments = {
                    "control": theirs.fileno(),
                    "level": level.value,
                    "preload": settings.preload,
                    "layers": [layer for layer in confinement.layers if layer != "bwrap"],
                    "output_chars": settings.output_chars,
                    "handles": self.gives_handles,
                }
                variant = confinement.bwrap_variant if "bwrap" in confinement.layers else None
                self._program = subprocess.Popen(
                    **bubblewrap.program("jprm.execute.server", arguments, variant),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            undo.pop_all()  # from here on `end` closes them
        self.program_id = self._program.pid
        self.control.setblocking(False)

    @property
    def ready(self) -> bool:
        """Whether it has loaded its modules and takes requests."""
        return self._address_space_bytes > 0

    def is_ready(self, process_id: int, descriptor: int) -> None:
        """Takes its first report: how much memory its sessions start with is seen from outside.

        Raises OSError if that cannot be seen.
        """
        with contextlib.closing(Handle(descriptor, process_id, lambda _: None)) as handle:
            with open(f"/proc/{handle.process_id}/statm") as statm:
                inherited_bytes = int(statm.read().split()[0]) * resource.getpagesize()
            self.inherited_bytes = anonymous_bytes(handle.process_id)
        self._address_space_bytes = inherited_bytes + self._memory_bytes

    def open_session(self, session: int) -> socket.socket:
        """Has a session forked; returns our end of its channel.

        Raises ConnectionError if the server is gone, another OSError if the machine lacks something.
        """
        assert self.ready
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        packet = CONTROL.pack(OPEN, session, self._address_space_bytes)
        with theirs:
            try:
                socket.send_fds(self.control, [packet], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def signal_session(self, session: int, number: int) -> None:
        """Delivers a signal by way of the server, for kernels without pidfds."""
        with contextlib.suppress(OSError):  # it is gone, and its sessions with it
            self.control.send(CONTROL.pack(SIGNAL, session, number))

    def reports(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Yields (kind, session, value, descriptor or -1) of what has arrived. Raises EOFError at its end.

        A descriptor for which there is no room here is dropped by the kernel.
        """
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self.control, CONTROL.size, 1)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                raise EOFError
            yield (*CONTROL.unpack(packet), descriptors[0] if descriptors else -1)

    def hang_up(self) -> None:
        """Asks the server to end its sessions and itself. One that is still loading modules would hear it too late."""
        if not self.ready:
            self.kill()
        self.control.close()

    def end(self, within_s: float) -> None:
        """Hangs up, and kills the server if it has not ended by itself a moment later."""
        self.hang_up()
        try:
            self._program.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._program.wait()
        self._errors.close()

    def kill(self) -> None:
        """Ends the program at once, with all that it started."""
        if self._program.poll() is None:  # else its number may be another's by now
            os.killpg(self._program.pid, signal.SIGKILL)

    def why_not_started(self) -> ServerStartError:
        """Returns the last words of a program that was not ready, after ending it if it still runs."""
        try:
            status = self._program.wait(TELLS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._program.wait()
            return ServerStartError("it was not ready in time", may_pass=False)
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {status}"
        # Bubblewrap and shells report a signal as 128 and its number.
        killed = status < 0 or status > 128
        return ServerStartError(reason, may_pass=killed or is_shortage(reason))


class ServerListener(Protocol):
    """Whoever has sessions forked, and is told what becomes of them."""

    def server_ready(self) -> None:
        """A server takes requests from now on."""

    def session_opened(self, number: int, handle: Handle) -> None:
        """A session process exists."""

    def session_failed(self, number: int, error: OSError) -> None:
        """The machine could not start a session process, for want of something."""

    def session_ended(self, number: int, status: int) -> None:
        """A session process is dead; `status` is as `os.waitpid` gives it."""

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """A server is gone with all its sessions; `error` says why there is no use in another, if so."""


class ForkServers:
    """The servers by preload level.

    warmed: done when the servers that `warm` has started take requests; fails with ServerStartError.
    deadlines: monotonic times by which the servers that are not ready yet have to be.
    """

    def __init__(self, selector: selectors.BaseSelector, listener: ServerListener, settings: PoolSettings):
        self.warmed: Future[None] = Future()
        self.deadlines: dict[ForkServer, float] = {}
        self._selector = selector
        self._listener = listener
        self._settings = settings
        self._servers: dict[PreloadLevel, ForkServer] = {}
        self._failed_starts = Counter[PreloadLevel]()

    def server(self, level: PreloadLevel) -> ForkServer:
        """Returns the server of a level, ready or not. Raises OSError where the machine lacks something."""
        if level not in self._servers:
            server = ForkServer(level, self._settings)
            try:
                self._selector.register(server.control, selectors.EVENT_READ, functools.partial(self._hear, server))
            except OSError:
                server.end(0.0)
                raise
            self._servers[level] = server
            self.deadlines[server] = time.monotonic() + START_LIMIT_S
        return self._servers[level]

    def program_ids(self) -> list[int]:
        """Returns the process ids of the programs that were started; for any thread."""
        return [server.program_id for server in list(self._servers.values())]

    def warm(self, levels: Iterable[PreloadLevel]) -> None:
        """Starts the servers whose readiness `warmed` tells."""
        try:
            for level in levels:
                self.server(level)
        except OSError as error:
            self.warmed.set_exception(ServerStartError(in_words(error), may_pass=True))

    def lose(self, server: ForkServer, why: OSError | None = None) -> None:
        """Gives a server up, alive or not; the next one is started when it is needed.

        why: what the machine lacked, if that is the reason.
        """
        if self._servers.get(server.level) is not server:
            return
        # 1. Find out why it never got ready, if so, and whether there is any use in another.
        del self._servers[server.level]
        self._selector.unregister(server.control)
        error = None
        if self.deadlines.pop(server, None) is not None:
            self._failed_starts[server.level] += 1
            error = server.why_not_started() if why is None else ServerStartError(in_words(why), may_pass=True)
            if error.may_pass and self._failed_starts[server.level] < FAILED_STARTS:
                error = None
        # 2. End the program, with its sessions.
        server.kill()
        server.end(ENDS_BY_ITSELF_WITHIN_S)
        # 3. Tell whoever waits for the pool to open, and whoever had sessions there.
        if not self.warmed.done():
            if error is None:
                self.warm([server.level])
            else:
                self.warmed.set_exception(error)
        self._listener.server_lost(server, error)

    def end(self, why: Exception) -> None:
        """Ends all programs, and with them what sessions are left."""
        if not self.warmed.done():
            self.warmed.set_exception(why)
        for server in self._servers.values():
            server.hang_up()
        deadline_s = time.monotonic() + ENDS_BY_ITSELF_WITHIN_S
        for server in self._servers.values():
            server.end(max(0.0, deadline_s - time.monotonic()))

    def _hear(self, server: ForkServer, _: int) -> None:
        try:
            for kind, number, value, descriptor in server.reports():
                if kind == READY:
                    try:
                        server.is_ready(value, descriptor)
                    except OSError as error:
                        return self.lose(server, error)
                    del self.deadlines[server]
                    self._failed_starts[server.level] = 0
                    if not self.deadlines and not self.warmed.done():
                        self.warmed.set_result(None)
                    self._listener.server_ready()
                elif kind == OPENED:
                    self._opened(server, number, value, descriptor)
                elif kind == FAILED:
                    self._listener.session_failed(number, OSError(value, os.strerror(value)))
                elif kind == ENDED:
                    self._listener.session_ended(number, value)
        except EOFError:
            self.lose(server)

    def _opened(self, server: ForkServer, number: int, process_id: int, descriptor: int) -> None:
        try:
            if descriptor < 0 and server.gives_handles:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            handle = Handle(descriptor, process_id, functools.partial(server.signal_session, number))
        except OSError as error:
            self._listener.session_failed(number, error)  # it ends at its closed channel
        else:
            self._listener.session_opened(number, handle)
