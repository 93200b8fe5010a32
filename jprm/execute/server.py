"""The fork server and the guests: a program that loads modules once and forks a session whenever it is told to.

The server sees process ids and descriptors, never a snippet: its memory, which every session inherits,
holds nothing of another session. It has one thread, so that a fork is always of a process at rest. It
ends with its engine, and its sessions end with it.

A guest is a session process. It puts its jail on, then runs the snippets of one session until it is
killed. Invariant: every request gets exactly one reply, or the process ends. What a snippet writes to
the channel itself is no reply: the engine then ends the process.
"""

import builtins

__builtins__ = dict(vars(builtins))  # a snippet that patches `len` must not break the guest's loop

import errno
import gc
import json
import os
import random
import selectors
import signal
import socket
import sys
from os import _exit, read, write
from typing import NoReturn

from jprm.execute.jail import Jail, end_with_parent, use_huge_pages
from jprm.execute.outcome import ALIVE, CONTROL, ENDED, FAILED, LETTERS, OPEN, OPENED, READY, REPLY, REQUEST, SIGNAL
from jprm.execute.preload import PreloadLevel, load
from jprm.execute.resources import SERVER_OFFER, SESSION_OFFER, offer_to_be_killed
from jprm.execute.runner import Clock, new_namespace, run_snippet

ROUND_S = 0.02
CHANNEL = 3  # the descriptor of the server's control socket, and in a guest of the session's channel
ORPHANAGE = 1  # the process that adopts children whose parent is gone
ENDED_BY_ENGINE, NO_JAIL = 0, 78  # exit statuses


class Server:
    """Forks on request, reports ends, and delivers signals for engines without pidfds.

    Ends are read from pidfds and not told by SIGCHLD, which would also wake it whenever the engine stops a session or
    lets it go on. Where there are none (`handles` is False) it looks around every ROUND_S.
    """

    def __init__(self, control: socket.socket, jail: Jail, output_chars: int, handles: bool):
        self.control = control
        self.jail = jail
        self.output_chars = output_chars
        self.sessions: dict[int, int] = {}  # process id -> session
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.round_s = None if handles else ROUND_S

    def serve(self) -> None:
        """Serves until the engine hangs up."""
        handle = self._open_handle(os.getpid())
        self._tell(READY, 0, os.getpid(), handle)
        if handle is not None:
            os.close(handle)
        while True:
            for key, _ in self.selector.select(self.round_s):
                if key.fileobj is not self.control:
                    self._reap(key.data, key.fd)
                elif not self._obey():
                    return
            if self.round_s is not None:
                for process_id in list(self.sessions):
                    self._reap(process_id, None)

    def end_sessions(self) -> None:
        """Kills and reaps whoever is left."""
        for process_id in self.sessions:
            os.kill(process_id, signal.SIGKILL)
        for process_id in self.sessions:
            os.waitpid(process_id, 0)

    def _obey(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self.control, CONTROL.size, 1)
        if not packet:
            return False
        kind, session, value = CONTROL.unpack(packet)
        if kind == OPEN and not descriptors:  # the kernel drops it where no more can be open
            self._tell(FAILED, session, errno.EMFILE, None)
        elif kind == OPEN:
            self._fork(session, descriptors[0], value)
        elif kind == SIGNAL:
            for process_id, owner in self.sessions.items():
                if owner == session:
                    os.kill(process_id, value)
        return True

    def _fork(self, session: int, channel: int, address_space_bytes: int) -> None:
        try:
            process_id = os.fork()
        except OSError as error:
            os.close(channel)
            self._tell(FAILED, session, error.errno or 0, None)
            return
        if process_id == 0:
            become_guest(channel, self.jail, address_space_bytes, self.output_chars)
        os.close(channel)
        handle = None
        try:
            handle = self._open_handle(process_id)
            if handle is not None:
                self.selector.register(handle, selectors.EVENT_READ, process_id)
            self._tell(OPENED, session, process_id, handle)
            self.sessions[process_id] = session
        except (BrokenPipeError, ConnectionResetError):
            raise  # the engine is gone, and the child ends with us
        except OSError as error:  # a process that nobody could watch must not be
            os.kill(process_id, signal.SIGKILL)
            os.waitpid(process_id, 0)
            if handle is not None:
                if handle in self.selector.get_map():
                    self.selector.unregister(handle)
                os.close(handle)
            self._tell(FAILED, session, error.errno or 0, None)

    def _open_handle(self, process_id: int) -> int | None:
        return os.pidfd_open(process_id) if self.round_s is None else None

    def _reap(self, process_id: int, handle: int | None) -> None:
        reaped, status = os.waitpid(process_id, os.WNOHANG)
        if reaped == 0:
            return
        if handle is not None:
            self.selector.unregister(handle)
            os.close(handle)
        self._tell(ENDED, self.sessions.pop(process_id), status, None)

    def _tell(self, kind: bytes, session: int, value: int, descriptor: int | None) -> None:
        attached = [] if descriptor is None else [descriptor]
        socket.send_fds(self.control, [CONTROL.pack(kind, session, value)], attached)


