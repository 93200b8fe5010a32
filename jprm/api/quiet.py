"""Whether work that is called from Python says a word: commands tell their progress, calls do so when asked."""

import contextlib
import io
from collections.abc import Iterator


class _Nowhere(io.TextIOBase):
    """A stream that keeps nothing, and that may be written to for ever."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def heard(progress: bool) -> Iterator[None]:
    """Within, what is printed goes to the streams of the program where `progress` is true, else nowhere."""
    if progress:
        yield
        return
    with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()):
        yield
