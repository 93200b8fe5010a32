"""Runs one snippet in a namespace, with the texts of the reference's executor.

Kept from the reference (GenPRM, `CodeExecutor`): the globals are a bare dict, so `__name__` is
"builtins"; output is lost when an exception follows; any TimeoutError reads as a time-out; names
bound before an exception stay. Changed: SystemExit ends the snippet quietly, where the reference's
evaluator ends; output is bounded.

A last line that begins with OPTIONS asks for more, in words: "main" (the code reads its `__name__` as
"__main__"), "printed" (what was printed stands before the error that followed it), "ends=N" (of N
characters of output the first and the last halves are kept, with a count of the rest). It travels
with the code, so that it reaches every place, and a memo or a replay of that.

The module outlives its guest: it works with its own copy of the built-in functions and with names bound at import, so a
snippet that patches `len` or `os.write` breaks only its own later snippets. It imports the standard library only, and
nothing of this package: its source is also sent to SandboxFusion services, where `serve` is the program.
"""

import builtins

__builtins__ = dict(vars(builtins))  # what the functions below look their names up in

import io
import signal
import sys
from signal import ITIMER_REAL, SIG_UNBLOCK, SIGALRM, pthread_sigmask, setitimer

TRUNCATED = "... [output truncated]"
OPTIONS = "\n# jprm options: "
LEFT_OUT = "\n... [{} characters left out] ...\n"
MARK_CHARS = 64  # room for the longest of these

_set_handler = signal.signal


class Output(io.StringIO):
    """Standard output that keeps its first characters, and its last `end_chars`, and swallows the rest."""

    def __init__(self, limit: int, end_chars: int = 0):
        super().__init__()
        self._room = limit - end_chars
        self._end_chars = end_chars
        self._end = ""
        self._behind = 0  # characters written behind the first ones

    def write(self, text: str) -> int:
        """Keeps what still fits; reports all of it as written."""
        if not isinstance(text, str):
            return super().write(text)  # the error is the reference's
        kept = text[: self._room]
        self._room -= len(kept)
        super().write(kept)
        if len(kept) < len(text):
            self._behind += len(text) - len(kept)
            if self._end_chars:
                self._end += text[len(kept) :][-self._end_chars :]
                if len(self._end) > 2 * self._end_chars:  # not at every write
                    self._end = self._end[-self._end_chars :]
        return len(text)

    def text(self) -> str:
        """Returns what the model reads: stripped, as in the reference."""
        if not self._behind or not self._end_chars:
            return self.getvalue().strip() + (TRUNCATED if self._behind else "")
        end = self._end[-self._end_chars :]
        left_out = self._behind - len(end)
        middle = LEFT_OUT.format(left_out) if left_out else ""
        return (self.getvalue() + middle + end).strip()


Output.__name__ = Output.__qualname__ = "_io.StringIO"  # what error texts and prints call it
Output.__module__ = "builtins"


