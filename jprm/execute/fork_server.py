"""The engine's side of a fork server: start it, have it open sessions, hear what it reports."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jprm.errors import UserError
from jprm.execute import kernel, outer
from jprm.execute.handle import Handle
from jprm.execute.resources import anonymous_bytes, is_shortage
from jprm.execute.tiers import Tier
from jprm.execute.wire import CONTROL, OPEN, SIGNAL

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from jprm.execute.server import main; main()"
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a snippet may use: wall-clock seconds, bytes of memory, characters of output."""

    timeout_s: float
    grace_s: float
    memory_bytes: int
    output_chars: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """The layers of the jail that are on (see `jail`), and how bubblewrap is called if it is."""

    layers: tuple[str, ...]
    bwrap_variant: str = "own network"


def environment() -> dict[str, str]:
    """All that a fork server and its sessions see of the engine's environment: nothing of it."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",  # the order of a printed set is the same in every session
        "PYTHONUTF8": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def has_pidfds() -> bool:
    """Whether the kernel has them (Linux 5.3); without, signals go by way of the fork server.

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


def python(*arguments: str) -> list[str]:
    """Command line of a fresh interpreter without the current folder on its path.

    Not with -I, which would ignore PYTHONHASHSEED.
    """
    return [sys.executable, "-P", "-B", *arguments]


def program_of(command: list[str]) -> str | None:
    """What to execute in place of a command's first word; None for that word itself.

    A process that has changed its user may be running an interpreter that it can no longer reach by
    its path.
    """
    if command[0] == sys.executable and not os.access(sys.executable, os.X_OK):
        return "/proc/self/exe"
    return None


class ForkServer:
    """One program; used by the thread that made it, whose end is the program's end.

    program_id: process id of the child that we started (bubblewrap's, if it is around the server).
    gives_handles: whether it attaches pidfds to its reports.
    """

    def __init__(self, tier: Tier, limits: Limits, confinement: Confinement, preload: tuple[str, ...]):
        self.tier = tier
        self._memory_bytes = limits.memory_bytes
        self._address_space_bytes = 0  # known once it is ready
        self.gives_handles = has_pidfds()
        self.inherited_bytes = 0  # of the memory that each of its sessions seems to hold
        # Packets where the system has them; every packet is one write of one size in any case.
        kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
        with contextlib.ExitStack() as undo:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, kind)
            undo.callback(self.control.close)
            with theirs:
                self._errors = undo.enter_context(kernel.memory_file())
                self._program = self._start(theirs, limits, confinement, preload)
            undo.pop_all()  # from here on `end` closes them
        self.program_id = self._program.pid
        self.control.setblocking(False)

    def _start(
        self, theirs: socket.socket, limits: Limits, confinement: Confinement, preload: tuple
    ) -> subprocess.Popen[bytes]:
        settings = {
            "control": theirs.fileno(),
            "tier": self.tier.value,
            "preload": preload,
            "layers": [layer for layer in confinement.layers if layer != "bwrap"],
            "output_chars": limits.output_chars,
            "handles": self.gives_handles,
        }
        command = python("-c", PROGRAM, json.dumps(settings))
        if "bwrap" in confinement.layers:
            command = outer.wrap(command, confinement.bwrap_variant)
        return subprocess.Popen(
            command,
            executable=program_of(command),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    @property
    def ready(self) -> bool:
        """Whether it has loaded its modules and takes requests."""
        return self._address_space_bytes > 0

    def is_ready(self, process_id: int, descriptor: int) -> None:
        """Note its first report: how much memory its sessions start with is seen from outside.

        Raises OSError if that cannot be seen.
        """
        with contextlib.closing(Handle(descriptor, process_id, lambda _: None)) as handle:
            with open(f"/proc/{handle.process_id}/statm") as statm:
                inherited_bytes = int(statm.read().split()[0]) * resource.getpagesize()
            self.inherited_bytes = anonymous_bytes(handle.process_id)
        self._address_space_bytes = inherited_bytes + self._memory_bytes

    def open_session(self, session: int) -> socket.socket:
        """Have a session forked; returns our end of its channel.

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
        """Deliver a signal by way of the server, for kernels without pidfds."""
        try:
            self.control.send(CONTROL.pack(SIGNAL, session, number))
        except OSError:
            pass  # it is gone, and its sessions with it

    def reports(self) -> Iterator[tuple[bytes, int, int, int]]:
        """(kind, session, value, descriptor or -1) of what has arrived. Raises EOFError at its end.

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

    def end(self, within_s: float = ENDS_BY_ITSELF_WITHIN_S) -> None:
        """Hangs up, and kills the server if it has not ended by itself a moment later."""
        self.hang_up()
        try:
            self._program.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._program.wait()
        self._errors.close()

    def kill(self) -> None:
        """End it at once, with all that it started."""
        if self._program.poll() is None:  # else its number may be another's by now
            os.killpg(self._program.pid, signal.SIGKILL)

    def why_not_started(self) -> ServerStartError:
        """The last words of a program that was not ready, after ending it if it still runs."""
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
