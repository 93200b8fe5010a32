"""From one layout of judged solutions, or of conversations, to another: `python -m jprm data convert`."""

import collections
import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.errors import INCOMPLETE, UserError
from jprm.formats.benchmarks import benchmark
from jprm.formats.conversations import LAYOUTS, layout_of, messages_row, turns_of
from jprm.formats.judged import parse_rows
from jprm.formats.rows import FileRow, read_rows
from jprm.formats.steps import FORMATS

WORD = {True: "right", False: "flawed", None: "unknown"}
SHOWN = 20
REASON = 400  # characters of a reason, which may quote the row
CONVERSATIONS = "conversations"  # to read: each row in whichever layout of conversations it has
MESSAGES = "messages"  # to write


@dataclass(frozen=True)
class Conversion:
    """What became of a file: counts, labels written, and "place: reason" of what was left out.

    `read` and `written` count solutions, or conversations, which have no labels. `cut` counts the solutions that lost
    labels or steps which the new layout cannot state.
    """

    read: int
    written: int
    cut: int
    labels: dict[bool | None, int]
    first_errors: dict[int, int]
    rejected: tuple[str, ...]
    notes: tuple[str, ...]
    items: str = "solutions"

    @property
    def exit_code(self) -> int:
        """0, or 3 where rows were rejected."""
        return INCOMPLETE if self.rejected else 0


def convert(path: Path, source: str, target: str, out: Path) -> Conversion:
    """Writes the solutions of `path` to `out`, JSON lines (gzipped where it ends in .gz).

    `source` is one of `FORMATS` or `benchmark`, `target` one of `FORMATS`; or they are "conversations" and "messages".
    Raises UserError for an unknown layout, a file that is unreadable or empty, and an `out` that exists or cannot be
    written.
    """
    readers = {name: layout.parse for name, layout in (benchmark.entries() | FORMATS).items()}
    if source not in (known := (*readers, CONVERSATIONS)):
        raise UserError(f"unknown format {source!r} to read; known: {', '.join(known)}")
    if target not in (known := (*FORMATS, MESSAGES)):
        raise UserError(f"unknown format {target!r} to write; known: {', '.join(known)}")
    if (source == CONVERSATIONS) != (target == MESSAGES):
        raise UserError(f"{source} as {target}: conversations are written as {MESSAGES}, step labels as step labels")
    if out.exists():
        raise UserError(f"{out} exists; delete it or name another file")
    if out.suffix == ".parquet":
        raise UserError(f"{out}: JSON lines are written; name it .jsonl or .jsonl.gz")
    if source == CONVERSATIONS:
        return _convert_conversations(path, out)
    judged = parse_rows(read_rows(path), readers[source])
    if not judged.items and not judged.rejected:
        raise UserError(f"{path}: no rows")
    lines: list[str] = []
    rejected, cut = list(judged.rejected), 0
    seen: set[tuple[str, str]] = set()
    labels: collections.Counter[bool | None] = collections.Counter()
    first_errors: collections.Counter[int] = collections.Counter()
    for item in judged.items:
        try:
            row, shortened = FORMATS[target].dump(item)
            (written,) = FORMATS[target].parse(row, f"{out}:{len(lines) + 1}", [])
            if (written.subset, written.id) in seen:
                raise UserError(f"its id in {target}, {written.id!r}, is another solution's already")
        except UserError as fault:
            rejected.append(f"{path}: solution {item.id!r}: {fault}")
            continue
        seen.add((written.subset, written.id))
        cut += shortened
        lines.append(json.dumps(row) + "\n")
        labels.update(written.labels)
        if written.first_error is not None:
            first_errors[written.first_error] += 1
    _write(out, "".join(lines).encode("ascii"))
    return Conversion(
        read=len(judged.items),
        written=len(lines),
        cut=cut,
        labels=dict(labels),
        first_errors=dict(sorted(first_errors.items())),
        rejected=tuple(rejected),
        notes=judged.notes,
    )


def _convert_conversations(path: Path, out: Path) -> Conversion:
    """Writes the conversations of `path` as `messages`; what else a row has stays in it."""
    lines: list[str] = []
    rejected: list[str] = []
    for row in read_rows(path):
        try:
            lines.append(json.dumps(_messages(row), allow_nan=False) + "\n")
        except (TypeError, ValueError) as fault:  # tables have values that JSON has not, such as dates
            rejected.append(f"{row.place}: {str(fault):.{REASON}}")
    if not lines and not rejected:
        raise UserError(f"{path}: no rows")
    _write(out, "".join(lines).encode("ascii"))
    return Conversion(len(lines), len(lines), 0, {}, {}, tuple(rejected), (), items="conversations")


def _messages(row: FileRow) -> dict[str, Any]:
    if row.fault:
        raise UserError(row.fault)
    if not isinstance(row.value, dict):
        raise UserError("not an object")
    taken = LAYOUTS[layout_of(row.value)]
    others = {key: value for key, value in row.value.items() if key not in taken and value is not None}
    return messages_row(turns_of(row.value)) | others


def _write(out: Path, data: bytes) -> None:
    partial = out.with_name(out.name + ".partial")  # a file at `out` is always a whole one
    try:
        partial.write_bytes(gzip.compress(data, mtime=0) if out.suffix == ".gz" else data)
        os.replace(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot write ({error.strerror})") from None


def report(done: Conversion) -> str:
    """Describes a conversion in lines for a terminal, with long lists of reasons shortened."""
    parts = [f"{done.items} read {done.read}, written {done.written}, rejected {len(done.rejected)}"]
    if done.items == "solutions":
        parts.append("labels: " + ", ".join(f"{WORD[k]} {done.labels.get(k, 0)}" for k in WORD))
        places = ", ".join(f"{step} {n}" for step, n in done.first_errors.items())
        parts.append(f"first flawed step (-1: none): {places or 'unknown everywhere'}")
    if done.cut:
        parts.append(f"cut: {done.cut} solutions lost labels or steps that the format cannot state")
    for name, reasons in (("note", done.notes), ("rejected", done.rejected)):
        parts += [f"{name}: {reason}" for reason in reasons[:SHOWN]]
        if len(reasons) > SHOWN:
            parts.append(f"{name}: and {len(reasons) - SHOWN} more")
    return "\n".join(parts)
