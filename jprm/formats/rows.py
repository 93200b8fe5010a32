"""The rows of a data file, each with its place, whatever the container.

JSON lines, a JSON list, both also gzipped, and parquet with the extra. One broken line costs one
row; a container that is broken as a whole (cut-off gzip, a JSON list that does not close) has no
rows to tell apart and is an error.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError


@dataclass(frozen=True, slots=True)
class Row:
    """A row at `place`: "file:line", in a list "file:line[index]". `value` is None after a fault."""

    place: str
    value: Any
    fault: str = ""


def read_rows(path: Path | str) -> Iterator[Row]:
    """The rows of a file in their order; lines that are not JSON or not UTF-8 come with a fault.

    Raises UserError where the file is missing, unreadable or a damaged list.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    data = read_unpacked(path)
    data = data.removeprefix(b"\xef\xbb\xbf")  # the byte order mark of Windows editors
    return _list(path, data) if data.lstrip().startswith(b"[") else _lines(path, data)


def read_unpacked(path: Path) -> bytes:
    """The content of a file, unpacked where its name ends in .gz. Raises UserError where it cannot be read."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch the file again") from None


def _lines(path: Path, data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield _row(f"{path}:{number}", line)


def _row(place: str, line: bytes) -> Row:
    try:
        return Row(place, json.loads(line.decode("utf-8"), parse_constant=_no_constant))
    except UnicodeDecodeError as error:
        return Row(place, None, f"not UTF-8 (byte {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return Row(place, None, f"not JSON ({error.msg}, column {error.colno})")
    except (ValueError, RecursionError) as error:
        return Row(place, None, f"not JSON ({error})")


def _list(path: Path, data: bytes) -> Iterator[Row]:
    # bytes that are not UTF-8 become lone surrogates, by which the row that holds them is found
    text = data.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at, line, index = _skip(text, text.index("[") + 1), 1, 0
    counted = 0
    while text[at : at + 1] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{line}: not JSON ({error})") from None
        broken = any("\udc80" <= letter <= "\udcff" for letter in text[counted:at])
        place = f"{path}:{line}[{index}]"
        yield Row(place, None, "not UTF-8") if broken else Row(place, value)
        at, index = _skip(text, at), index + 1
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            line += text.count("\n", counted, at)
            raise UserError(f"{path}:{line}: not JSON (the list does not go on after row {index})")


def _skip(text: str, at: int) -> int:
    """The place of the next character that is not white space."""
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"{path}: parquet needs pyarrow, which is not installed: pip install 'jprm[parquet]', "
            "or convert the file to JSON lines"
        ) from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise UserError(f"{path}: cannot be read ({error})") from None
    return (Row(f"{path}:{number}", row) for number, row in enumerate(rows, 1))
