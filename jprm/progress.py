"""Progress of a long run: a live line with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

PLAIN_INTERVAL_S = 5.0
LIVE_INTERVAL_S = 0.2


class Progress:
    """Counts work in any unit (expected seconds, FLOPs) out of `total`.

    The ETA assumes the pace so far.
    """

    def __init__(self, total: float, stream: TextIO | None = None):
        self.total = max(total, 1e-9)
        self.done = 0.0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._last = -1e9
        self._width = 0

    def advance(self, work: float, label: str) -> None:
        """Adds finished work and shows the line when it is time."""
        self.done = min(self.done + work, self.total)
        self.show(label)

    def show(self, label: str, force: bool = False) -> None:
        """Shows the line: at most five times a second on a terminal, every five seconds elsewhere.

        The first line comes at once, and so does one that is forced.
        """
        now = time.monotonic()
        if not force and now - self._last < (LIVE_INTERVAL_S if self._live else PLAIN_INTERVAL_S):
            return
        self._last = now
        elapsed = now - self._started
        share = self.done / self.total
        left = f"{_clock(elapsed * (1 - share) / share)} left" if share > 0.01 else "estimating"
        line = f"[{100 * share:3.0f} %] {_clock(elapsed)} elapsed, {left} | {label}"
        if self._live:
            line = line[: shutil.get_terminal_size().columns - 1]  # "\r" cannot undo a wrapped line
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
