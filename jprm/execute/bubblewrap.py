"""How the programs of a pool are started: a clean interpreter, and bubblewrap around it where that works.

Bubblewrap is the outermost layer of the jail: a world with nothing in it but Python. Most containers do
not allow it. Sessions are confined without it; it stands behind them if an inner layer should fail.
"""

import importlib.util
import json
import os
import shutil
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jprm.execute.resources import SERVER_OFFER

LIBRARIES = ("sympy", "mpmath", "numpy", "scipy")  # may be installed apart from the interpreter
PACKAGE = Path(__file__).resolve().parents[1]

# From the best to what is left where a container forbids to mount /proc, and where a plain user may not configure a new
# network. The fork server alone uses /proc, for speed; seccomp refuses sockets in any case.
VARIANTS: dict[str, tuple[str, ...]] = {
    "own network": ("--unshare-all", "--proc", "/proc"),
    "own network, no /proc": ("--unshare-all",),
    "shared network, no /proc": ("--unshare-all", "--share-net"),
}
# All that a program and its sessions see of the engine's environment: nothing of it.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": str(PACKAGE.parent),
    "PYTHONHASHSEED": "0",  # the order of a printed set is the same in every session
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Confinement:
    """The layers of the jail that are on (see `jail`), and how bubblewrap is called if it is one of them."""

    layers: tuple[str, ...]
    bwrap_variant: str = "own network"


def bubblewrap() -> str | None:
    """Returns the path of the program, or None."""
    return shutil.which("bwrap")


def python(*arguments: str) -> list[str]:
    """Returns the command line of a fresh interpreter without the current folder on its path.

    Not with -I, which would ignore PYTHONHASHSEED.
    """
    return [sys.executable, "-P", "-B", *arguments]


def program(module: str, settings: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """Returns the arguments for `subprocess` that run `main` of a module with settings as JSON in `sys.argv[1]`.

    variant: of bubblewrap, inside of which it runs; None for none.
    """
    command = python("-c", f"from {module} import main; main()", json.dumps(settings))
    executable = None
    if variant is not None:
        command = _wrapped(command, variant)
    elif not os.access(sys.executable, os.X_OK):
        # A process that has changed its user may run an interpreter that it can no longer reach by its path.
        executable = "/proc/self/exe"
    return {"args": command, "executable": executable, "env": ENVIRONMENT}


def _wrapped(command: list[str], variant: str) -> list[str]:
    """The command line that runs `command` inside, with the descriptors and environment it gets."""
    path = bubblewrap()
    if path is None:
        raise FileNotFoundError("bwrap is not installed")
    # Set here, since there may be no /proc inside; what it starts inherits it.
    offer = f'echo {SERVER_OFFER} 2>/dev/null >/proc/self/oom_score_adj; exec "$@"'
    line = ["/bin/sh", "-c", offer, "sh", path, *VARIANTS[variant], "--die-with-parent", "--new-session"]
    for visible in visible_paths():
        if os.path.islink(visible):  # /lib in most systems
            line += ["--symlink", os.readlink(visible), str(visible)]
        elif os.path.exists(visible):
            line += ["--ro-bind", str(visible), str(visible)]
    line += ["--dev-bind", "/dev/null", "/dev/null", "--cap-drop", "ALL", "--chdir", "/"]
    return [*line, "--", *command]


def visible_paths() -> list[Path]:
    """Returns what a fork server needs to see: the system's libraries, Python, and this package."""
    system = [Path(path) for path in ("/usr", "/lib", "/lib64", "/etc/ld.so.cache")]
    specs = [importlib.util.find_spec(name) for name in LIBRARIES]
    libraries = [Path(spec.origin).parents[1] for spec in specs if spec and spec.origin]
    python = [sys.prefix, sys.base_prefix, site.getusersitepackages(), *libraries]
    inside = [Path(os.path.realpath(path)) for path in python]
    # The interpreter is often a link out of the virtual environment, under a name of its own.
    named = [Path(sys.prefix)] if Path(sys.prefix) not in inside else []
    wanted = [*system, *inside, *named, PACKAGE]
    return [path for n, path in enumerate(wanted) if not any(path.is_relative_to(other) for other in wanted[:n])]
