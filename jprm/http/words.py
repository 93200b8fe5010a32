"""A server's words, made fit to be shown and to be relied on."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Any

from jprm.errors import printable

SHOWN = 300  # characters of what a server says
READ_BYTES = 1 << 16
LONGEST_WAIT_S = 1e6  # more than anybody waits, and short enough to be shown


def safe(text: str, secrets: Iterable[str]) -> str:
    """A server's words as they may be shown: one short line, no keys, no control characters."""
    return printable(" ".join(redacted(text, secrets).split()))[:SHOWN]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Hides the keys in a text. Do this before cutting the text, since a cut could leave half a key."""
    for secret in secrets:
        text = _spellings(secret).sub("***", text)
    return text


@functools.cache
def _spellings(secret: str) -> re.Pattern[str]:
    """A text as it is, in JSON, in a URL and in HTML, where any character may be escaped."""
    return re.compile(
        "".join(
            rf"(?:\\?{re.escape(c)}|(?i:\\u{ord(c):04x}|{_in_url(c)}|&\#0*{ord(c)};|&\#x0*{ord(c):x};))" for c in secret
        )
    )


def _in_url(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def message(answer: bytes) -> str:
    """Returns what an error answer says: its JSON `message`, or else its text."""
    text = answer[:READ_BYTES].decode("utf-8", "replace")
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        said: Any = json.loads(text)
        said = said.get("error", said.get("detail", said))
        text = said if isinstance(said, str) else said["message"]
    return str(text)


def wait_s(retry_after: str) -> float:
    """Returns the seconds that a server asks to wait, which it may also give as a date; 0 if it asks for none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else 0.0
