"""The rows of a data file, each with its place, whatever the container.

JSON lines, a JSON list, both also gzipped, and parquet with the extra. One broken line costs one
row; a container that is broken as a whole (cut-off gzip, a JSON list that does not close, or with
content after it) has no rows to tell apart and is an error.
"""

import contextlib
import gzip
import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jprm.errors import UserError, lacking
from jprm.strict_json import BYTE_ORDER_MARKS, UTF8_MARK, NotJson, blank_end, decode, is_unicode, parse, parse_from

MAX_LINE_BYTES = 1 << 28
MAX_WHOLE_BYTES = 1 << 32  # of a list or a table, unpacked: it is held in memory
GZIP_MAGIC = b"\x1f\x8b"
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row at `place`: "file:line", in a list "file:line[index]". `value` is None after a fault."""

    place: str
    value: Any
    fault: str = ""
    line: int = 0


def read_rows(path: Path | str) -> Iterator[FileRow]:
    """Yields the rows of a file in their order; lines that are not JSON or not Unicode come with a fault.

    Raises UserError where the file is missing, unreadable, too large or damaged as a whole.
    """
    path = Path(path)
    if path.suffix == ".parquet" and not path.is_dir():
        yield from _parquet(path)
        return
    with _opened(path) as file:
        blank = 0
        for line in _lines(path, file):
            if line.strip():
                break
            blank += 1
        else:
            return
        if line.startswith(tuple(BYTE_ORDER_MARKS)) or line[1:2] == b"\0":
            raise UserError(f"{path}: UTF-16 or UTF-32, not UTF-8; save it as UTF-8")
        if line.removeprefix(UTF8_MARK).lstrip().startswith(b"["):
            yield from _list(path, line + _rest(path, file), blank)
            return
        for number, text in enumerate(itertools.chain([line], _lines(path, file)), blank + 1):
            if text.strip():
                yield _row(path, number, text)


def read_unpacked(path: Path) -> bytes:
    """Returns the content of a file, unpacked where it is gzipped.

    Raises UserError where it cannot be read, or is larger than 4 GiB.
    """
    with _opened(path) as file:
        return _rest(path, file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open(path, "rb") as raw:
            packed = path.suffix == ".gz" or raw.peek(2)[:2] == GZIP_MAGIC
            yield gzip.open(raw) if packed else raw  # type: ignore[misc] - a file of bytes as well
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; name a file in it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch the file again") from None


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    for line in iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""):
        if len(line) > MAX_LINE_BYTES:
            raise UserError(f"{path}: a line of more than {MAX_LINE_BYTES >> 20} MiB; split the file")
        yield line


def _rest(path: Path, file: IO[bytes]) -> bytes:
    data = file.read(MAX_WHOLE_BYTES + 1)
    if len(data) > MAX_WHOLE_BYTES:
        raise UserError(f"{path}: more than {MAX_WHOLE_BYTES >> 30} GiB; give it as JSON lines")
    return data


def _row(path: Path, number: int, line: bytes) -> FileRow:
    place = f"{path}:{number}"
    try:
        text = decode(line.rstrip())
        value = parse(text)
    except NotJson as error:
        return FileRow(place, None, str(error), number)
    return FileRow(place, value, "", number) if _is_text(text, value) else _no_text(place, number)


def _is_text(source: str, value: Any) -> bool:
    return not SURROGATE.search(source) or is_unicode(value)


def _no_text(place: str, number: int) -> FileRow:
    return FileRow(place, None, r"a text holds half of a surrogate pair (\ud800 to \udfff)", number)


def _list(path: Path, data: bytes, blank: int) -> Iterator[FileRow]:
    try:
        text, damaged = decode(data), False
    except NotJson:
        # bytes that are not UTF-8 become lone surrogates, by which the row that holds them is found
        text, damaged = data.decode("utf-8", "surrogateescape"), True
    at, line, index = blank_end(text, text.index("[") + 1), 1 + blank, 0
    counted = 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = parse_from(text, at)
        except NotJson as error:
            raise UserError(f"{path}:{line}: {error}") from None
        place = f"{path}:{line}[{index}]"
        if damaged and not is_unicode(value):
            yield FileRow(place, None, "not UTF-8", line)
        elif not _is_text(text[counted:at], value):
            yield _no_text(place, line)
        else:
            yield FileRow(place, value, "", line)
        at, index = blank_end(text, at), index + 1
        if text[at : at + 1] == ",":
            at = blank_end(text, at + 1)
        elif text[at : at + 1] != "]":
            line += text.count("\n", counted, at)
            raise UserError(f"{path}:{line}: not JSON (the list does not go on after row {index})")
    end = blank_end(text, at + 1)
    if end < len(text):
        line += text.count("\n", counted, end)
        raise UserError(
            f"{path}:{line}: content after the list of {index} rows; a file is one JSON list, or JSON "
            "lines with an object in each line"
        )


def _parquet(path: Path) -> Iterator[FileRow]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise lacking(f"{path}: parquet", "pyarrow", "parquet", "or convert the file to JSON lines") from None
    with _opened(path):  # says what is wrong with the file in our words
        pass
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return (FileRow(f"{path}:{number}", row, "", number) for number, row in enumerate(rows, 1))