class Clock:
    """The soft time limit: on SIGALRM, the reference's TimeoutError inside the running snippet.

    limit_s: seconds after which this process alarms itself; None where someone else does.
    """

    def __init__(self, limit_s: float | None = None):
        self.limit_s = limit_s
        self.armed = False

    def start(self) -> None:
        """Arms the clock; a snippet before this one may have replaced the handler or blocked the signal."""
        _set_handler(SIGALRM, self._ring)
        pthread_sigmask(SIG_UNBLOCK, (SIGALRM,))
        self.armed = True
        if self.limit_s is not None:
            setitimer(ITIMER_REAL, self.limit_s)

    def stop(self) -> None:
        """Disarms the clock; an alarm already on its way is ignored, and so are the snippet's own."""
        self.armed = False
        _set_handler(SIGALRM, self._ring)
        setitimer(ITIMER_REAL, 0.0)

    def _ring(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            raise TimeoutError("Code execution timed out")


def new_namespace() -> dict[str, object]:
    """Returns globals as `exec` would make them of a bare dict, with everybody's built-in functions."""
    return {"__builtins__": vars(builtins)}


def _asked(code: str) -> tuple[str, dict[str, str]]:
    """Returns the code without its line of options, and these by name."""
    before, found, line = code.rpartition(OPTIONS)
    if not found or "\n" in line:
        return code, {}
    words = (word.partition("=") for word in line.split())
    return before, {name: value for name, _, value in words}


def run_snippet(code: str, namespace: dict[str, object], clock: Clock, output_chars: int) -> tuple[str, str]:
    """Runs one snippet; returns its kind ("ok", "error" or "timeout") and the text for the model.

    The text is valid Unicode without lone surrogates, at most `output_chars` characters long and,
    if there was more, TRUNCATED.
    """
    # 1. Read what the last line asks for.
    code, asked = _asked(code)
    if "main" in asked:
        namespace["__name__"] = "__main__"
    half = output_chars // 2
    asked_chars = asked.get("ends", "")
    kept = int(asked_chars) if asked_chars.isdecimal() and len(asked_chars) < 10 else 0
    kept = min(kept, max(0, half - MARK_CHARS))
    # 2. Run the code under the clock. An exception's own __str__ is the snippet's code, too.
    output = Output(kept or output_chars, kept // 2)
    sys.stdout, sys.stdin = output, io.StringIO()
    try:
        clock.start()
        try:
            try:
                exec(code, namespace)
            except SystemExit:
                pass
            kind, text = "ok", output.text()
        except TimeoutError as error:
            kind, text = "timeout", f"Code execute time out: {error}"
        except BaseException as error:
            kind, text = "error", f"Code execute Error: {type(error).__name__}: {error}"
        clock.armed = False
    except TimeoutError as error:
        kind, text = "timeout", f"Code execute time out: {error}"
    except BaseException as error:
        kind, text = "error", f"Code execute Error: {type(error).__name__}: "
    # 3. Put the text together, and everything else back in its place.
    if kind != "ok" and "printed" in asked and (printed := output.text()):
        text = f"{printed[:half]}\n{text[: half - 1]}"
    clock.stop()
    sys.stdout, sys.stdin = sys.__stdout__, sys.__stdin__
    if kind != "ok" and len(text) > output_chars:
        text = text[:output_chars] + TRUNCATED
    return kind, text.encode("utf-8", "replace").decode("utf-8")


# The program that a SandboxFusion service runs. Only it needs its imports: a guest forks the faster without.

FINISHED = ("ok", "error")
# The order of a printed set, and the threads of a library, are decided when a process starts.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def serve(request: dict) -> None:
    """Runs a session's whole history, then one new snippet, and exits; for `request` see `fusion`.

    On its standard output it writes the request's nonce as a line when the new snippet begins, and a
    line of JSON with nonce, kind and text when it is done. What snippets write to the descriptors
    themselves goes nowhere, as in the local pool.
    """
    import faulthandler
    import importlib
    import json
    import os
    import random

    # 1. Start anew with the environment that a session has.
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})
    # 2. Import and seed, as a fork server does, before the clock runs.
    for name in request["preload"]:
        importlib.import_module(name)
    random.seed(0)
    if any("numpy" in code for code in [*request["history"], request["code"]]):
        importlib.import_module("numpy.random").seed(0)
    # 3. Keep the standard output for the answer alone, and bound the memory.
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    _limit_memory(request["memory_bytes"])
    clock, namespace = Clock(request["timeout_s"]), new_namespace()

    def run(code: str) -> tuple[str, str]:
        # A thread of C code that needs no lock of the interpreter: it ends even `10**10**8`.
        faulthandler.dump_traceback_later(request["timeout_s"] + request["grace_s"], exit=True, file=answers)
        reply = run_snippet(code, namespace, clock, request["output_chars"])
        faulthandler.cancel_dump_traceback_later()
        return reply

    def write_line(line: str) -> None:
        rest = memoryview(f"{line}\n".encode())
        while rest:
            rest = rest[os.write(answers, rest) :]

    # 4. Run the history, whose outcomes are known, and the new snippet.
    for code in request["history"]:
        if run(code)[0] not in FINISHED:
            os._exit(1)
    write_line(request["nonce"])
    kind, text = run(request["code"])
    # UTF-8, because a long text in escapes could fill the pipe of a service that reads it late.
    write_line(json.dumps({"nonce": request["nonce"], "kind": kind, "text": text}, ensure_ascii=False))
    os._exit(0)


def _limit_memory(memory_bytes: int) -> None:
    """Allows this process as much address space beyond what the interpreter itself has taken."""
    import resource

    with open("/proc/self/statm") as statm:
        taken = int(statm.read().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    allowed = taken + memory_bytes
    if most != resource.RLIM_INFINITY:
        allowed = min(allowed, most)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, most))
