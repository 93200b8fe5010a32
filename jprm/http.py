"""HTTP to a service that may be busy, restart, be gone, or mean harm: tries, waits, and limits.

One client for whatever this program asks over HTTP. A request is repeated after a lost connection,
a damaged answer and the statuses that say "later"; every other status is the caller's to explain.
Redirects are refused, so that neither texts nor keys go to a host that nobody named.

The transport is httpcore's, the engine beneath httpx: it pools connections, speaks TLS and passes
proxies, and it lets its sockets be wrapped. That is where the limits stand: every wait for a socket
ends with the exchange, so a server that drips bytes, in whatever phase, gains no time by it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import random
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpcore2
from pydantic import TypeAdapter, ValidationError

from jprm.errors import UserError, printable

LATER = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses after which it is right to ask again
LARGEST_WAIT_S = 30.0
CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0  # uvicorn, under vLLM and sglang, closes after 5
LARGEST_ANSWER_BYTES = 64 << 20  # with its head, of which httpcore reads no more than 100 KiB
PIECE_BYTES = 1 << 14
SHOWN = 300  # characters of what a server says
FAULTS = (
    *(httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError),
    *(httpcore2.ProxyError, OSError, UnicodeError),  # the last: of a host
)

T = TypeVar("T")


class Cancelled(Exception):
    """Nobody wants the answer any more."""


class Refused(Exception):
    """The service answered with a status that another try would not change. The text is what it said."""

    def __init__(self, status: int, said: str):
        super().__init__(f"HTTP status {status} {said}".rstrip())
        self.status, self.said = status, said


class Failed(Exception):
    """All tries are used up. answered: whether anything came back from the last of them."""

    def __init__(self, said: str, answered: bool):
        super().__init__(said)
        self.answered = answered


class Call:
    """Requests under way, which another thread may cancel."""

    def __init__(self):
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def cancel(self) -> None:
        """Give up: whoever waits for an answer wakes up, and the server sees the line drop."""
        with self._lock:
            self.cancelled.set()
            for line in self._sockets:
                with contextlib.suppress(OSError):  # it was closed already
                    line.shutdown(socket.SHUT_RDWR)

    def _hold(self, line: socket.socket) -> None:
        with self._lock:
            self._sockets.add(line)
        if self.cancelled.is_set():
            raise Cancelled

    def _drop(self, line: socket.socket | None) -> None:
        with self._lock:
            self._sockets.discard(line)  # type: ignore[arg-type] - None is in no set


class Client:
    """A service at one URL; any number of threads may use it.

    url: as it may be shown. retried: requests that had to be repeated so far.
    """

    def __init__(
        self,
        url: str,
        kind: str,
        api_key: str = "",
        *,
        default_path: str = "",
        timeout_s: float = 300.0,
        tries: int = 8,
        first_wait_s: float = 0.5,
        total_s: float = 900.0,
    ):
        """url: paths are appended to it, behind `default_path` where it has none of its own.

        kind: whose answers are expected, for messages.

        api_key: sent as a bearer token if there is one; a user and password in the URL are sent too.
        timeout_s: for one exchange, from the connection to the last byte. tries: of one request,
        with waits that double from `first_wait_s` on, all within `total_s`.
        Raises UserError for a text that is no such URL, and for a proxy that cannot be used.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        path = parts.path.rstrip("/") or default_path
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
        if not host or parts.scheme not in ("http", "https"):
            where = repr(shown if "@" in url else url)
            raise UserError(f"{where} is not a URL such as http://localhost:8000/v1")
        if parts.query or parts.fragment:
            raise UserError(f"{printable(shown)}: give the URL without what follows its path")
        self.url, self.kind = printable(shown), kind
        self.timeout_s, self.tries = timeout_s, tries
        self.first_wait_s, self.total_s = first_wait_s, total_s
        self.retried = 0
        self._secrets: list[str] = []
        self._headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self._authorization(unquote(parts.username or ""), unquote(parts.password or "")),
        }
        if api_key := api_key.strip():
            if not (api_key.isascii() and api_key.isprintable()):
                raise UserError(f"{self.url}: its key holds characters that no key has")
            self._secrets.append(api_key)
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._target = quote(path, safe="/%:@!$&'()*+,;=~")
        self._origin = parts.scheme, host, port or (443 if parts.scheme == "https" else 80)
        self._pool = httpcore2.ConnectionPool(
            proxy=self._proxy(parts.scheme, host),
            max_connections=None,  # whoever asks bounds that
            keepalive_expiry=KEEP_ALIVE_S,
            network_backend=_Backend(),
        )

    def _authorization(self, user: str, password: str) -> dict[str, str]:
        if not user and not password:
            return {}
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._secrets += [text for text in (password, token) if text]
        return {"Authorization": f"Basic {token}"}

    def _proxy(self, scheme: str, host: str) -> httpcore2.Proxy | None:
        """The proxy that the environment names for this host; none for this machine itself."""
        if host == "localhost" or host.startswith("127.") or host == "::1":
            return None
        if urllib.request.proxy_bypass(host):
            return None
        proxies = urllib.request.getproxies()
        named = proxies.get(scheme) or proxies.get("all")
        if not named:
            return None
        parts = urlsplit(named if "://" in named else f"http://{named}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"the environment's proxy for {self.url} is no http:// or https:// URL; name "
                "another, or put the host into no_proxy"
            )
        bare, auth = parts._replace(netloc=parts.netloc.rpartition("@")[2], path="/"), None
        if parts.username or parts.password:
            auth = unquote(parts.username or ""), unquote(parts.password or "")
            self._secrets += [text for text in auth[1:] if text]
        return httpcore2.Proxy(bare.geturl(), auth=auth)

    def close(self) -> None:
        """Close the connections that rest."""
        self._pool.close()

    def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[bytes], T],
        call: Call,
        *,
        tries: int = 0,
        total_s: float = 0.0,
    ) -> T:
        """What `read` makes of the answer to POST (GET without a body) of a path behind the URL.

        read: raises ValueError for an answer that is not what it should be, which is asked for again.
        tries, total_s: where they are not as usual.
        Raises Cancelled, Refused and Failed, whose texts are one line each, without keys.
        """
        started, total_s = time.monotonic(), total_s or self.total_s
        end, tries, tried = started + total_s, tries or self.tries, 0
        wait_s, reason, answered = self.first_wait_s, "", False
        data = None if body is None else json.dumps(body).encode()
        while True:
            tried += 1
            asked_wait_s, answered = 0.0, False
            try:
                status, headers, answer = self._exchange(path, data, call, end)
            except FAULTS as error:
                if call.cancelled.is_set():
                    raise Cancelled from None
                reason = f"no answer ({self.safe(str(error)) or type(error).__name__})"
            else:
                answered = True
                if status == 200:
                    try:
                        return read(answer)
                    except ValueError as error:
                        begins = self._redacted(answer[:4096].decode("utf-8", "replace"))
                        shown = begins.encode()[:80]
                        reason = f"an answer that is not {self.kind}: {shown!r} ({self.safe(str(error))})"
                else:
                    reason = f"HTTP status {status} {self._message(answer)}".rstrip()
                    if status not in LATER:
                        raise Refused(status, self._said(status, headers, answer))
                    asked_wait_s = _seconds(headers.get("retry-after", ""))
            # Not all at once: half of the wait is chance.
            pause_s = max(asked_wait_s, wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LARGEST_WAIT_S)
            if tried >= tries or time.monotonic() + pause_s > end:
                break
            self.retried += 1
            if call.cancelled.wait(pause_s):
                raise Cancelled
        spent_s = time.monotonic() - started
        asks = f", asks to wait {asked_wait_s:.0f} s" if asked_wait_s > total_s else ""
        tries_text = "1 try" if tried == 1 else f"{tried} tries"
        raise Failed(f"{reason}{asks}; given up after {tries_text} in {spent_s:.0f} s", answered)

    def _exchange(
        self, path: str, data: bytes | None, call: Call, end: float
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request."""
        exchange = _Exchange(call, min(time.monotonic() + self.timeout_s, end))
        token = _EXCHANGE.set(exchange)
        scheme, host, port = self._origin
        try:
            request = httpcore2.Request(
                "GET" if data is None else "POST",
                httpcore2.URL(
                    scheme=scheme,
                    host=host if host.isascii() else host.encode("idna").decode(),
                    port=port,
                    target=self._target + path,
                ),
                headers=self._headers | ({} if data is None else {"Content-Length": str(len(data))}),
                content=data,
            )
            with contextlib.closing(self._pool.handle_request(request)) as response:
                answer = b"".join(response.iter_stream())
                headers = {
                    name.decode("latin-1").lower(): value.decode("latin-1")
                    for name, value in response.headers
                }
            if headers.get("content-encoding", "identity") != "identity":
                raise httpcore2.RemoteProtocolError("an encoding that was not asked for")
            return response.status, headers, answer
        finally:
            call._drop(exchange.line)
            _EXCHANGE.reset(token)

    def _said(self, status: int, headers: Mapping[str, str], answer: bytes) -> str:
        if 300 <= status < 400:
            to = urlsplit(headers.get("location", ""))
            where = f"{to.scheme}://{to.netloc.rpartition('@')[2]}{to.path}".removeprefix("://")
            return f"it redirects to {self.safe(where) or 'nowhere'}; give that URL if it is meant"
        return self._message(answer)

    def _message(self, answer: bytes) -> str:
        """What an error answer says, in one short line: its JSON `message`, or its text."""
        text = answer[: 1 << 16].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said: Any = json.loads(text)
            said = said.get("error", said.get("detail", said))
            text = said if isinstance(said, str) else said["message"]
        return self.safe(str(text))

    def safe(self, text: str) -> str:
        """A server's words as they may be shown: one short line, no keys, no control characters."""
        return printable(" ".join(self._redacted(text).split()))[:SHOWN]

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            for spelled in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                text = text.replace(spelled, "***")
        return text


class _Exchange:
    """One request and its answer: until when, how much may come, and who may cancel it."""

    def __init__(self, call: Call, end: float):
        self.call, self.end = call, end
        self.line: socket.socket | None = None
        self.bytes = 0

    def left_s(self) -> float:
        """Raises httpcore2.ReadTimeout where nothing is left."""
        left_s = self.end - time.monotonic()
        if left_s <= 0:
            raise httpcore2.ReadTimeout("timed out: the answer takes too long")
        return left_s

    def use(self, stream: httpcore2.NetworkStream) -> None:
        """Let the connection be dropped when the call is cancelled. Raises Cancelled."""
        line = stream.get_extra_info("socket")
        if line is not self.line:
            self.call._drop(self.line)
            self.line = line
            self.call._hold(line)

    def count(self, data: bytes) -> bytes:
        """Raises httpcore2.ReadError for an answer without end."""
        self.bytes += len(data)
        if self.bytes > LARGEST_ANSWER_BYTES:
            raise httpcore2.ReadError(f"the answer exceeds {LARGEST_ANSWER_BYTES >> 20} MiB")
        return data


_EXCHANGE: ContextVar[_Exchange] = ContextVar("exchange")  # of this thread


class _Line(httpcore2.NetworkStream):
    """A connection that obeys the exchange of the thread that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange = _EXCHANGE.get()
        exchange.use(self._stream)
        return exchange.count(self._stream.read(max_bytes, exchange.left_s()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        exchange, view = _EXCHANGE.get(), memoryview(buffer)
        exchange.use(self._stream)
        for at in range(0, len(view), PIECE_BYTES):
            self._stream.write(view[at : at + PIECE_BYTES], exchange.left_s())  # type: ignore[arg-type]

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left_s = min(CONNECT_S, _EXCHANGE.get().left_s())
        return _Line(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.SyncBackend):
    """Connects lines."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        left_s = min(CONNECT_S, _EXCHANGE.get().left_s())
        return _Line(super().connect_tcp(host, port, left_s, local_address, socket_options))


def parse(adapter: TypeAdapter[T], answer: bytes) -> T:
    """JSON of a given shape. Raises ValueError, in one line, saying where it has another."""
    try:
        return adapter.validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _seconds(retry_after: str) -> float:
    """The wait that a server asks for, as seconds or a date; 0 where it names none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0
