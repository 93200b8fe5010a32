"""A SandboxFusion service as the place where snippets run.

The service keeps nothing between requests (POST /run_code, fields as in
https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post), so each request carries a
program that runs the session's finished snippets again, silently, and then the new one. The texts
are made by the same `runner` as in the local pool; they agree to the byte where the service has the
same versions of Python and of the libraries. One thing differs: the names that a snippet had bound
when its time was up are lost. How well the service confines code is its own affair.
"""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Sequence
from importlib.resources import files
from typing import NoReturn

from jprm.errors import UserError
from jprm.execute.ledger import Track
from jprm.execute.outcome import DIED, NOT_REBUILT, TIMED_OUT, OutcomeKind
from jprm.execute.remote import RemotePool, Reply
from jprm.execute.runner import TRUNCATED

START_S = 30.0  # what a service may take to start an interpreter
QUEUE_S = 120.0  # how long a request may wait there for its turn
LARGEST_ANSWER_BYTES = 8 << 20
BUSY = (429, 502, 503, 504)  # HTTP statuses after which it is right to ask again
WAITS_S = (0.5, 2.0, 8.0)  # before each further try

_BOOTSTRAP = """\
import json
request = json.loads({request!a})
runner, guest = {{"__name__": "runner"}}, {{"__name__": "guest"}}
exec(request.pop("runner"), runner)
exec(request.pop("guest"), guest)
guest["serve"](runner, request)
"""
_KINDS: dict[str, OutcomeKind] = {"ok": "ok", "error": "error", "timeout": "timeout"}


class FusionPool(RemotePool):
    """Sessions at a URL, with as many requests at a time as there are `workers`.

    url: of the service, such as http://host:8080.
    The other arguments are those of `Pool`; `preload` is what is imported off a snippet's clock.
    python: the version of Python there, such as "3.11".
    Raises UserError, naming the URL, if no such service answers there. One that fails later is asked
    again a few times, and then the snippet's future fails with UserError.
    """

    def __init__(
        self,
        url: str,
        workers: int = 2,
        timeout_s: float = 5.0,
        *,
        grace_s: float = 1.0,
        memory_bytes: int = 512 << 20,
        output_chars: int = 16_384,
        memoize: bool = False,
        memo_capacity: int = 1_000_000,
        preload: Sequence[str] = (),
    ):
        super().__init__(workers, memoize, memo_capacity)
        self.url = url.rstrip("/").removesuffix("/run_code") + "/run_code"
        self._hard_limit_s = timeout_s + grace_s
        self._longest_text = output_chars + len(TRUNCATED)
        self._settings = {
            "timeout_s": timeout_s,
            "grace_s": grace_s,
            "memory_bytes": memory_bytes,
            "output_chars": output_chars,
            "preload": list(preload),
            "runner": _source("runner.py"),
            "guest": _source("fusion_guest.py"),
        }
        try:
            self.python = self._version()
        except BaseException:
            self.close()
            raise
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if self.python != here:
            warnings.warn(
                f"{self.url} runs Python {self.python}, and this is {here}: "
                "the texts of errors may differ",
                stacklevel=2,
            )

    @property
    def description(self) -> str:
        """Where code runs; what confines it is the service's own business."""
        return f"at {self.url}"

    def _version(self) -> str:
        """Python's version there, asked by a snippet: a service that cannot say it can do nothing."""
        reply = self._run([], "import sys\nprint('%d.%d' % sys.version_info[:2])", waits_s=())
        if reply.kind != "ok":
            self._fail(f"cannot run a first snippet: {reply.text}")
        return reply.text

    def _ask(self, track: Track, code: str) -> Reply:
        return self._run(track.history, code, WAITS_S)

    def _run(self, history: list[str], code: str, waits_s: Sequence[float]) -> Reply:
        nonce = secrets.token_hex(16)
        request = self._settings | {"history": history, "code": code, "nonce": nonce}
        run_timeout_s = START_S + (len(history) + 1) * self._hard_limit_s
        body = {
            "language": "python",
            "code": _BOOTSTRAP.format(request=json.dumps(request)),
            "run_timeout": run_timeout_s,
        }
        result = self._post(json.dumps(body).encode(), run_timeout_s + QUEUE_S, waits_s)
        begun, *answers = result["stdout"].split("\n")
        if begun == nonce and answers:
            killed = result["status"] == "TimeLimitExceeded"
            return Reply(*self._outcome(nonce, answers, killed), replayed=len(history))
        if history:
            return Reply("died", NOT_REBUILT, len(history))
        status, complaint = result["status"], result["stderr"].strip()[-300:]
        self._fail(f"its Python did not run the program ({status}) {complaint}")

    def _outcome(self, nonce: str, answers: list[str], killed: bool) -> tuple[OutcomeKind, str]:
        """Kind and text; whatever is not exactly one well-formed answer is a death."""
        if killed or answers[0].startswith("Timeout ("):  # the words of faulthandler
            return "timeout", TIMED_OUT
        try:
            line, end = answers
            answer = json.loads(line)
            kind, text = _KINDS[answer["kind"]], answer["text"]
            text.encode()  # a forged text might hold a lone surrogate
            if answer["nonce"] == nonce and not end and len(text) <= self._longest_text:
                return kind, text
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # not ours: the snippet wrote it
        return "died", DIED

    def _post(self, body: bytes, timeout_s: float, waits_s: Sequence[float]) -> dict[str, str]:
        """The service's `run_result`: its status, stdout and stderr. Raises UserError."""
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        waits = iter(waits_s)
        while True:
            try:
                return self._exchange(request, timeout_s)
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
                wait_s = next(waits, None) if _may_pass(error) else None
            if wait_s is None:
                self._fail(reason)
            time.sleep(wait_s)

    def _exchange(self, request: urllib.request.Request, timeout_s: float) -> dict[str, str]:
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                answer = response.read(LARGEST_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            error.close()
            raise
        try:
            message = json.loads(answer)
            status, reason, result = (message[key] for key in ("status", "message", "run_result"))
            if status != "SandboxError" and result is not None:
                return {name: str(result[name] or "") for name in ("status", "stdout", "stderr")}
        except (ValueError, LookupError, TypeError, RecursionError):
            self._fail(f"an answer that is not SandboxFusion's: {answer[:80]!r}")
        self._fail(f"the service failed: {str(reason)[-300:]}")

    def _fail(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self.url}: {reason}; check that a SandboxFusion service runs there, "
            "or choose another place to run code"
        ) from None


def _may_pass(error: Exception) -> bool:
    """Whether to ask again: the service is busy or starts anew, and did not just take too long."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in BUSY
    return not isinstance(error, TimeoutError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code} {error.reason}"
    return f"no answer ({getattr(error, 'reason', None) or error!r})"


def _source(name: str) -> str:
    return files("jprm.execute").joinpath(name).read_text(encoding="utf-8")
