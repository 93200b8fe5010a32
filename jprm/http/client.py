"""Requests to one service, repeated where that may help, and its answers or errors in words."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpcore2
from pydantic import TypeAdapter, ValidationError

from jprm.errors import UserError, printable
from jprm.http import words
from jprm.http.exchange import EXCHANGE, Backend, Call, Cancelled, Exchange

LATER = (408, 425, 429, 500, 502, 503, 504, 529)  # statuses after which it is right to ask again
LARGEST_WAIT_S = 30.0
KEEP_ALIVE_S = 4.0  # uvicorn, under vLLM and sglang, closes after 5
FAULTS = (
    *(httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError),
    *(httpcore2.ProxyError, OSError, UnicodeError),  # the last: of a host
)

T = TypeVar("T")


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
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        path = parts.path.rstrip("/") or default_path
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
        if not host or parts.scheme not in ("http", "https"):
            where = repr(url.rpartition("@")[2])
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
        self._tls = httpcore2.default_ssl_context() if parts.scheme == "https" else None
        self._proxied = self._proxy(parts.scheme, host)
        self._lock = threading.Lock()
        self._own = threading.local()
        self._pools: list[httpcore2.ConnectionPool] = []

    @property
    def _pool(self) -> httpcore2.ConnectionPool:
        """The connections of this thread; a pool that all share would search all of them at every request."""
        if not hasattr(self._own, "pool"):
            self._own.pool = httpcore2.ConnectionPool(
                ssl_context=self._tls, proxy=self._proxied, keepalive_expiry=KEEP_ALIVE_S, network_backend=Backend()
            )
            with self._lock:
                self._pools.append(self._own.pool)
        return self._own.pool

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
        """Closes the connections that are idle."""
        with self._lock:
            for pool in self._pools:
                pool.close()

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
                        begins = answer[: words.READ_BYTES].decode("utf-8", "replace")
                        shown = words.redacted(begins, self._secrets).encode()[:80]
                        reason = f"an answer that is not {self.kind}: {shown!r} ({self.safe(str(error))})"
                else:
                    reason = f"HTTP status {status} {self.safe(words.message(answer))}".rstrip()
                    if status not in LATER:
                        raise Refused(status, self._said(status, headers, answer))
                    asked_wait_s = words.wait_s(headers.get("retry-after", ""))
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

    def _exchange(self, path: str, data: bytes | None, call: Call, end: float) -> tuple[int, dict[str, str], bytes]:
        """Sends one request and returns status, headers and body of its answer."""
        exchange = Exchange(call, min(time.monotonic() + self.timeout_s, end))
        token = EXCHANGE.set(exchange)
        scheme, host, port = self._origin
        length = [] if data is None else [("Content-Length", str(len(data)))]
        try:
            request = httpcore2.Request(
                "GET" if data is None else "POST",
                httpcore2.URL(
                    scheme=scheme,
                    host=host if host.isascii() else host.encode("idna").decode(),
                    port=port,
                    target=self._target + path,
                ),
                headers=[*self._headers.items(), *length],
                content=data,
            )
            with contextlib.closing(self._pool.handle_request(request)) as response:
                answer = b"".join(response.iter_stream())
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise httpcore2.RemoteProtocolError("an encoding that was not asked for")
            return response.status, headers, answer
        finally:
            call.drop(exchange.line)
            EXCHANGE.reset(token)

    def _said(self, status: int, headers: Mapping[str, str], answer: bytes) -> str:
        if not 300 <= status < 400 or status == 304:
            return self.safe(words.message(answer))
        where = self.safe(headers.get("location", "").rpartition("@")[2])
        return f"it redirects to {where or 'nowhere'}; give that URL if it is meant"

    def safe(self, text: str) -> str:
        """The server's words as they may be shown: one short line, no keys, no control characters."""
        return words.safe(text, self._secrets)


def parse(adapter: TypeAdapter[T], answer: bytes) -> T:
    """Parses JSON of a given shape. Raises ValueError, in one line, naming the place where it has another."""
    try:
        return adapter.validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
