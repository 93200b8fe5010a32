"""Preemption: SIGTERM, or the end of its launcher, stops a run at its next safe point, with exit code 75.

A stage may be expensive to interrupt, so a safe point is wherever it tells its progress. Other commands, whose stores
survive being killed at any point, are stopped where they are (`jprm.signals`).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jprm.errors import Preempted
from jprm.jobs.progress import Progress

PARENT = "JPRM_PARENT"  # process id of a launcher without which this process must not go on
LOOK_S = 1.0


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
        thread = threading.Thread(target=_wait_for_orphaning, args=(int(parent), reasons, done), daemon=True)
        thread.start()
    progress.safe_points.append(stop_if_asked)
    try:
        yield
        stop_if_asked()
    finally:
        done.set()
        progress.safe_points.remove(stop_if_asked)
        signal.signal(signal.SIGTERM, before)


def _wait_for_orphaning(parent: int, reasons: list[str], done: threading.Event) -> None:
    """Adds a reason once the parent is another one: a child whose parent died is given a new one."""
    while not done.wait(LOOK_S):
        if os.getppid() != parent:
            reasons.append("its launcher ended")
            return
