"""The limits of one request and its answer, which every socket that they use obeys.

httpcore bounds each wait for a socket; here all of them end together, so that a server that drips
bytes, in whatever phase, gains no time by it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import httpcore2

CONNECT_S = 10.0
LARGEST_ANSWER_BYTES = 64 << 20  # with its head, of which httpcore reads no more than 100 KiB
PIECE_BYTES = 1 << 14


class Cancelled(Exception):
    """Nobody wants the answer any more."""


class Call:
    """Requests under way, which another thread may cancel."""

    def __init__(self):
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def cancel(self) -> None:
        """Gives the requests up. Threads that wait for an answer wake up, and the server sees its connection close."""
        with self._lock:
            self.cancelled.set()
            for line in self._sockets:
                with contextlib.suppress(OSError):  # it was closed already
                    line.shutdown(socket.SHUT_RDWR)

    def hold(self, line: socket.socket) -> None:
        """Remembers a connection that `cancel` has to close. Raises Cancelled if that was called already."""
        with self._lock:
            self._sockets.add(line)
        if self.cancelled.is_set():
            raise Cancelled

    def drop(self, line: socket.socket | None) -> None:
        """Forgets a connection that is no longer in use."""
        with self._lock:
            self._sockets.discard(line)  # type: ignore[arg-type] - None is in no set


class Exchange:
    """The limits of one request and its answer: when it has to end, how long it may be, who may cancel it."""

    def __init__(self, call: Call, end: float):
        self.call, self.end = call, end
        self.line: socket.socket | None = None
        self.bytes = 0

    def left_s(self) -> float:
        """Returns the seconds until the exchange has to end. Raises httpcore2.ReadTimeout if there are none."""
        left_s = self.end - time.monotonic()
        if left_s <= 0:
            raise httpcore2.ReadTimeout("timed out: the answer takes too long")
        return left_s

    def use(self, stream: httpcore2.NetworkStream) -> None:
        """Has the connection closed if the call is cancelled. Raises Cancelled if it was already."""
        line = stream.get_extra_info("socket")
        if line is not self.line:
            self.call.drop(self.line)
            self.line = line
            self.call.hold(line)

    def count(self, data: bytes) -> bytes:
        """Counts what has arrived. Raises httpcore2.ReadError if the answer is longer than any may be."""
        self.bytes += len(data)
        if self.bytes > LARGEST_ANSWER_BYTES:
            raise httpcore2.ReadError(f"the answer exceeds {LARGEST_ANSWER_BYTES >> 20} MiB")
        return data


EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")  # of this thread


class Line(httpcore2.NetworkStream):
    """A connection that obeys the exchange of the thread that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore has it, until the exchange ends."""
        exchange = EXCHANGE.get()
        exchange.use(self._stream)
        return exchange.count(self._stream.read(max_bytes, exchange.left_s()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore has it, until the exchange ends; in pieces, each of which asks what is left."""
        exchange, view = EXCHANGE.get(), memoryview(buffer)
        exchange.use(self._stream)
        for at in range(0, len(view), PIECE_BYTES):
            self._stream.write(view[at : at + PIECE_BYTES], exchange.left_s())  # type: ignore[arg-type]

    def close(self) -> None:
        """As httpcore has it."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """As httpcore has it, until the exchange ends; OpenSSL counts a whole handshake."""
        left_s = min(CONNECT_S, EXCHANGE.get().left_s())
        return Line(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        """As httpcore has it."""
        return self._stream.get_extra_info(info)


class Backend(httpcore2.SyncBackend):
    """Opens connections that obey the exchange of their thread."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """As httpcore has it, until the exchange ends."""
        left_s = min(CONNECT_S, EXCHANGE.get().left_s())
        return Line(super().connect_tcp(host, port, left_s, local_address, socket_options))
