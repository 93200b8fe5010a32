"""The fork server: a program that loads modules once and forks a session whenever it is told to.

It sees process ids and descriptors, never a snippet: its memory, which every session inherits, holds
nothing of another session. One thread, so that a fork is always of a process at rest. It ends with
its engine, and its sessions end with it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import selectors
import signal
import socket
import sys

from jprm.execute import kernel
from jprm.execute.guest import CHANNEL, become_guest
from jprm.execute.jail import Jail
from jprm.execute.resources import SERVER_OFFER, offer_to_be_killed
from jprm.execute.tiers import Tier, load
from jprm.execute.wire import CONTROL, ENDED, FAILED, OPEN, OPENED, READY, SIGNAL

ROUND_S = 0.02


class Server:
    """Forks on request, reports ends, and delivers signals for engines without pidfds.

    Ends are read from pidfds and not told by SIGCHLD, which would also wake it whenever the engine
    stops a session or lets it go on. Where there are none (`handles` is False) it looks around every
    ROUND_S.
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
        """Until the engine hangs up."""
        handle = self._open_handle(os.getpid())
        self._tell(READY, 0, os.getpid(), handle)
        if handle is not None:
            os.close(handle)
        while True:
            for key, _ in self.selector.select(self.round_s):
                if key.fileobj is not self.control:
                    self._bury(key.data, key.fd)
                elif not self._obey():
                    return
            if self.round_s is not None:
                for process_id in list(self.sessions):
                    self._bury(process_id, None)

    def end_sessions(self) -> None:
        """Kill and bury whoever is left."""
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

    def _bury(self, process_id: int, handle: int | None) -> None:
        buried, status = os.waitpid(process_id, os.WNOHANG)
        if buried == 0:
            return
        if handle is not None:
            self.selector.unregister(handle)
            os.close(handle)
        self._tell(ENDED, self.sessions.pop(process_id), status, None)

    def _tell(self, kind: bytes, session: int, value: int, descriptor: int | None) -> None:
        attached = [] if descriptor is None else [descriptor]
        socket.send_fds(self.control, [CONTROL.pack(kind, session, value)], attached)


def main() -> None:
    """The program: settings are one JSON argument, `control` an inherited descriptor."""
    settings = json.loads(sys.argv[1])
    kernel.end_with_parent(signal.SIGKILL)
    offer_to_be_killed(SERVER_OFFER)
    os.dup2(settings["control"], CHANNEL)
    if settings["control"] != CHANNEL:
        os.close(settings["control"])
    load(Tier(settings["tier"]), settings["preload"])
    # Before the fork, so that every session draws the same numbers, and a replay too.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    jail = Jail(settings["layers"])
    gc.collect()
    gc.freeze()  # a session's own collections then leave the inherited pages alone
    kernel.use_huge_pages()
    control = socket.socket(fileno=CHANNEL)
    server = Server(control, jail, settings["output_chars"], settings["handles"])
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone
    server.end_sessions()


if __name__ == "__main__":
    main()
