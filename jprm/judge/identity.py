"""What decides the votes of a run, as flat keys, and the check that a directory holds no others.

The number of votes, the number of rows and the read-out are not in it: they choose among votes.
The sizes of the engine are: bits repeat for fixed sizes only (see `jprm.sample`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jprm.digests import files_digest
from jprm.errors import UserError
from jprm.runs import write_atomic
from jprm.strict_json import read_object

FILE = "identity.json"
# Of a checkpoint's directory; other files do not reach a model or its tokenizer.
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".npz", ".json", ".jinja", ".model", ".tiktoken", ".txt", ".py")


def model_digest(directory: Path) -> str:
    """16 hex digits over a checkpoint's files: names and contents, every byte. Raises UserError."""
    return files_digest(p for p in directory.glob("*") if p.suffix in SUFFIXES and p.is_file())


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
    shown = [f"{key} ({_short(found.get(key))} there, {_short(wanted.get(key))} now)" for key in keys]
    raise UserError(
        f"{directory}: holds the votes of another run; it differs in {', '.join(shown)}; "
        "give another --out, or run it as it was"
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
