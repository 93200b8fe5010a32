"""Serves pages that change while somebody reads them: each asks now and then whether there is something new.

A site says what its pages are. It is asked for a page, and for the state of one, a text that differs when the page
would.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import unquote, urlsplit

from jprm.errors import UserError

HOST = "127.0.0.1"  # the pages show texts of models and files of this machine: nobody else is to see them
# The page loads itself anew, unless its reader has opened something; then it offers to.
_REFRESH = """<script>(() => {
  let seen = null;
  setInterval(async () => {
    const answer = await fetch("state").catch(() => null);
    if (!answer || !answer.ok) return;
    const state = await answer.text();
    if (seen !== null && state !== seen) {
      if (!document.querySelector("details.sample[open]")) return location.reload();
      const note = document.querySelector(".fresh") || document.body.appendChild(document.createElement("button"));
      note.className = "fresh";
      note.textContent = "new results: load them";
      note.onclick = () => location.reload();
    }
    seen ??= state;
  }, 4000);
})();</script>"""


class Site(Protocol):
    """What is served. A name is the path without its slashes; None is returned for what does not exist."""

    def page(self, name: str) -> str | None:
        """The page of a name as HTML."""

    def state(self, name: str) -> str | None:
        """A text that changes when the page does."""


def server_of(site: Site, port: int) -> ThreadingHTTPServer:
    """A server on this machine alone; its `serve_forever` serves. Port 0 takes any that is free.

    Raises UserError where the port is taken.
    """
    lock = threading.Lock()  # pages are made one at a time: two readers would make the same one twice

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            path = unquote(urlsplit(self.path).path)
            name, _, last = path.lstrip("/").rpartition("/")
            with lock:
                if last == "state":
                    found, kind = site.state(name), "text/plain"
                elif not last:
                    found, kind = site.page(name), "text/html"
                    found = found and found.replace("</body>", f"{_REFRESH}</body>")
                else:
                    found, kind = None, ""
            body = b"there is no such page" if found is None else found.encode("utf-8", "backslashreplace")
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", f"{kind or 'text/plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
            """Nothing is printed for a request."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; name another port") from None
