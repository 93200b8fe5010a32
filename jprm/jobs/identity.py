"""Whose results a directory holds, as flat keys, so that a run with other settings does not replace them in silence."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.jobs.stage import unique_suffix, write_atomic
from jprm.strict_json import read_object


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables under dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def read_identity(path: Path, advice: str) -> dict[str, Any] | None:
    """The identity in a file; None where there is no file. Raises UserError, ending with `advice`, for damage."""
    return read_object(path, advice) if path.exists() else None


def differing_keys(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys in which two flat identities differ, each as "key (this there, that now)"."""
    keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    return [f"{key} ({_short(found.get(key))} there, {_short(wanted.get(key))} now)" for key in keys]


def claim_directory(
    path: Path,
    identity: Mapping[str, Any],
    advice: str,
    *,
    free: Collection[str] = (),
    replace: bool = False,
    holds: str = "holds another run",
) -> None:
    """Writes the identity of a new run to the file `path`, or compares it with the identity that is there.

    free: keys (and sections) that decide no result and may differ. replace: whatever is there is replaced.
    Raises UserError naming the keys that differ; it ends with `advice`.
    """
    wanted = json.loads(json.dumps(identity))
    found = None if replace else read_identity(path, advice)
    if found is not None:
        there, now = (_without(flattened(table), free) for table in (found, wanted))
        if differing := differing_keys(there, now):
            raise UserError(f"{path.parent}: {holds}; it differs in {', '.join(differing)}; {advice}")
    if found != wanted:
        write_atomic(path, json.dumps(wanted, indent=1) + "\n", unique_suffix())


def _without(flat: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in flat.items() if not any(f"{k}.".startswith(f"{key}.") for key in free)}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
