"""The engine's side of one worker program: start it, ask it, kill it.

Invariant: after any failure (no answer in time, end of stream, a frame that is not the answer) the
program is killed with its whole process group and a new one is started. Nothing that a worker
sends is trusted beyond its size and two strings.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jprm.execute.outcome import DIED, TIMED_OUT, OutcomeKind

PROGRAM = Path(__file__).with_name("worker.py")
START_LIMIT_S = 120.0  # generous: `preload` may import sympy on a busy machine


@dataclass(frozen=True, slots=True)
class Limits:
    """What a snippet may use: wall-clock seconds, bytes of address space, characters of output."""

    timeout_s: float
    grace_s: float
    memory_bytes: int
    output_chars: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a question; `memory` says that the snippet ran out of memory."""

    kind: OutcomeKind
    text: str
    memory: bool = False


class WorkerStartError(RuntimeError):
    """The worker program did not start: a fault of this installation, never of a snippet."""


class Process:
    """A worker program that is replaced by a fresh one whenever it fails.

    Used by one thread only, the one that made it: the kernel ties a worker's life to that thread.

    applied: how many snippets of each session's history the present program has run.
    confined_by: names of the resource limits that the program could set.
    """

    def __init__(self, limits: Limits, preload: tuple[str, ...]):
        self.limits = limits
        self.preload = preload
        self.applied: dict[int, int] = {}
        self.confined_by: tuple[str, ...] = ()
        self.restarts = 0
        self._next_id = 0
        self._start()

    def ask(self, session: int, code: str, seed: int, forget: list[int]) -> Reply:
        """Run `code` in `session`'s namespace, after dropping the closed sessions in `forget`.

        The worker stops the snippet at the time limit; if it has not answered after a grace beyond
        that, or if it is gone, a new program takes its place. Raises WorkerStartError.
        """
        if not self._ready:
            self._await_ready()
        self._next_id += 1
        request = {"id": self._next_id, "session": session, "code": code}
        body = json.dumps(request | {"seed": seed, "forget": forget}).encode("ascii")
        deadline = time.monotonic() + self.limits.timeout_s + self.limits.grace_s
        try:
            self._channel.settimeout(self.limits.timeout_s + self.limits.grace_s)
            self._channel.sendall(len(body).to_bytes(4, "big") + body)
            message = self._receive(deadline)
            if message["id"] != self._next_id:
                raise ValueError("an answer to another question")
            kind = message["kind"]
            if kind not in ("ok", "error", "timeout"):
                raise ValueError("an answer of no known kind")
            return Reply(kind, str(message["text"]), bool(message["memory"]))
        except TimeoutError:
            self.restart()
            return Reply("timeout", TIMED_OUT)
        except (OSError, EOFError, ValueError, LookupError, TypeError):
            self.restart()
            return Reply("died", DIED)

    def restart(self) -> None:
        """Kill the program and start another; all namespaces are lost."""
        self.kill()
        self.applied.clear()
        self.restarts += 1
        self._start()

    def kill(self) -> None:
        """End the program and everything in its process group."""
        self.signal_death()
        self._program.wait()
        self._channel.close()

    def signal_death(self) -> None:
        """Send SIGKILL; the only method that another thread may call."""
        if self._program.returncode is None:
            try:
                os.killpg(self._program.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself a moment ago

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        settings = {
            "channel": theirs.fileno(),
            "preload": self.preload,
            "timeout_s": self.limits.timeout_s,
            "memory_bytes": self.limits.memory_bytes,
            "output_chars": self.limits.output_chars,
        }
        # Not -I: it would also ignore PYTHONHASHSEED, and the order of a printed set with it. The
        # environment is ours alone, -s and -P keep the user's and the current folder out.
        self._program = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", str(PROGRAM), json.dumps(settings)],
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONHASHSEED": "0",
                "PYTHONUTF8": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._channel = ours
        self._ready = False

    def _await_ready(self) -> None:
        try:
            message = self._receive(time.monotonic() + START_LIMIT_S)
            self.confined_by = tuple(message["limits"])
        except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
            raise WorkerStartError(
                f"the worker program did not start ({error}); try: {sys.executable} {PROGRAM}"
            ) from error
        self._ready = True

    def _receive(self, deadline: float) -> dict:
        size = int.from_bytes(self._read(4, deadline), "big")
        # JSON escapes a character outside ASCII to at most 12 bytes; 4096 cover the rest.
        if size > 12 * self.limits.output_chars + 4096:
            raise ValueError("an answer larger than the output limit")
        return json.loads(self._read(size, deadline))

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            self._channel.settimeout(remaining_s)
            part = self._channel.recv(size - len(data))
            if not part:
                raise EOFError("the program ended")
            data += part
        return data
