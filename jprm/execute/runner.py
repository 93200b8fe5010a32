"""Runs one snippet in a namespace, with the texts of the reference's executor.

Kept from the reference (GenPRM, `CodeExecutor`): the globals are a bare dict, so `__name__` is
"builtins"; output is lost when an exception follows; any TimeoutError reads as a time-out; names
bound before an exception stay. Changed: SystemExit ends the snippet quietly, where the reference's
evaluator ends; output is bounded.

A last line that begins with OPTIONS asks for more, in words: "main" (the code reads its `__name__` as
"__main__"), "printed" (what was printed stands before the error that followed it), "ends=N" (of N
characters of output the first and the last halves are kept, with a count of the rest). It travels
with the code, so that it reaches every place, and a memo or a replay of that.

The module outlives its guest: it works with its own copy of the built-in functions and with names
bound at import, so a snippet that patches `len` or `os.write` breaks only its own later snippets.
It imports the standard library only, and nothing of this package: its source is also sent to remote
places.
"""

from __future__ import annotations

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
        """Keep what still fits; report all of it as written."""
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
        """What the model reads: stripped, as in the reference."""
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
        """Arm; a snippet before this one may have replaced the handler or blocked the signal."""
        _set_handler(SIGALRM, self._ring)
        pthread_sigmask(SIG_UNBLOCK, (SIGALRM,))
        self.armed = True
        if self.limit_s is not None:
            setitimer(ITIMER_REAL, self.limit_s)

    def stop(self) -> None:
        """Disarm; an alarm already on its way is ignored, and so are the snippet's own."""
        self.armed = False
        _set_handler(SIGALRM, self._ring)
        setitimer(ITIMER_REAL, 0.0)

    def _ring(self, *_: object) -> None:
        if self.armed:
            self.armed = False
            raise TimeoutError("Code execution timed out")


def new_namespace() -> dict[str, object]:
    """Globals as `exec` would make them of a bare dict, with everybody's built-in functions."""
    return {"__builtins__": vars(builtins)}


def _asked(code: str) -> tuple[str, dict[str, str]]:
    """The code without its line of options, and these by name."""
    before, found, line = code.rpartition(OPTIONS)
    if not found or "\n" in line:
        return code, {}
    words = (word.partition("=") for word in line.split())
    return before, {name: value for name, _, value in words}


def run_snippet(code: str, namespace: dict[str, object], clock: Clock, output_chars: int) -> tuple[str, str]:
    """Run one snippet; returns its kind ("ok", "error" or "timeout") and the text for the model.

    The text is valid Unicode without lone surrogates, at most `output_chars` characters long and,
    if there was more, TRUNCATED.
    """
    code, asked = _asked(code)
    if "main" in asked:
        namespace["__name__"] = "__main__"
    half = output_chars // 2
    asked_chars = asked.get("ends", "")
    kept = int(asked_chars) if asked_chars.isdecimal() and len(asked_chars) < 10 else 0
    kept = min(kept, max(0, half - MARK_CHARS))
    output = Output(kept or output_chars, kept // 2)
    sys.stdout, sys.stdin = output, io.StringIO()
    try:
        clock.start()
        # An exception's own __str__ is the snippet's code too: the text is built under the clock.
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
    if kind != "ok" and "printed" in asked and (printed := output.text()):
        text = f"{printed[:half]}\n{text[: half - 1]}"
    clock.stop()
    sys.stdout, sys.stdin = sys.__stdout__, sys.__stdin__
    if kind != "ok" and len(text) > output_chars:
        text = text[:output_chars] + TRUNCATED
    return kind, text.encode("utf-8", "replace").decode("utf-8")
