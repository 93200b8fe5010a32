"""Preemption: SIGTERM stops every command, which saves what it has and ends with exit code 75.

A command whose stores survive being killed at any point is stopped where it is. A sweep, whose stages may be expensive
to interrupt, goes on to its next safe point, which is wherever it tells its progress.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jprm.errors import Preempted
from jprm.progress import Progress

PARENT = "JPRM_PARENT"  # process id of a launcher without which this process must not go on
LOOK_S = 1.0


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Within, the first SIGTERM raises Preempted in the main thread, as Ctrl-C raises KeyboardInterrupt.

    Later ones are ignored: what is being saved is not torn. Outside of the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Preempted("SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stop_on_sigterm(progress: Progress) -> Iterator[None]:
    """Within, `progress.show` raises Preempted once SIGTERM came, or the launcher named by JPRM_PARENT is gone.

    Outside of the main thread, where Python takes no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reasons: list[str] = []

    def ask(_number: int, _frame: FrameType | None) -> None:
        reasons.append("SIGTERM")

    def stop_if_asked() -> None:
        if reasons:
            raise Preempted(reasons[0])

    parent = os.environ.get(PARENT)
    before, done = signal.signal(signal.SIGTERM, ask), threading.Event()
    if parent:
        watch = threading.Thread(target=_watch, args=(int(parent), reasons, done), daemon=True)
        watch.start()
    progress.safe_points.append(stop_if_asked)
    try:
        yield
        stop_if_asked()
    finally:
        done.set()
        progress.safe_points.remove(stop_if_asked)
        signal.signal(signal.SIGTERM, before)


def _watch(parent: int, reasons: list[str], done: threading.Event) -> None:
    """A child whose parent died is given another one."""
    while not done.wait(LOOK_S):
        if os.getppid() != parent:
            reasons.append("its launcher ended")
            return
