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


def shipped_files(folder: str) -> dict[str, Path]:
    """Returns the files of one folder of configs/ by name. It lies beside the package, or in a wheel within it."""
    package = Path(__file__).resolve().parent
    roots = (root / "configs" / folder for root in (package, package.parent))
    files = (file for root in roots for file in sorted(root.glob("*.toml")))
    return {file.stem: file for file in files}


def configuration_file(name: Path | str, folder: str) -> Path:
    """Returns the file that a user names by its path or, where it comes with jprm, by its name, such as "laws".

    Raises UserError for a bare name that is neither.
    """
    path = Path(name)
    if path.suffix or "/" in str(name) or path.exists():
        return path
    shipped = shipped_files(folder)
    if path.name not in shipped:
        raise UserError(f"{name}: no such file, and no configuration of that name; there are {', '.join(shipped)}")
    return shipped[path.name]


def present(path: Path | None, option: str) -> None:
    """Raises UserError, with the nearest name, where a user gave a path and there is nothing."""
    if path is not None and not path.exists():
        raise UserError(f"{option} {path}: no such file or directory{nearest_name(path)}")
