"""What decides the votes of a run, as flat keys, and the check that a directory holds no others.

The number of votes, the number of rows and the read-out are not in it: they choose among votes.
The sizes of the engine are: bits repeat for fixed sizes only (see `jprm.sample`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.runs import write_atomic
from jprm.strict_json import read_object

FILE = "identity.json"
READ_WHOLE_BYTES = 1 << 26
BLOCKS, BLOCK_BYTES = 256, 1 << 16  # 16 MiB of a larger file
# Of a checkpoint's directory; other files do not reach a model or its tokenizer.
SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")


def model_digest(directory: Path) -> str:
    """16 hex digits over a checkpoint's files: names, sizes and contents.

    Of a file beyond 64 MiB the beginning (a safetensors header lies there), the end, and blocks at
    even distances are read: whole shards would take minutes, and training changes every tensor.
    """
    digest = hashlib.sha256()
    files = [p for p in sorted(directory.glob("*")) if p.suffix in SUFFIXES and p.is_file()]
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        try:
            with open(path, "rb") as file:
                if size <= READ_WHOLE_BYTES:
                    digest.update(file.read())
                    continue
                for block in range(BLOCKS):
                    file.seek(block * (size - BLOCK_BYTES) // (BLOCKS - 1))
                    digest.update(file.read(BLOCK_BYTES))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """16 hex digits over a file's bytes."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables under dotted keys."""
    return dict(_leaves(table, prefix))


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def read_identity(directory: Path) -> dict[str, Any] | None:
    """The identity of the run in a directory; None where there is none yet. Raises UserError."""
    path = directory / FILE
    return read_object(path, "give another --out") if path.exists() else None


def claim(directory: Path, identity: Mapping[str, Any]) -> None:
    """Writes the identity of a new run, or checks it against the run that is there.

    Raises UserError naming the keys that differ.
    """
    wanted = json.loads(json.dumps(identity))
    found = read_identity(directory)
    if found is None:
        write_atomic(directory / FILE, json.dumps(wanted, indent=1) + "\n")
        return
    check(directory, found, wanted)


def check(directory: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError naming the keys in which the run of a directory is another one."""
    keys = [k for k in {**found, **wanted} if found.get(k) != wanted.get(k)]
    if not keys:
        return
    shown = [
        f"{key} ({_short(found.get(key))} there, {_short(wanted.get(key))} now)" for key in keys
    ]
    raise UserError(
        f"{directory}: holds the votes of another run; it differs in {', '.join(shown)}; "
        "give another --out, or run it as it was"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
