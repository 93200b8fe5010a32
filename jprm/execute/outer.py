"""Bubblewrap around a fork server: a world with nothing in it but Python.

The outermost layer, where the host allows it (not in most containers). Sessions are confined without
it; it stands behind them if one of the inner layers should fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
from pathlib import Path

from jprm.execute.resources import SERVER_OFFER

LIBRARIES = ("sympy", "mpmath", "numpy", "scipy")  # may be installed apart from the interpreter
PACKAGE = Path(__file__).resolve().parents[1]

# From the best to what is left where a container forbids to mount /proc, and where a plain user may
# not configure a new network. The fork server alone uses /proc, for speed; seccomp refuses sockets in
# any case.
VARIANTS: dict[str, tuple[str, ...]] = {
    "own network": ("--unshare-all", "--proc", "/proc"),
    "own network, no /proc": ("--unshare-all",),
    "shared network, no /proc": ("--unshare-all", "--share-net"),
}


def bubblewrap() -> str | None:
    """Path of the program, or None."""
    return shutil.which("bwrap")


def wrap(command: list[str], variant: str) -> list[str]:
    """The command line that runs `command` inside, with the descriptors and environment it gets."""
    program = bubblewrap()
    if program is None:
        raise FileNotFoundError("bwrap is not installed")
    # Set here, since there may be no /proc inside; what it starts inherits it.
    offer = f'echo {SERVER_OFFER} 2>/dev/null >/proc/self/oom_score_adj; exec "$@"'
    line = ["/bin/sh", "-c", offer, "sh", program, *VARIANTS[variant]]
    line += ["--die-with-parent", "--new-session"]
    for path in visible_paths():
        if os.path.islink(path):  # /lib in most systems
            line += ["--symlink", os.readlink(path), str(path)]
        elif os.path.exists(path):
            line += ["--ro-bind", str(path), str(path)]
    line += ["--dev-bind", "/dev/null", "/dev/null", "--cap-drop", "ALL", "--chdir", "/"]
    return [*line, "--", *command]


def visible_paths() -> list[Path]:
    """What a fork server needs to see: the system's libraries, Python, and this package."""
    system = [Path(path) for path in ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")]
    python = [sys.prefix, sys.base_prefix, site.getusersitepackages(), *_homes_of(LIBRARIES)]
    inside = [Path(os.path.realpath(path)) for path in python]
    # The interpreter is often a link out of the virtual environment, under a name of its own.
    named = [Path(sys.prefix)] if Path(sys.prefix) not in inside else []
    wanted = [*system, *inside, *named, PACKAGE]
    return [
        path for index, path in enumerate(wanted) if not any(path.is_relative_to(other) for other in wanted[:index])
    ]


def _homes_of(libraries: tuple[str, ...]) -> list[str]:
    """The folders that top-level packages were found in."""
    specs = [importlib.util.find_spec(name) for name in libraries]
    return [str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin]
