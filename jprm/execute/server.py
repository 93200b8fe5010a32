"""The fork server: a program that loads modules once and forks a session whenever it is told to.

It sees process ids and descriptors, never a snippet: its memory, which every session inherits, holds
nothing of another session. One thread, so that a fork is always of a process at rest. It ends with
its engine, and its sessions end with it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys

from jprm.execute import kernel
from jprm.execute.guest import CHANNEL, become_guest
from jprm.execute.jail import Jail
from jprm.execute.tiers import Tier, load
from jprm.execute.wire import CONTROL, ENDED, OPEN, OPENED, READY, SIGNAL


class Server:
    """Forks on request, reports ends, and delivers signals for engines without pidfds."""

    def __init__(self, control: socket.socket, jail: Jail, output_chars: int):
        self.control = control
        self.jail = jail
        self.output_chars = output_chars
        self.sessions: dict[int, int] = {}  # process id -> session

    def serve(self) -> None:
        """Until the engine hangs up."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._tell_with_handle(READY, 0, os.getpid())
        while True:
            readable, _, _ = select.select([self.control, woken], [], [])
            if woken in readable:
                os.read(woken, 4096)
                self._reap()
            if self.control in readable and not self._obey():
                return

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
        if kind == OPEN:
            self._fork(session, descriptors[0], value)
            os.close(descriptors[0])
        elif kind == SIGNAL:
            for process_id, owner in self.sessions.items():
                if owner == session:
                    os.kill(process_id, value)
        return True

    def _fork(self, session: int, channel: int, address_space_bytes: int) -> None:
        process_id = os.fork()
        if process_id == 0:
            become_guest(channel, self.jail, address_space_bytes, self.output_chars)
        self.sessions[process_id] = session
        self._tell_with_handle(OPENED, session, process_id)

    def _tell_with_handle(self, kind: bytes, session: int, process_id: int) -> None:
        try:
            handle = os.pidfd_open(process_id)
        except (AttributeError, OSError):  # a kernel before 5.3: the engine signals through us
            self._tell(kind, session, process_id)
        else:
            self._tell(kind, session, process_id, handle)
            os.close(handle)

    def _reap(self) -> None:
        while self.sessions:
            process_id, status = os.waitpid(-1, os.WNOHANG)
            if process_id == 0:
                return
            self._tell(ENDED, self.sessions.pop(process_id), status)

    def _tell(self, kind: bytes, session: int, value: int, *descriptors: int) -> None:
        socket.send_fds(self.control, [CONTROL.pack(kind, session, value)], list(descriptors))


def main() -> None:
    """The program: settings are one JSON argument, `control` an inherited descriptor."""
    settings = json.loads(sys.argv[1])
    kernel.end_with_parent(signal.SIGKILL)
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
    server = Server(socket.socket(fileno=CHANNEL), jail, settings["output_chars"])
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the engine is gone
    server.end_sessions()


if __name__ == "__main__":
    main()
