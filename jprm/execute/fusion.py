"""A SandboxFusion service as the place where snippets run.

The service keeps nothing between requests (POST /run_code, fields as in
https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post), so each request carries a
program that runs the session's finished snippets again, silently, and then the new one (`runner.serve`).
The texts are made by the same `runner` as in the local pool; they agree to the byte where the service
has the same versions of Python and of the libraries. One thing differs: the names that a snippet had
bound when its time was up are lost. How well the service confines code is its own affair.
"""

import inspect
import json
import secrets
import sys
import warnings
from collections.abc import Sequence
from typing import Literal, NoReturn

from pydantic import BaseModel, TypeAdapter

from jprm.errors import UserError
from jprm.execute import runner
from jprm.execute.outcome import DIED, NOT_REBUILT, TIMED_OUT
from jprm.execute.place import RemotePool, Reply
from jprm.execute.sessions import SessionRecord
from jprm.http import Call, Client, Failed, Refused, parse

START_S = 30.0  # what a service may take to start an interpreter
QUEUE_S = 120.0  # how long a request may wait there for its turn
TRIES = 5
FIRST_WAIT_S = 0.5

_BOOTSTRAP = """\
import json
request = json.loads({request!a})
runner = {{"__name__": "runner"}}
exec(request.pop("runner"), runner)
runner["serve"](request)
"""


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


class _Line(BaseModel):
    """The last line that `runner.serve` writes."""

    nonce: str
    kind: Literal["ok", "error", "timeout"]
    text: str


_ANSWER = TypeAdapter(_Answer)


class FusionPool(RemotePool):
    """Sessions at a URL, with as many requests at a time as there are `workers`.

    url: of the service, such as http://host:8080.
    The other arguments are those of `Pool`; `preload` is what is imported off a snippet's clock.
    python: the version of Python there, such as "3.11".
    Raises UserError, naming the URL, if no such service answers there. One that fails later is asked again a few times,
    and then the snippet's future fails with UserError. Proxies and limits are those of `jprm.http.Client`.
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
        self._longest_text = output_chars + len(runner.TRUNCATED)
        self._settings = {
            "timeout_s": timeout_s,
            "grace_s": grace_s,
            "memory_bytes": memory_bytes,
            "output_chars": output_chars,
            "preload": list(preload),
            "runner": inspect.getsource(runner),
        }
        try:
            # A service that cannot say its version can do nothing.
            reply = self._run_there([], "import sys\nprint('%d.%d' % sys.version_info[:2])", tries=1)
            self.python = self._client.safe(reply.text)
            if reply.kind != "ok":
                self._fail(f"cannot run a first snippet: {self.python}")
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
        """Says where code runs; what confines it is the service's own business."""
        return f"at {self.url}"

    def _ask(self, record: SessionRecord, code: str) -> Reply:
        return self._run_there(record.history, code, TRIES)

    def _run_there(self, history: list[str], code: str, tries: int) -> Reply:
        """Runs a history and a snippet. Raises UserError if the service fails, Cancelled if the pool is closed."""
        # 1. Send a program that runs both, and tells by a nonce what is its own.
        nonce = secrets.token_hex(16)
        request = self._settings | {"history": history, "code": code, "nonce": nonce}
        run_timeout_s = START_S + (len(history) + 1) * self._hard_limit_s
        program = _BOOTSTRAP.format(request=json.dumps(request))
        body = {"language": "python", "code": program, "run_timeout": run_timeout_s}
        total_s = run_timeout_s + QUEUE_S
        try:
            answer = self._client.ask(
                "/run_code", body, lambda data: parse(_ANSWER, data), self._call, tries=tries, total_s=total_s
            )
        except (Failed, Refused) as error:
            self._fail(str(error))
        result = answer.run_result
        if answer.status == "SandboxError" or result is None:
            self._fail(f"the service failed: {self._client.safe(answer.message or '')}")
        # 2. See whether it got to the snippet.
        begun, *lines = (result.stdout or "").split("\n")
        if begun != nonce or not lines:
            if history:
                return Reply("died", NOT_REBUILT, len(history))
            said = self._client.safe(f"({result.status}) {(result.stderr or '').strip()[-200:]}")
            self._fail(f"its Python did not run the program {said}")
        # 3. Read what came of it: whatever is not exactly one well-formed answer is a death.
        if result.status == "TimeLimitExceeded" or lines[0].startswith("Timeout ("):  # the words of faulthandler
            return Reply("timeout", TIMED_OUT, len(history))
        try:
            line, end = lines
            reply = _Line.model_validate_json(line)
        except ValueError:  # not ours: the snippet wrote it
            return Reply("died", DIED, len(history))
        if reply.nonce != nonce or end or len(reply.text) > self._longest_text:
            return Reply("died", DIED, len(history))
        return Reply(reply.kind, reply.text, len(history))

    def _fail(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self.url}: {reason}; check that a SandboxFusion service runs there, or choose another place to run code"
        ) from None
