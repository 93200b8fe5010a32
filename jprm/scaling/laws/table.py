"""A table of runs as it lies in a file (CSV with a header, or rows of JSON, both also gzipped), and its columns."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jprm.errors import UserError
from jprm.formats import read_rows, read_unpacked
from jprm.strict_json import read_object

DELIMITERS = {".csv": ",", ".tsv": "\t"}
RESULTS = "results.jsonl"  # of a sweep
TRAINED = "result.json"  # of a training run
Role = Literal["params", "tokens", "flops", "loss", "run"]
# By which a column is found where none is named; the first that a table has is taken.
KNOWN: dict[Role, tuple[str, ...]] = {
    "params": ("model_params", "params", "parameters", "n_params", "model_size", "N"),
    "tokens": ("train_tokens", "training_tokens", "tokens", "n_tokens", "D"),
    "flops": ("train_flops", "training_flops", "training_flop", "flops", "flop", "compute", "C"),
    "loss": (
        *("held_out_loss", "val_loss", "validation_loss", "eval_loss", "test_loss"),
        *("final_loss", "loss", "L", "train_loss"),
    ),
    "run": ("run", "run_id", "run_name"),
}
# In the results of a sweep these are of judging, not of training.
_OF_JUDGING = {"tokens", "flops"}


@dataclass(frozen=True)
class RunTable:
    """Rows by column name, each with its place "file:line"; `names` are in the order of the file.

    A cell of a CSV file is text, one of a JSON row any value; a JSON row may lack columns. `source` names the file, or
    the first of several.
    """

    source: str
    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    places: tuple[str, ...]


def read_table(*paths: Path | str) -> RunTable:
    """Reads files by their endings: .csv or .tsv, gzipped or not; all others as `jprm.formats.read_rows` does.

    A directory of a sweep stands for the `results.jsonl` in it, one of a training run for a row of what its
    `result.json` says. Raises UserError naming file and line for whatever is not a table.
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
    """Returns what a training run says of itself, under the name of its directory."""
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


@dataclass(frozen=True)
class Columns:
    """A column name for each role; None where there is no such column, or, in a question, where none is named."""

    params: str | None = None
    tokens: str | None = None
    flops: str | None = None
    loss: str | None = None
    run: str | None = None

    def found_in(self, table: RunTable, derive_tokens: bool = False) -> Columns:
        """Finds the columns of a table: those named here, and the others by the names of `KNOWN`.

        With `derive_tokens` there is no column of tokens. Raises UserError for a named column that the table lacks,
        with close matches, and where parameters, loss, or both tokens and FLOPs are not to be found.
        """
        if derive_tokens and self.tokens:
            raise UserError("--tokens names a column and --tokens-from-flops asks for none; keep one")
        found = dataclasses.replace(self, **{role: _column(table, role, getattr(self, role)) for role in KNOWN})
        if derive_tokens:
            found = dataclasses.replace(found, tokens=None)
        for role in ("params", "loss"):
            if getattr(found, role) is None:
                raise _missing(table, role)
        if found.flops is None and (derive_tokens or found.tokens is None):
            raise _missing(table, "flops" if derive_tokens else "tokens")
        return found

    def __str__(self) -> str:
        named = ((role, getattr(self, role)) for role in KNOWN)
        return ", ".join(f"{role} {name!r}" for role, name in named if name)


def is_sweep(table: RunTable) -> bool:
    """Says whether the rows are those of the `results.jsonl` of a sweep of verifiers."""
    return {"n_votes", "held_out_loss"} <= set(table.names)


def existing(table: RunTable, asked: str, option: str) -> str:
    """Finds the column of that name, up to case and punctuation. Raises UserError with close matches."""
    if asked in table.names:
        return asked
    alike = [name for name in table.names if _bare(name) == _bare(asked)]
    if len(alike) == 1:
        return alike[0]
    near = difflib.get_close_matches(asked, table.names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near and not alike else ""
    raise UserError(f"{table.source}: no column {asked!r} ({option}); {hint}it has {_listed(table.names)}")


def _column(table: RunTable, role: Role, asked: str | None) -> str | None:
    if asked is not None:
        return existing(table, asked, f"--{role}")
    taken = _OF_JUDGING if is_sweep(table) else set()
    of_bare = {_bare(name): name for name in reversed(table.names) if name not in taken}
    return next((of_bare[_bare(name)] for name in KNOWN[role] if _bare(name) in of_bare), None)


def _missing(table: RunTable, role: Role) -> UserError:
    also = " or --flops" if role == "tokens" else ""
    return UserError(
        f"{table.source}: which column holds the {role}? Name it with --{role}{also}; it has {_listed(table.names)}"
    )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
