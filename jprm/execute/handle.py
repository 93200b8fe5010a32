"""A process of another program, as the engine holds it: by a pidfd where the kernel has them.

A process id can be given to another process as soon as its owner is buried; a pidfd cannot.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable


class Handle:
    """Signals one process and tells its id.

    descriptor: a pidfd, or -1 on a kernel before 5.3.
    otherwise: there, sends a signal for us (the parent of the process can, without confusion).
    Raises OSError, with the descriptor closed, if no more files can be open here.
    """

    def __init__(self, descriptor: int, process_id: int, otherwise: Callable[[int], None]):
        self.descriptor = descriptor
        try:
            self.process_id = process_id if descriptor < 0 else _as_seen_from_here(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._otherwise = otherwise

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process is gone."""
        if self.descriptor < 0:
            self._otherwise(number)
            return
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            pass  # it ended a moment ago

    def close(self) -> None:
        """Give the descriptor back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _as_seen_from_here(descriptor: int) -> int:
    """The process id in our own process namespace; a jail may count anew. -1 without /proc."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as file:
            found = re.search(r"^Pid:\s*(-?\d+)", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return -1
    return int(found[1]) if found else -1
