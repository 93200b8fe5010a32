"""Commands in processes of their own, which can be killed. They are forks of one that has imported everything."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ("sweep.run", "label", "synthesize", "benchmark.run")
LIMIT_S = 600  # of one command; a shared machine stalls
KILLED = -signal.SIGKILL
TICKS = os.sysconf("SC_CLK_TCK")


def start() -> None:
    """Starts the process that imports everything, under the environment of this moment."""
    rooms = ["transformers", "jprm.cli", "jprm.sample", "jprm.train.run", "jprm.chat"]
    FORKS.set_forkserver_preload([*rooms, *(f"jprm.experiments.{name}" for name in PRELOADED)])


def run(words: Sequence[str], folder: Path, kill_at_s: float | None = None) -> tuple[int, float]:
    """Runs `python -m jprm` with these words in a folder; returns the exit code and the processor time in seconds.

    kill_at_s: the processor time at which it is killed, where it has not ended before: unlike the time of a clock this
    is the same moment of its work on a busy machine. What it prints is added to `said` in the folder.
    """
    process = FORKS.Process(target=_command, args=(list(words), folder))
    process.start()
    used, deadline = 0.0, time.monotonic() + LIMIT_S
    while process.is_alive() and time.monotonic() < deadline:
        used = max(used, _processor_time_s(process.pid))
        if kill_at_s is not None and used >= kill_at_s:
            break
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, used


def _command(words: list[str], folder: Path) -> None:
    from jprm.cli import app, guarded

    os.chdir(folder)
    said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.exit(guarded(lambda: app(words, standalone_mode=False)))


def _processor_time_s(pid: int | None) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
