"""Trials as processes of this machine."""

from __future__ import annotations

import subprocess
import sys

from jprm.launch.trial import Trial

_RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from pathlib import Path
from jprm.launch.trial import Trial, run_trial
name, folder, cwd, *command = sys.argv[1:]
code = run_trial(Trial(name, tuple(command), Path(folder), Path(cwd)))
sys.exit(code if code >= 0 else 128 - code)
"""


class LocalLauncher:
    """Each trial runs below a process of its own, which keeps its log.

    Both ignore Ctrl-C: the launcher, which gets it too, stops them by SIGTERM.
    """

    def start(self, trial: Trial) -> subprocess.Popen[bytes]:
        """Starts it at once."""
        names = (trial.name, str(trial.folder), str(trial.cwd))
        return subprocess.Popen([sys.executable, "-c", _RUN, *names, *trial.command])

    def poll(self, handle: subprocess.Popen[bytes]) -> int | None:
        """The trial's code, where the process above it could still say so."""
        code = handle.poll()
        return code if code is None or code <= 128 or code == 130 else 128 - code

    def stop(self, handle: subprocess.Popen[bytes]) -> None:
        """SIGTERM, which is handed on."""
        handle.terminate()

    def close(self) -> None:
        """There is nothing to give back."""
