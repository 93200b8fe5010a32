"""HTTP to a service that may be busy, restart, be gone, or mean harm: tries, waits, and limits.

One client for whatever this program asks over HTTP: enter by `Client(url, kind).ask(path, body, read,
call)`. A request is repeated after a lost connection, a damaged answer and the statuses that say
"later"; every other status is the caller's to explain. Redirects are refused, so that neither texts
nor keys go to a host that nobody named.

The transport is httpcore's, the engine beneath httpx: it pools connections, speaks TLS and passes
proxies, lets its sockets be wrapped, and costs half of what httpx does.

    client    one service: tries and waits, what came of them, in words
    exchange  one request: its limits, and how it is dropped
    words     what a server says, without keys and control characters
"""

from jprm.http.client import Client, Failed, Refused, parse
from jprm.http.exchange import Call, Cancelled

__all__ = ["Call", "Cancelled", "Client", "Failed", "Refused", "parse"]
