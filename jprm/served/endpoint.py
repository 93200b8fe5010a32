"""HTTP to a server that may be busy, restart, or be gone: tries with waits, and an end to them.

A request is repeated after a lost connection, a time limit, a damaged answer and the statuses that
say "later"; every other refusal is the user's to solve and is said at once. Nothing waits longer
than `total_s`, and a request can be cancelled from another thread at any time.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from jprm.errors import UserError

LATER = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses after which it is right to ask again
LARGEST_WAIT_S = 30.0
CONNECT_S = 10.0
LARGEST_ANSWER_BYTES = 64 << 20

T = TypeVar("T")


class Refused(Exception):
    """The server understood the request and will not serve it (HTTP 400 or 422)."""


class Cancelled(Exception):
    """Nobody wants the answer any more."""


class Call:
    """One request under way, which another thread may cancel."""

    def __init__(self):
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """Give up: whoever waits for the answer wakes up, and the server sees the line drop."""
        with self._lock:
            self.cancelled.set()
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it was closed already

    def hold(self, line: socket.socket | None) -> None:
        """Name the connection to drop; None when it is closed. Raises Cancelled."""
        with self._lock:
            self._socket = line
        if line is not None and self.cancelled.is_set():
            raise Cancelled


class Endpoint:
    """An OpenAI-compatible server.

    retried: requests that had to be repeated so far.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        timeout_s: float = 300.0,
        tries: int = 8,
        first_wait_s: float = 0.5,
        total_s: float = 900.0,
    ):
        """url: such as http://localhost:8000/v1; api_key: sent as a bearer token if there is one.

        timeout_s: for one answer. tries: of one request, with waits that double from `first_wait_s`
        on, all within `total_s`. Raises UserError for a text that is no such URL.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise UserError(f"{url!r} is not a URL such as http://localhost:8000/v1")
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = host, port or (443 if secure else 80)
        path = parts.path.rstrip("/").removesuffix("/completions")
        self._root = path or "/v1"
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._root}"
        self._headers = {"Content-Type": "application/json", "Connection": "close"}
        if api_key := api_key.strip():
            if not (api_key.isascii() and api_key.isprintable()):
                raise UserError(f"{self.url}: its key holds characters that no key has")
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.timeout_s, self.tries = timeout_s, tries
        self.first_wait_s, self.total_s = first_wait_s, total_s
        self.retried = 0

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], T],
        call: Call,
        tries: int = 0,
    ) -> T:
        """What `read` makes of the JSON that POST (GET without a body) of a path answers.

        read: raises ValueError, LookupError, TypeError or AttributeError for an answer that is not
            what it should be, which is then asked for again.
        tries: if not as many as usual.
        Raises Cancelled; Refused for HTTP 400 and 422; UserError for all else that cannot be had.
        """
        started = time.monotonic()
        wait_s, reason, tried, tries = self.first_wait_s, "", 0, tries or self.tries
        while tried < tries:
            left_s = started + self.total_s - time.monotonic()
            if left_s <= 0:
                break
            tried += 1
            asked_wait_s = 0.0
            try:
                status, retry_after, answer = self._exchange(path, body, call, left_s)
            except (
                OSError,
                http.client.HTTPException,
                UnicodeError,
            ) as error:  # the last: of a host
                if call.cancelled.is_set():
                    raise Cancelled from None
                reason = f"no answer ({str(error) or type(error).__name__})"
            else:
                if status == 200:
                    try:
                        return read(json.loads(answer))
                    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                        reason = f"an answer that is not a server's of models: {answer[:80]!r}"
                elif status in LATER:
                    reason = f"HTTP status {status} {_message(answer)}"
                    asked_wait_s = _seconds(retry_after)
                else:
                    self._refuse(path, status, _message(answer))
            # Not all at once: half of the wait is chance.
            pause_s = max(asked_wait_s, wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LARGEST_WAIT_S)
            if tried == tries or time.monotonic() + pause_s > started + self.total_s:
                break
            self.retried += 1
            if call.cancelled.wait(pause_s):
                raise Cancelled
        spent_s = time.monotonic() - started
        raise UserError(f"{self.url}: {reason}; given up after {tried} tries in {spent_s:.0f} s")

    def _exchange(
        self, path: str, body: Mapping[str, Any] | None, call: Call, left_s: float
    ) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body of one request that takes `left_s` at most."""
        end = time.monotonic() + min(self.timeout_s, left_s)
        line = self._connection(self._host, self._port, timeout=min(CONNECT_S, left_s))
        try:
            line.connect()
            call.hold(line.sock)
            method, data = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
            line.sock.settimeout(max(end - time.monotonic(), 0.001))
            line.request(method, f"{self._root}{path}", data, self._headers)
            response = line.getresponse()
            parts = []
            while part := response.read1(1 << 16):
                parts.append(part)
                if time.monotonic() > end:  # a server that dribbles never stays silent for long
                    raise TimeoutError("the answer takes too long")
                if sum(map(len, parts)) > LARGEST_ANSWER_BYTES:
                    raise http.client.HTTPException("the answer does not end")
            answer = b"".join(parts)
            expected = response.headers.get("Content-Length")
            if expected is not None and len(answer) < int(expected):
                raise http.client.IncompleteRead(answer, int(expected) - len(answer))
            return response.status, response.headers.get("Retry-After"), answer
        finally:
            call.hold(None)
            line.close()

    def _refuse(self, path: str, status: int, message: str) -> NoReturn:
        said = f"HTTP status {status} {message}".rstrip()
        if status in (400, 422):
            raise Refused(message or said)
        if status in (401, 403):
            raise UserError(f"{self.url}: {said}; give the key of the server")
        if status == 404:
            raise UserError(
                f"{self.url}: {said}; check the URL (it ends with /v1) and the name of the model"
            )
        raise UserError(f"{self.url}{path}: {said}; is it a server of the OpenAI kind?")


def _message(answer: bytes) -> str:
    """What an error answer says, in one short line: its JSON `message`, or its text."""
    text = answer.decode("utf-8", "replace")
    try:
        said = json.loads(text)
        said = said.get("error", said)
        text = said if isinstance(said, str) else said["message"]
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return " ".join(str(text).split())[:300]


def _seconds(retry_after: str | None) -> float:
    """The wait that a server asks for; 0 where it names none, or a date."""
    try:
        return max(float(retry_after or 0), 0.0)
    except ValueError:
        return 0.0
