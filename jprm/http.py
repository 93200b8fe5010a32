"""HTTP to a service that may be busy, restart, be gone or mean harm: tries, waits and limits.

This is the one client for whatever the program asks over HTTP: enter by `Client(url, kind).ask(path, body, read,
call)`. A request is repeated after a lost connection, a damaged answer and the statuses that say "later"; every other
status is the caller's to explain. Redirects are refused, so that neither texts nor keys go to a host that nobody named.

httpx carries the requests, in an event loop that runs in a thread of its own. There one timeout covers
a whole exchange, so a server that drips bytes gains no time by it in any phase, and a request that is
cancelled closes its connection.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import functools
import json
import math
import os
import random
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from jprm.errors import UserError, printable

LATER = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses after which it is right to ask again
LARGEST_WAIT_S = 30.0  # between two tries, unless the server asks for more
LONGEST_ASKED_WAIT_S = 1e6  # more than anybody waits, and short enough to be shown
CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0  # uvicorn, under vLLM and sglang, closes after 5
LARGEST_ANSWER_BYTES = 64 << 20  # without its head, of which httpx reads no more than 100 KiB
SHOWN_CHARS = 300  # of what a server says
READ_BYTES = 1 << 16  # of an answer that is shown and not parsed

T = TypeVar("T")


class Cancelled(Exception):
    """Nobody wants the answer any more."""


class Refused(Exception):
    """The service answered with a status that another try would not change. `said` is what it told."""

    def __init__(self, status: int, said: str):
        super().__init__(f"HTTP status {status} {said}".rstrip())
        self.status, self.said = status, said


class Failed(Exception):
    """All tries are used up. `answered` says whether anything came back from the last of them."""

    def __init__(self, said: str, answered: bool):
        super().__init__(said)
        self.answered = answered


class Call:
    """Requests under way, which another thread may cancel."""

    def __init__(self):
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._exchanges: set[concurrent.futures.Future[Any]] = set()

    def cancel(self) -> None:
        """Gives the requests up: threads that wait for an answer wake up, and the server sees its connection close."""
        with self._lock:
            self.cancelled.set()
            exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cancel()

    def wait_for(self, exchange: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
        """Runs one exchange in the loop and returns its result. Raises Cancelled once `cancel` was called."""
        with self._lock:
            if self.cancelled.is_set():
                exchange.close()
                raise Cancelled
            future = asyncio.run_coroutine_threadsafe(exchange, loop)
            self._exchanges.add(future)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None
        finally:
            future.cancel()  # where the wait itself was interrupted, as by Ctrl-C
            with self._lock:
                self._exchanges.discard(future)


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
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
            self._address += parts.path.rstrip("/") or default_path
            host = httpx2.URL(self._address).host if parts.scheme in ("http", "https") else ""
        except (ValueError, httpx2.InvalidURL):
            host = ""
        if not host:
            raise UserError(f"{url.rpartition('@')[2]!r} is not a URL such as http://localhost:8000/v1")
        self.url, self.kind = printable(self._address), kind
        if parts.query or parts.fragment:
            raise UserError(f"{self.url}: give the URL without what follows its path")
        self.timeout_s, self.tries, self.first_wait_s, self.total_s = timeout_s, tries, first_wait_s, total_s
        self.retried = 0
        self._secrets: list[str] = []
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if parts.username or parts.password:
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._secrets += [text for text in (password, token) if text]
            headers["Authorization"] = f"Basic {token}"
        if api_key := api_key.strip():
            if not (api_key.isascii() and api_key.isprintable()):
                raise UserError(f"{self.url}: its key holds characters that no key has")
            self._secrets.append(api_key)
            headers["Authorization"] = f"Bearer {api_key}"
        self._loop = _event_loop()
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            limits=httpx2.Limits(keepalive_expiry=KEEP_ALIVE_S),
            proxy=self._proxy(parts.scheme, host),
            trust_env=False,  # `_proxy` has read the environment
            # Certificates are read only where there is TLS: that takes a while.
            verify=httpx2.create_ssl_context() if parts.scheme == "https" else False,
        )

    def _proxy(self, scheme: str, host: str) -> httpx2.URL | None:
        """Returns the proxy that the environment names for this host; none for this machine itself."""
        is_here = host in ("localhost", "::1") or host.startswith("127.")
        proxies = {} if is_here or urllib.request.proxy_bypass(host) else urllib.request.getproxies()
        named = proxies.get(scheme) or proxies.get("all")
        if not named:
            return None
        with contextlib.suppress(httpx2.InvalidURL, ValueError):
            proxy = httpx2.URL(named if "://" in named else f"http://{named}")
            if proxy.scheme in ("http", "https") and proxy.host:
                self._secrets += [proxy.password] if proxy.password else []
                return proxy
        raise UserError(
            f"the environment's proxy for {self.url} is no http:// or https:// URL; name "
            "another, or put the host into no_proxy"
        )

    def close(self) -> None:
        """Closes the connections."""
        asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop).result()

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
        """Sends a POST (a GET if there is no body) and returns what `read` makes of the answer.

        path: is appended to the URL.
        read: raises ValueError for an answer that is not what it should be, which is asked for again.
        tries, total_s: where they are not as usual.
        Raises Cancelled, Refused and Failed, whose texts are one line each, without keys.
        """
        started, total_s, tries = time.monotonic(), total_s or self.total_s, tries or self.tries
        end, wait_s, tried = started + total_s, self.first_wait_s, 0
        data = None if body is None else json.dumps(body).encode()
        while True:
            # 1. Ask once, and return an answer that can be read.
            tried += 1
            asked_wait_s, answered = 0.0, False
            try:
                status, headers, answer = call.wait_for(self._exchange(path, data, end), self._loop)
            except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
                reason = f"no answer ({self.safe(_cause(error)) or type(error).__name__})"
            else:
                answered = True
                if status == 200:
                    try:
                        return read(answer)
                    except ValueError as error:
                        begins = answer[:READ_BYTES].decode("utf-8", "replace")
                        shown = _redacted(begins, self._secrets).encode()[:80]
                        reason = f"an answer that is not {self.kind}: {shown!r} ({self.safe(str(error))})"
                else:
                    reason = f"HTTP status {status} {self.safe(_message(answer))}".rstrip()
                    if status not in LATER:
                        raise Refused(status, self._said(status, headers, answer))
                    asked_wait_s = _asked_wait_s(headers.get("retry-after", ""))
            # 2. Wait before the next try, or give up. Half of the wait is chance: not all ask again at once.
            pause_s = max(asked_wait_s, wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LARGEST_WAIT_S)
            if tried >= tries or time.monotonic() + pause_s > end:
                spent_s = time.monotonic() - started
                asks = f", asks to wait {asked_wait_s:.0f} s" if asked_wait_s > total_s else ""
                tries_text = "1 try" if tried == 1 else f"{tried} tries"
                raise Failed(f"{reason}{asks}; given up after {tries_text} in {spent_s:.0f} s", answered)
            self.retried += 1
            if call.cancelled.wait(pause_s):
                raise Cancelled

    async def _exchange(self, path: str, data: bytes | None, end: float) -> tuple[int, httpx2.Headers, bytes]:
        """Sends one request and returns status, headers and body of its answer."""
        method, answer = "GET" if data is None else "POST", bytearray()
        try:
            async with (
                asyncio.timeout(min(self.timeout_s, end - time.monotonic())),
                self._http.stream(method, self._address + path, content=data) as response,
            ):
                async for piece in response.aiter_raw():
                    answer += piece
                    if len(answer) > LARGEST_ANSWER_BYTES:
                        raise httpx2.ReadError(f"the answer exceeds {LARGEST_ANSWER_BYTES >> 20} MiB")
        except TimeoutError:
            raise httpx2.ReadTimeout("timed out: the answer takes too long") from None
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise httpx2.RemoteProtocolError("an encoding that was not asked for")
        return response.status_code, response.headers, bytes(answer)

    def _said(self, status: int, headers: Mapping[str, str], answer: bytes) -> str:
        if not 300 <= status < 400 or status == 304:
            return self.safe(_message(answer))
        where = self.safe(headers.get("location", "").rpartition("@")[2])
        return f"it redirects to {where or 'nowhere'}; give that URL if it is meant"

    def safe(self, text: str) -> str:
        """Returns a server's words as they may be shown: one short line, no keys, no control characters."""
        return printable(" ".join(_redacted(text, self._secrets).split()))[:SHOWN_CHARS]


