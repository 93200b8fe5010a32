"""What computed a result: the versions of the packages, the commit, the machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = ("jprm", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tokenizers")


@functools.cache
def provenance() -> dict[str, Any]:
    """Returns the versions, the commit and the machine of this process."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return {
        "python": platform.python_version(),
        "packages": versions,
        "commit": _commit(),
        "platform": platform.platform(),
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
    }


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
