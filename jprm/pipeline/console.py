"""Where tables are printed: as wide as a terminal is, and of one width in files and logs."""

from __future__ import annotations

import sys

from rich.console import Console

WIDTH = 118


def console() -> Console:
    """A console for tables."""
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