def parse(adapter: TypeAdapter[T], answer: bytes) -> T:
    """Parses JSON of a given shape. Raises ValueError, in one line, naming the place where it has another."""
    try:
        return adapter.validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


@functools.cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop that carries all requests, in a thread that does not keep the program from ending."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="http", daemon=True).start()
    return loop


os.register_at_fork(after_in_child=_event_loop.cache_clear)  # the thread stays behind


def _cause(error: BaseException | None) -> str:
    """Says why no answer came: the system's own reason where there is one beneath httpx's."""
    said = str(error)
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            said = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)  # negative: of a host's name
        error = error.exceptions[-1] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    return said


def _redacted(text: str, secrets: list[str]) -> str:
    """Hides the keys in a text. Do this before cutting the text, since a cut could leave half a key."""
    for secret in secrets:
        text = _spellings(secret).sub("***", text)
    return text


@functools.cache
def _spellings(secret: str) -> re.Pattern[str]:
    """Matches a text as it is, in JSON, in a URL and in HTML, where any character may be escaped."""

    def spelled(c: str) -> str:
        in_url = "".join(f"%{byte:02x}" for byte in c.encode("utf-8", "surrogateescape"))
        return rf"(?:\\?{re.escape(c)}|(?i:\\u{ord(c):04x}|{in_url}|&\#0*{ord(c)};|&\#x0*{ord(c):x};))"

    return re.compile("".join(map(spelled, secret)))


def _message(answer: bytes) -> str:
    """Returns what an error answer says: its JSON `message`, or else its text."""
    text = answer[:READ_BYTES].decode("utf-8", "replace")
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        said: Any = json.loads(text)
        said = said.get("error", said.get("detail", said))
        text = said if isinstance(said, str) else said["message"]
    return str(text)


def _asked_wait_s(retry_after: str) -> float:
    """Returns the seconds that a server asks to wait, which it may also give as a date; 0 if it asks for none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_ASKED_WAIT_S) if math.isfinite(seconds) else 0.0
