"""A table of runs as it lies in a file: CSV with a header, or rows of JSON, both also gzipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.formats import read_rows, read_unpacked
from jprm.strict_json import read_object

DELIMITERS = {".csv": ",", ".tsv": "\t"}
RESULTS = "results.jsonl"  # of a sweep
TRAINED = "result.json"  # of a training run


@dataclass(frozen=True)
class RunTable:
    """Rows by column name, each with its place "file:line"; `names` in the order of the file.

    A cell of a CSV file is text, one of a JSON row any value; a JSON row may lack columns. `source`
    names the file, or the first of several.
    """

    source: str
    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    places: tuple[str, ...]


def read_table(*paths: Path | str) -> RunTable:
    """Read files by their endings: .csv or .tsv, with .gz or not; all else as `jprm.formats.read_rows`.

    A directory of a sweep stands for the `results.jsonl` in it, one of a training run for a row of
    what its `result.json` says. Raises UserError naming file and line for whatever is not a table.
    """
    found = [row for path in paths for row in _rows_of(Path(path))]
    names = dict.fromkeys(name for _, row in found for name in row)
    rows, places = tuple(row for _, row in found), tuple(place for place, _ in found)
    more = f" and {len(paths) - 1} more" if paths[1:] else ""
    return RunTable(f"{paths[0]}{more}", tuple(names), rows, places)


def _rows_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    if path.is_dir():
        if (path / TRAINED).is_file():
            return [_trained_row(path)]
        if not (path / RESULTS).is_file():
            raise UserError(f"{path}: a directory without {RESULTS} or {TRAINED}; name a file with runs")
        path = path / RESULTS
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    delimiter = DELIMITERS.get(ending.lower())
    found = list(_csv_rows(path, delimiter) if delimiter else _json_rows(path))
    if not found:
        raise UserError(f"{path}: no rows")
    return found


def _trained_row(run: Path) -> tuple[str, dict[str, Any]]:
    """What a training run says of itself, under the name of its directory."""
    place = str(run / TRAINED)
    values = read_object(run / TRAINED, "train the run again")
    return place, {"run": str(run)} | values


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in read_rows(path):
        if row.fault:
            hint = "" if path.suffix in (".jsonl", ".json", ".gz") else "; a CSV file ends in .csv"
            raise UserError(f"{row.place}: {row.fault}{hint}")
        if not isinstance(row.value, dict):
            kind = type(row.value).__name__
            raise UserError(f"{row.place}: expected a JSON object with a run, found {kind}")
        yield row.place, row.value


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        place = f"{path}:{reader.line_num + 1}"  # a quoted cell may go over several lines
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{place}: not a CSV row ({error})") from None
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = _header(cells, place)
        elif len(cells) != len(names):
            raise UserError(f"{place}: {len(cells)} cells under a header of {len(names)} columns")
        else:
            yield place, dict(zip(names, cells, strict=True))


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if not name:
            raise UserError(f"{place}: column {names.index(name) + 1} of the header has no name")
        if names.count(name) > 1:
            raise UserError(f"{place}: the header names {name!r} twice")
    return names


def _text(path: Path) -> str:
    data = read_unpacked(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8; save the table as UTF-8") from None