def become_guest(channel: int, jail: Jail, address_space_bytes: int, output_chars: int) -> NoReturn:
    """Turns a freshly forked process into a session that serves `channel`; never returns."""
    try:
        random.seed(0)  # it seeds itself at a fork
        offer_to_be_killed(SESSION_OFFER)
        os.setsid()
        os.dup2(channel, CHANNEL)  # where the fork server has its own socket
        _close_all_but_channel(jail.ruleset)
        jail.enter(address_space_bytes)
    except BaseException as error:
        # The engine reads anything but ALIVE as the reason why there is no session here.
        write(CHANNEL, f"{type(error).__name__}: {error}"[:200].encode())
        _exit(NO_JAIL)
    if os.getppid() == ORPHANAGE:  # the server was gone before its end could be noticed
        _exit(ENDED_BY_ENGINE)
    _serve_session(output_chars)


def _close_all_but_channel(also_kept: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(CHANNEL):
        os.dup2(nothing, descriptor)
    first, last = CHANNEL + 1, os.sysconf("SC_OPEN_MAX")
    if also_kept >= first:
        os.closerange(first, also_kept)
        first = also_kept + 1
    os.closerange(first, last)


def _serve_session(output_chars: int) -> NoReturn:
    clock, namespace = Clock(), new_namespace()
    _write_all(ALIVE)
    while True:
        size, nonce = REQUEST.unpack(_read_exactly(REQUEST.size))
        code = _read_exactly(size).decode("utf-8", "surrogatepass")
        kind, text = run_snippet(code, namespace, clock, output_chars)
        body = text.encode()
        _write_all(REPLY.pack(len(body), nonce, LETTERS[kind]) + body)


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = read(CHANNEL, size - len(data))
        if not part:
            _exit(ENDED_BY_ENGINE)
        data += part
    return data


def _write_all(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[write(CHANNEL, rest) :]


def main() -> None:
    """Runs the program: settings are one JSON argument, `control` an inherited descriptor."""
    settings = json.loads(sys.argv[1])
    # 1. Tie this program's life to its engine's, and offer it when memory runs out.
    end_with_parent()
    offer_to_be_killed(SERVER_OFFER)
    os.dup2(settings["control"], CHANNEL)
    if settings["control"] != CHANNEL:
        os.close(settings["control"])
    # 2. Load all that a session may import.
    load(PreloadLevel(settings["level"]), settings["preload"])
    # Before the fork, so that every session draws the same numbers, and a replay too.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    jail = Jail(settings["layers"])
    # 3. Make forks cheap: a session's own collections leave the inherited pages alone.
    gc.collect()
    gc.freeze()
    use_huge_pages()
    # 4. Fork.
    server = Server(socket.socket(fileno=CHANNEL), jail, settings["output_chars"], settings["handles"])
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone
    server.end_sessions()
