"""Progress of a long run: one live view on a terminal, a line every ten seconds elsewhere."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.live import Live
from rich.table import Table

from jprm.errors import printable
from jprm.terminal import terminal

PLAIN_INTERVAL_S = 10.0
LIVE_INTERVAL_S = 0.2
LEAST_WAIT_S = 0.5  # of the heartbeat, so that a live view costs next to nothing
_SPEED = re.compile(r",? ?\b([\d,.]+) tokens/s")


class Progress:
    """Counts work in any unit (expected seconds, FLOPs) out of `total`, and cells out of `cells`.

    The ETA assumes the pace so far. `safe_points` are called wherever progress is told; one that raises stops the work.
    What takes long without a word (a load, a compilation, votes) is done inside of `watching` or `doing`.
    """

    def __init__(self, total: float, stream: TextIO | None = None, cells: int = 0):
        self.total = max(total, 1e-9)
        self.done = 0.0
        self.piece = 0.0  # the work of the piece that is under way, and how much of it is done
        self._share_of_piece = 0.0
        self.cells = cells
        self.cells_done = 0  # whether they have a result or not
        self.label = ""  # what was told last
        self.safe_points: list[Callable[[], None]] = []
        self._stream = stream or sys.stderr
        self._live: Live | None = None
        self._started = time.monotonic()
        self._last = -1e9
        self._watched: Callable[[], str] | None = None
        self._lock = threading.RLock()  # the work and its heartbeat show in turn

    def advance(self, work: float, label: str) -> None:
        """Adds finished work and shows the view when it is time."""
        self.done = min(self.done + work, self.total)
        self.begin(0.0)
        self.show(label)

    def begin(self, work: float) -> None:
        """A piece of work of this size is under way: `show` is told how much of it is done."""
        self.piece, self._share_of_piece = work, 0.0

    def show(self, label: str, force: bool = False, share: float | None = None) -> None:
        """Shows where the work is: at most five times a second on a terminal, once in ten seconds elsewhere.

        share: how much of the piece under way is done, from 0 to 1. The first time comes at once, and so does one that
        is forced. Raises what a safe point raises.
        """
        self._share_of_piece = self._share_of_piece if share is None else share
        self.check()
        self._show(label, force)

    def beat(self, share: float | None = None) -> None:
        """Shows what is watched, when it is time; safe points are left to `show`, so any thread may call this."""
        self._share_of_piece = self._share_of_piece if share is None else share
        if (tell := self._watched) and self._seconds_to_next() <= 0:
            self._show(tell(), force=True)

    @contextlib.contextmanager
    def watching(self, tell: Callable[[], str]) -> Iterator[None]:
        """Shows what `tell` says as often as is usual, however long the work inside is silent.

        A thread asks `tell`, so it only reads. An inner watch hides the outer one until it ends.
        """
        outer, self._watched = self._watched, tell
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(max(LEAST_WAIT_S, self._seconds_to_next())):
                self.beat()

        thread = threading.Thread(target=keep, name="progress", daemon=True)
        try:
            self._show(tell(), force=False)
            if outer is None:
                thread.start()
            yield
        finally:
            self._watched = outer
            ended.set()
            if outer is None and thread.ident is not None:
                thread.join()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Watches work that can tell nothing but for how long it has been under way."""
        started = time.monotonic()
        with self.watching(lambda: f"{what}, {clock(time.monotonic() - started)}"):
            yield

    def _seconds_to_next(self) -> float:
        """Seconds until the view may change again; not above 0 where it may now."""
        interval = LIVE_INTERVAL_S if self._stream.isatty() else PLAIN_INTERVAL_S
        return self._last + interval - time.monotonic()

    def _show(self, label: str, force: bool) -> None:
        with self._lock:
            self.label = label = printable(label)
            if not force and self._seconds_to_next() > 0:
                return
            self._last = time.monotonic()
            if self._stream.isatty():
                self._view().update(self._table(label), refresh=True)
            else:
                self._stream.write(f"[{self._share()}] {self._clocks()} | {label}\n")
                self._stream.flush()

    def check(self) -> None:
        """Calls the safe points. Raises what one of them raises."""
        for safe_point in self.safe_points:
            safe_point()

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        text = printable(text)
        with self._lock:
            if self._live is not None:
                self._live.console.print(text, soft_wrap=True)
            else:
                self._stream.write(text + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Ends the live view; its last state stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self) -> Live:
        if self._live is None:
            console = terminal(self._stream, force_terminal=True)
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
        return self._live

    def _table(self, label: str) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        if self.cells:
            table.add_row("cells", f"{self.cells_done} of {self.cells}")
        speed = _SPEED.search(label)
        table.add_row("stage", _SPEED.sub("", label))
        table.add_row("tokens/s", speed[1] if speed else "-")
        table.add_row("time", f"{self._clocks()} ({self._share().strip()})")
        return table

    def _share_done(self) -> float:
        return min(self.done + self.piece * self._share_of_piece, self.total) / self.total

    def _share(self) -> str:
        return f"{100 * self._share_done():3.0f} %"

    def _clocks(self) -> str:
        elapsed = time.monotonic() - self._started
        share = self._share_done()
        left = f"{clock(elapsed * (1 - share) / share)} left" if share > 0.01 else "estimating"
        return f"{clock(elapsed)} elapsed, {left}"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
