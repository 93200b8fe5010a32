"""The worker program: runs snippets in named namespaces, one at a time, until the engine hangs up.

Started by path with a clean environment, it imports the standard library only, so that it is up in
some 30 ms; sympy, numpy and scipy are there for the snippets that import them. Requests and replies
are length-prefixed JSON on one inherited descriptor; nothing is ever unpickled.

Invariant: every request gets exactly one reply, or the process ends and the engine sees the end of
the stream. What a snippet can do by accident (raise anything, exit, loop, print without end, eat
memory, fork, write files) ends in one of these two. The audit hook below is a guard rail against
accidents, not a wall: ctypes walks around it, and patched modules are seen by other sessions.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import signal
import sys

TRUNCATED = "... [output truncated]"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED_EVENTS = frozenset(
    "os.fork os.forkpty os.posix_spawn os.exec os.system subprocess.Popen os.kill os.killpg "
    "signal.pthread_kill os.remove os.rename os.rmdir os.mkdir os.link "
    "os.symlink os.truncate os.chmod os.chown os.utime resource.setrlimit socket.connect "
    "socket.bind socket.sendto socket.sendmsg socket.getaddrinfo".split()
)


class Output(io.StringIO):
    """Standard output that keeps the first `limit` characters and swallows the rest."""

    def __init__(self, limit: int):
        super().__init__()
        self.room = limit
        self.truncated = False

    def write(self, text: str) -> int:
        """Keep what still fits; report all of it as written."""
        kept = text[: self.room]
        self.room -= len(kept)
        self.truncated |= len(kept) < len(text)
        super().write(kept)
        return len(text)

    def text(self) -> str:
        """What the model reads: stripped, as in the reference."""
        return self.getvalue().strip() + (TRUNCATED if self.truncated else "")


class Clock:
    """The soft time limit: raises the reference's TimeoutError inside the running snippet."""

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self.armed = False

    def start(self) -> None:
        """Arm; the handler is set anew each time because a snippet may have replaced it."""
        signal.signal(signal.SIGALRM, self._ring)
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, self.limit_s)

    def stop(self) -> None:
        """Disarm; an alarm already on its way is ignored."""
        self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _ring(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            raise TimeoutError("Code execution timed out")


def run_snippet(code: str, namespace: dict, clock: Clock, output_chars: int) -> dict:
    """Run one snippet as the reference does and return the reply: kind, text, memory.

    Kept from the reference: a bare dict as globals (so `__name__` is "builtins"), output lost when
    an exception follows, any TimeoutError reads as a time-out, names bound before an exception
    stay. Changed: SystemExit ends the snippet quietly instead of ending the evaluator.
    """
    output = Output(output_chars)
    sys.stdout, sys.stdin = output, io.StringIO()
    memory = False
    try:
        clock.start()
        # An exception's own __str__ is the snippet's code too: the text is built under the clock.
        try:
            exec(code, namespace)
            kind, text = "ok", ""
        except SystemExit:
            kind, text = "ok", ""
        except TimeoutError as error:
            kind, text = "timeout", f"Code execute time out: {error}"
        except BaseException as error:
            memory = isinstance(error, MemoryError)
            kind, text = "error", f"Code execute Error: {type(error).__name__}: {error}"
        clock.armed = False
    except TimeoutError as error:
        kind, text = "timeout", f"Code execute time out: {error}"
    except BaseException as error:
        memory = isinstance(error, MemoryError)
        kind, text = "error", f"Code execute Error: {type(error).__name__}: "
    clock.stop()
    sys.stdout, sys.stdin = sys.__stdout__, sys.__stdin__
    if kind == "ok":
        text = output.text()
    elif len(text) > output_chars:
        text = text[:output_chars] + TRUNCATED
    text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate fits into no file
    return {"kind": kind, "text": text, "memory": memory}


def confine(memory_bytes: int) -> list[str]:
    """Set every limit that this system has; return the names of those that hold."""
    try:
        os.chdir("/proc")  # no file can be made here, whoever asks
    except OSError:
        os.chdir("/")
    limits = {"AS": memory_bytes, "FSIZE": 0, "CORE": 0, "NPROC": 0, "NOFILE": 64}
    held = []
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (AttributeError, ValueError, OSError):
            continue  # not on this system: the caller is told which ones hold
        held.append(name)
    sys.addaudithook(refuse)
    return held


def refuse(event: str, arguments: tuple) -> None:
    """Audit hook: no processes, signals, connections, or files opened for writing."""
    if event == "open":
        path, _, flags = arguments
        if path == os.devnull or not (flags or 0) & WRITING:
            return
    elif event not in REFUSED_EVENTS:
        return
    raise PermissionError(f"{event} is not available to snippets")


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its engine is gone, even in the middle of C code."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def send(channel: int, message: dict) -> None:
    """Write one frame: four bytes of length, then JSON."""
    body = json.dumps(message).encode("ascii")
    frame = memoryview(len(body).to_bytes(4, "big") + body)
    while frame:
        frame = frame[os.write(channel, frame) :]


def main() -> None:
    """Serve requests `{id, session, code, seed, forget}` until the engine closes the channel."""
    settings = json.loads(sys.argv[1])
    channel = settings["channel"]
    end_with_parent()
    for module in settings["preload"]:
        __import__(module)
    requests = open(channel, "rb", closefd=False)
    clock = Clock(settings["timeout_s"])
    namespaces: dict[int, dict] = {}
    send(channel, {"ready": True, "limits": confine(settings["memory_bytes"])})
    while header := requests.read(4):
        request = json.loads(requests.read(int.from_bytes(header, "big")))
        for session in request["forget"]:
            namespaces.pop(session, None)
        # Seeded per snippet: what it prints must not depend on which sessions ran before it.
        random.seed(request["seed"])
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed(request["seed"])
        namespace = namespaces.setdefault(request["session"], {})
        reply = run_snippet(request["code"], namespace, clock, settings["output_chars"])
        send(channel, {"id": request["id"], **reply})


if __name__ == "__main__":
    main()
