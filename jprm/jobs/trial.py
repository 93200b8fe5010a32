"""One trial: a command line with a folder for what it leaves behind."""

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from jprm.errors import INCOMPLETE, INTERRUPTED, MISTAKE, PREEMPTED
from jprm.jobs.preemption import PARENT
from jprm.jobs.stage import write_atomic

LOST = -1  # instead of an exit code: the machine is gone, or who should have told is
MEANINGS = {
    0: "finished",
    INCOMPLETE: "ended with failures",
    MISTAKE: "a mistake in the command line",
    PREEMPTED: "preempted",
    INTERRUPTED: "interrupted",
    LOST: "lost with its machine",
}


@dataclass(frozen=True)
class Trial:
    """`command` is run in the directory `cwd`; `folder` gets command.txt, log.txt and exit.json."""

    name: str
    command: tuple[str, ...]
    folder: Path
    cwd: Path


def run_trial(trial: Trial) -> int:
    """Runs a trial to its end; its exit code, or minus the number of the signal that killed it.

    SIGTERM to this process is handed on. The trial ends, too, when this process is killed (`jprm.jobs.preemption`).
    """
    trial.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(trial.folder / "command.txt", shlex.join(trial.command) + "\n")
    started = time.monotonic()
    with open(trial.folder / "log.txt", "ab") as log:
        process = subprocess.Popen(
            trial.command,
            cwd=trial.cwd,
            env=os.environ | {PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        with _handing_on(process.terminate):
            code = process.wait()
    ended = {"code": code, "reason": reason_of(code), "seconds": round(time.monotonic() - started, 3)}
    write_atomic(trial.folder / "exit.json", json.dumps(ended))
    return code


def reason_of(code: int) -> str:
    """What an exit code of a trial says."""
    if code in MEANINGS:
        return MEANINGS[code]
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"crashed with code {code}"


@contextmanager
def _handing_on(terminate: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM calls `terminate`; outside of the main thread, where Python takes no signals, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        terminate()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
