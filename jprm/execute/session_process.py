"""The engine's side of one session process: questions, answers, signals.

Nothing that the process sends is trusted beyond its size, the nonce of our question, one letter and
a text. What does not fit raises Forgery, and the process is ended.
"""

import os
import signal
import socket
import time

from jprm.execute.fork_servers import ForkServer, Handle
from jprm.execute.outcome import ALIVE, KINDS, REPLY, REQUEST, OutcomeKind, largest_reply_bytes
from jprm.execute.runner import TRUNCATED


class Forgery(Exception):
    """Bytes on a session's channel that answer no question."""


class SessionProcess:
    """A live namespace. Its channel is never blocked on.

    number: given to no other process; identity: of the session that it serves.
    handle: None until the server has told that the process exists.
    alive: whether its jail is on. ending: whether its end is being waited for.
    applied: snippets of its session's history that it has run.
    asked_at_s, deadline_s: monotonic times; the deadline is infinite while nothing is asked.
    rebuilding_since_s: when the first snippet of the history was asked again; 0.0 before that.
    held_bytes: memory beyond what it was forked with, as of the last look.
    killed: whether its end was ordered here; if not, the kernel or somebody else has killed it.
    """

    def __init__(self, number: int, identity: int, server: ForkServer, output_chars: int):
        self.number = number
        self.identity = identity
        self.server = server
        self.channel = server.open_session(number)
        self.handle: Handle | None = None
        self.alive = self.ending = self.alarmed = self.killed = False
        self.applied = 0
        self.asked_at_s = 0.0
        self.deadline_s = float("inf")
        self.rebuilding_since_s = 0.0
        self.held_bytes = 0
        self.outgoing = b""
        self._output_chars = output_chars
        self._incoming = bytearray()
        self._nonce = b""
        self._paused = False

    @property
    def ready(self) -> bool:
        """Whether it can be asked and signalled."""
        return self.alive and self.handle is not None and not self.ending

    def ask(self, code: str, timeout_s: float) -> None:
        """Sends a snippet, and lets the process run."""
        assert self.handle is not None and not self._nonce
        self._nonce = os.urandom(16)
        body = code.encode("utf-8", "surrogatepass")
        self.outgoing = REQUEST.pack(len(body), self._nonce) + body
        self.asked_at_s = time.monotonic()
        self.deadline_s = self.asked_at_s + timeout_s
        self.alarmed = False
        self.flush()
        self.resume()  # after the question, so that it wakes once

    def flush(self) -> None:
        """Sends what the channel takes of a long snippet; the rest stays in `outgoing`."""
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.channel.send(self.outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self.outgoing = b""  # it is gone; its end is read from the channel

    def hear(self) -> tuple[OutcomeKind, str] | None:
        """Returns the answer, if it is complete. Raises EOFError at the end, Forgery, or OSError if the
        jail could not be put on.

        The guest is told to keep its text short; what a hostile one sends is cut here.
        """
        try:
            part = self.channel.recv(65_536)
        except BlockingIOError:
            return None
        except OSError:
            part = b""
        if not part:
            raise EOFError
        self._incoming += part
        if not self.alive:
            if self._incoming[:1] != ALIVE:
                raise OSError(self._incoming.decode("utf-8", "replace"))
            self.alive = True
            del self._incoming[:1]
        if self._incoming and not self._nonce:
            raise Forgery("an answer without a question")
        if len(self._incoming) < REPLY.size:
            return None
        size, nonce, letter = REPLY.unpack_from(self._incoming)
        if size > largest_reply_bytes(self._output_chars) or nonce != self._nonce or letter not in KINDS:
            raise Forgery("an answer to another question")
        if len(self._incoming) < REPLY.size + size:
            return None
        if len(self._incoming) > REPLY.size + size:
            raise Forgery("more than an answer")
        text = self._incoming[REPLY.size :].decode("utf-8", "replace")
        self._incoming.clear()
        self._nonce = b""
        self.deadline_s = float("inf")
        if len(text) > self._output_chars + len(TRUNCATED):
            text = text[: self._output_chars] + TRUNCATED
        return KINDS[letter], text

    def _peek(self) -> bytes | None:
        """The next byte on the channel; empty at its end, None if there is nothing to read."""
        try:
            return self.channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def has_bytes(self) -> bool:
        """Whether `hear` would read something, be it the end."""
        return self._peek() is not None

    def is_lost(self) -> bool:
        """Whether the process has ended while it rested; one that is at work is not asked."""
        return self.ready and not self._nonce and self._peek() == b""

    def pause(self) -> None:
        """Stops the process, threads and timers of the guest included, until it is asked again."""
        if self.handle is not None and not self._paused:
            self._paused = True
            self.handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        if self.handle is not None and self._paused:
            self._paused = False
            self.handle.signal(signal.SIGCONT)

    def alarm(self) -> None:
        """Tells the guest that its time is over."""
        assert self.handle is not None
        self.alarmed = True
        self.handle.signal(signal.SIGALRM)

    def kill(self) -> None:
        """Ends the process; its server reaps it."""
        self.killed = True
        if self.handle is not None:
            self.handle.signal(signal.SIGKILL)

    def forget(self) -> None:
        """Kills, and gives the descriptors back. Without a handle yet, it ends at the closed channel."""
        self.kill()
        self.channel.close()
        if self.handle is not None:
            self.handle.close()
            self.handle = None
