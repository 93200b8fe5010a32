"""Prints for people: on a terminal as wide as it is, elsewhere at a fixed width.

Names, labels and messages come from files, servers and models. A terminal would obey the escape sequences in them, and
rich would take `[/x]` in them for markup. So every string that is printed here is shown as it is spelled.
"""

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from jprm.errors import printable

WIDTH = 118  # of a stream that is no terminal


class Terminal(Console):
    """A console that prints strings without markup and without control characters, in tables too."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Renders a text as rich does, once it is safe to show. Emoji are off, since they would rewrite `:x:`."""
        plain: dict[str, Any] = {**options, "markup": False, "emoji": False}
        return super().render_str(printable(text), **plain)


def terminal(stream: TextIO | None = None, soft_wrap: bool = False, **options: Any) -> Terminal:
    """Returns the console of a stream, by default standard output; `soft_wrap` leaves long lines to the terminal."""
    out: Any = stream or sys.stdout
    width = None if out.isatty() else WIDTH
    settings = {"width": width, "highlight": False, "soft_wrap": soft_wrap} | options
    return Terminal(file=out, **settings)


def say(text: str, stream: TextIO | None = None) -> None:
    """Prints a line that may hold texts of others, by default to standard output."""
    print(printable(text), file=stream or sys.stdout, flush=stream is sys.stderr)
