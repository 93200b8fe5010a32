"""Paths that a user names, looked at before anything heavy is loaded."""

import difflib
from pathlib import Path

from jprm.errors import UserError


def nearest_name(path: Path) -> str:
    """Suggests a name for a path that does not exist: "; did you mean ...?", or "" if nothing is like it."""
    parent = path.parent
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        return ""
    found = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {parent / found[0]}?" if found else ""


def present(path: Path | None, option: str) -> None:
    """Raises UserError, with the nearest name, where a user gave a path and there is nothing."""
    if path is not None and not path.exists():
        raise UserError(f"{option} {path}: no such file or directory{nearest_name(path)}")
