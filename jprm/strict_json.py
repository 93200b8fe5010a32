"""JSON of others, read strictly: one parser and one file reader for every room.

Python's own parser lets through what breaks later and elsewhere (NaN, numbers beyond a float, a key
that comes twice, of which the last silently wins) and raises four kinds of error for what it
refuses. Here whatever RFC 8259 does not promise to carry over is a `NotJson` with the reason.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from jprm.errors import UserError

MAX_DEPTH = 100  # files of the field nest five deep; whatever walks a value may then recurse
MAX_DIGITS = 300  # of an integer: any shorter one has a finite float
BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
UTF8_MARK = b"\xef\xbb\xbf"  # Windows editors begin a file with it
_BLANKS = re.compile(r"[ \n\r\t]*")


class NotJson(ValueError):
    """Raised for a text that is no JSON value; the message says why in a few words."""


def parse(text: bytes | str) -> Any:
    """Returns the value of a text that holds one JSON value and nothing else. Raises NotJson."""
    if isinstance(text, bytes):
        text = decode(text)
    value, end = parse_from(text, blank_end(text, 0))
    rest = blank_end(text, end)
    if rest < len(text):
        raise NotJson(f"not JSON (content after the value, column {rest + 1})")
    return value


def parse_from(text: str, start: int) -> tuple[Any, int]:
    """Returns the JSON value that begins at `start`, and where it ends. Raises NotJson."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise NotJson(f"not JSON (nested more than {MAX_DEPTH} deep)") from None
    if _deeper_than(value, MAX_DEPTH):
        raise NotJson(f"not JSON (nested more than {MAX_DEPTH} deep)")
    return value, end


def decode(data: bytes) -> str:
    """Returns the text of UTF-8 bytes, without a byte order mark. Raises NotJson."""
    for mark, name in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise NotJson(f"{name}, not UTF-8; save it as UTF-8")
    try:
        return data.removeprefix(UTF8_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8 (byte {error.start + 1})") from None


def blank_end(text: str, at: int) -> int:
    """Returns the place of the next character that is not JSON's white space."""
    blanks = _BLANKS.match(text, at)
    assert blanks is not None
    return blanks.end()


def is_unicode(value: Any) -> bool:
    r"""Returns whether all texts in a value can be encoded; an escape such as \ud800 alone cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_object(path: Path | str, advice: str) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises UserError, with the advice where the file is absent or bad."""
    try:
        value = parse(Path(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except NotJson as error:
        raise UserError(f"{path}: {error}; {advice}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}; {advice}")
    return value


def _deeper_than(value: Any, depth: int) -> bool:
    """Returns whether containers lie in one another more than `depth` deep."""
    level = [value] if isinstance(value, dict | list) else []
    while level and depth:
        inner = (v for c in level for v in (c.values() if isinstance(c, dict) else c))
        level = [value for value in inner if isinstance(value, dict | list)]
        depth -= 1
    return bool(level)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise NotJson(f"not JSON (the key {twice[:40]!r} stands twice in one object)")
    return table


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise NotJson(f"not JSON (an integer of {len(digits)} digits is no number that a float holds)")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJson(f"not JSON ({text[:40]} is no number that a float holds)")
    return value


def _constant(name: str) -> float:
    raise NotJson(f"not JSON ({name} is no JSON number)")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
