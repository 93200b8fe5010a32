"""A SandboxFusion service as the place where snippets run.

The service keeps nothing between requests (POST /run_code, fields as in
https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post), so each request carries a
program that runs the session's finished snippets again, silently, and then the new one. The texts
are made by the same `runner` as in the local pool; they agree to the byte where the service has the
same versions of Python and of the libraries. One thing differs: the names that a snippet had bound
when its time was up are lost. How well the service confines code is its own affair.
"""

from __future__ import annotations

import json
import secrets
import sys
import warnings
from collections.abc import Sequence
from importlib.resources import files
from typing import NoReturn

from pydantic import BaseModel, TypeAdapter

from jprm.errors import UserError
from jprm.execute.ledger import Track
from jprm.execute.outcome import DIED, NOT_REBUILT, TIMED_OUT, OutcomeKind
from jprm.execute.remote import RemotePool, Reply
from jprm.execute.runner import TRUNCATED
from jprm.http import Call, Client, Failed, Refused, parse

START_S = 30.0  # what a service may take to start an interpreter
QUEUE_S = 120.0  # how long a request may wait there for its turn
TRIES = 5
FIRST_WAIT_S = 0.5

_BOOTSTRAP = """\
import json
request = json.loads({request!a})
runner, guest = {{"__name__": "runner"}}, {{"__name__": "guest"}}
exec(request.pop("runner"), runner)
exec(request.pop("guest"), guest)
guest["serve"](runner, request)
"""
_KINDS: dict[str, OutcomeKind] = {"ok": "ok", "error": "error", "timeout": "timeout"}


class _Run(BaseModel):
    """How a program ended, as the service says it."""

    status: str
    stdout: str | None
    stderr: str | None


class _Answer(BaseModel):
    """An answer to /run_code; `run_result` is missing where the service failed."""

    status: str
    message: str | None = ""
    run_result: _Run | None


_ANSWER = TypeAdapter(_Answer)


class FusionPool(RemotePool):
    """Sessions at a URL, with as many requests at a time as there are `workers`.

    url: of the service, such as http://host:8080.
    The other arguments are those of `Pool`; `preload` is what is imported off a snippet's clock.
    python: the version of Python there, such as "3.11".
    Raises UserError, naming the URL, if no such service answers there. One that fails later is asked
    again a few times, and then the snippet's future fails with UserError. Proxies and limits are those
    of `jprm.http.Client`.
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
        root = url.rstrip("/").removesuffix("/run_code")
        # A request has one limit with all of its tries: code that takes too long is not run again.
        self._client = Client(root, "SandboxFusion's", first_wait_s=FIRST_WAIT_S, timeout_s=float("inf"))
        self._call = Call()
        super().__init__(workers, memoize, memo_capacity)
        self.url = f"{self._client.url}/run_code"
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
                f"{self.url} runs Python {self.python}, and this is {here}: the texts of errors may differ",
                stacklevel=2,
            )

    def close(self) -> None:
        """Closes as `RemotePool` does; the service sees the connections of requests under way close."""
        super().close()
        self._call.cancel()
        self._client.close()

    @property
    def description(self) -> str:
        """Where code runs; what confines it is the service's own business."""
        return f"at {self.url}"

    def _version(self) -> str:
        """Python's version there, asked by a snippet: a service that cannot say it can do nothing."""
        reply = self._run([], "import sys\nprint('%d.%d' % sys.version_info[:2])", tries=1)
        if reply.kind != "ok":
            self._fail(f"cannot run a first snippet: {self._client.safe(reply.text)}")
        return self._client.safe(reply.text)

    def _ask(self, track: Track, code: str) -> Reply:
        return self._run(track.history, code, TRIES)

    def _run(self, history: list[str], code: str, tries: int) -> Reply:
        nonce = secrets.token_hex(16)
        request = self._settings | {"history": history, "code": code, "nonce": nonce}
        run_timeout_s = START_S + (len(history) + 1) * self._hard_limit_s
        body = {
            "language": "python",
            "code": _BOOTSTRAP.format(request=json.dumps(request)),
            "run_timeout": run_timeout_s,
        }
        result = self._post(body, run_timeout_s + QUEUE_S, tries)
        begun, *answers = (result.stdout or "").split("\n")
        if begun == nonce and answers:
            killed = result.status == "TimeLimitExceeded"
            return Reply(*self._outcome(nonce, answers, killed), replayed=len(history))
        if history:
            return Reply("died", NOT_REBUILT, len(history))
        said = self._client.safe(f"({result.status}) {(result.stderr or '').strip()[-200:]}")
        self._fail(f"its Python did not run the program {said}")

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

    def _post(self, body: dict[str, object], total_s: float, tries: int) -> _Run:
        """Runs a program on the service and returns how it ended.

        Raises UserError if the service fails, RuntimeError if the pool is closed meanwhile.
        """
        try:
            answer = self._client.ask(
                "/run_code", body, lambda data: parse(_ANSWER, data), self._call, tries=tries, total_s=total_s
            )
        except (Failed, Refused) as error:
            self._fail(str(error))
        if answer.status == "SandboxError" or answer.run_result is None:
            self._fail(f"the service failed: {self._client.safe(answer.message or '')}")
        return answer.run_result

    def _fail(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self.url}: {reason}; check that a SandboxFusion service runs there, or choose another place to run code"
        ) from None


def _source(name: str) -> str:
    return files("jprm.execute").joinpath(name).read_text(encoding="utf-8")
