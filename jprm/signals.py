"""SIGTERM and Ctrl-C from a program's first moment on: a line and an exit code, never a traceback.

While modules are loaded an exception may be lost in one of them, or abort one that is written in C. So a signal that
comes then ends the process at once: what it stores survives that at any point. Standard library only.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from jprm.errors import INTERRUPTED, PREEMPTED, Preempted

STOPPED_LINE = "stopped ({}); the same command goes on from here"
INTERRUPTED_LINE = "interrupted; the same command goes on from here"
_LOADER = "<frozen importlib."


def take_signals() -> None:
    """Makes the first SIGTERM raise Preempted in the main thread from here on, and each Ctrl-C KeyboardInterrupt.

    Later SIGTERMs are ignored: what is being saved is not torn. A signal that whoever started this process has it
    ignore (`nohup`, `&` in a script) stays ignored.
    """
    for number, handler in ((signal.SIGTERM, _stop), (signal.SIGINT, _interrupt)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_taken() -> Iterator[None]:
    """Takes signals while it is entered. Outside of the main thread, where Python takes none, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    take_signals()
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def leave(code: int) -> NoReturn:
    """Ends the process with a code; after Ctrl-C at once, since another one would fall into Python's own end."""
    if code == INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _stop(_number: int, frame: FrameType | None) -> None:
    if _loads(frame):
        _end(STOPPED_LINE.format("SIGTERM"), PREEMPTED)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted("SIGTERM")


def _interrupt(_number: int, frame: FrameType | None) -> None:
    if _loads(frame):
        _end(INTERRUPTED_LINE, INTERRUPTED)
    raise KeyboardInterrupt


def _loads(frame: FrameType | None) -> bool:
    """Returns whether the program is within an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_LOADER):
            return True
        frame = frame.f_back
    return False


def _end(line: str, code: int) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(code)
