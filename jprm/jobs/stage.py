"""The folder of a task: content-addressed, computed once, and readable at any moment of its life.

A stage lives in `<run>/stages/<name>-<key>/`, where the key is a fingerprint over all that its result depends on.
It is finished when its `DONE` file is there, which is written last and atomically. Until then a later attempt finds
whatever the earlier one left and goes on from that.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jprm.config import fingerprint, plain
from jprm.digests import damage, inventory
from jprm.errors import Unwritable, UserError

# These lie in the folder of a stage but are no part of its result.
UNRECORDED = ("checkpoints", "inputs.json", "seconds.json", "failure.json", "owner.json", "DONE")
OPTIONAL = ("files", "provenance")  # objects in DONE
KEY_DIGITS = 12
PACKAGES = ("jprm", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tokenizers")


def stage_key(name: str, inputs: dict[str, Any]) -> str:
    """The key of a stage: hex digits over its name and everything that its result depends on."""
    return fingerprint({"stage": name, "inputs": inputs})[:KEY_DIGITS]


class Stage:
    """One unit of work with its folder; `done` once its result is complete.

    Opening a stage reads but writes nothing. Raises UserError when its `DONE` file is damaged.
    """

    def __init__(self, name: str, inputs: dict[str, Any], root: Path):
        """The stage `name` of the run directory `root`; `inputs` decide its result."""
        self.name = name
        self.inputs = inputs
        self.key = stage_key(name, inputs)
        self.path = root / "stages" / f"{name}-{self.key}"
        self._intact: set[str] = set()  # files that were compared with what `finish` recorded
        self._result: dict[str, Any] | None = None
        self.look()

    @property
    def done(self) -> bool:
        """Whether the stage is finished."""
        return self._result is not None

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that `finish` was given."""
        assert self._result is not None, f"{self.name} is not finished"
        return self._result["summary"]

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that computed the result, as far as they are recorded."""
        assert self._result is not None, f"{self.name} is not finished"
        return self._result.get("provenance", {}).get("packages", {})

    @property
    def seconds(self) -> float:
        """The seconds of work so far. An attempt that was killed outright is not among them."""
        result = self._result or self._read("seconds.json", {"seconds": float})
        return result["seconds"] if result else 0.0

    @contextlib.contextmanager
    def inside(self, path: Path) -> Iterator[Stage]:
        """Works in another folder, which may become the stage's own; afterwards the stage is looked at anew."""
        home, self.path = self.path, path
        try:
            yield self
        finally:
            self.path, self._result = home, None
            self.look()

    def look(self) -> bool:
        """Returns whether the stage is finished by now, by whomever. Raises UserError as opening it does."""
        if self._result is None:
            self._result = self._read("DONE", {"summary": dict, "seconds": float})
        return self.done

    def file(self, name: str) -> Path:
        """Returns the path of a file or folder of this stage.

        The files that a finished stage was left with are compared, once, with what lies there now. Raises UserError
        where one is truncated or changed.
        """
        files = (self._result or {}).get("files", {})
        asked = {f: d for f, d in files.items() if f == name or f.startswith(f"{name}/")}
        unread = {f: d for f, d in asked.items() if f not in self._intact}
        if unread and (wrong := damage(self.path, unread)):
            raise UserError(f"{self.path}/{wrong}; delete the folder {self.path} and run again")
        self._intact |= unread.keys()
        return self.path / name

    @contextlib.contextmanager
    def attempt(self) -> Iterator[Stage]:
        """Makes the folder for an attempt at the work, and keeps the time that it takes, also on an exception."""
        before, started = self.seconds, time.monotonic()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unwritable(f"{self.path}: cannot write ({error.strerror})") from None
        self.file("failure.json").unlink(missing_ok=True)
        write_atomic(self.file("inputs.json"), json.dumps(self.inputs, indent=1, default=plain))
        try:
            yield self
        finally:
            if not self.done:
                seconds = before + time.monotonic() - started
                write_atomic(self.file("seconds.json"), json.dumps({"seconds": seconds}))

    def finish(self, summary: dict[str, Any], seconds: float) -> None:
        """Marks the stage as complete; `seconds` is what all attempts together cost.

        Readers see only what JSON keeps of the summary, whether the stage was computed or reused.
        """
        result = {"summary": summary, "seconds": float(seconds), "provenance": provenance()}
        try:
            result["files"] = inventory(self.path, UNRECORDED)
        except OSError as error:
            raise UserError(f"{self.path}: cannot read what was written ({error})") from None
        result = json.loads(json.dumps(result))
        write_atomic(self.file("DONE"), json.dumps(result | {"check": fingerprint(result)}))
        self._result = result

    def record_failure(self, why: dict[str, Any]) -> None:
        """Leaves the reason why there is no result beside what there is."""
        write_atomic(self.file("failure.json"), json.dumps(why | {"at": time.time()}, indent=1))

    def _read(self, name: str, fields: dict[str, type]) -> dict[str, Any] | None:
        """Returns the JSON object in a file of this stage, or None where there is no file."""
        path = self.file(name)
        try:
            table = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot read ({error.strerror})") from None
        except (ValueError, RecursionError):
            table = None
        good = isinstance(table, dict) and all(isinstance(table.get(f), fields[f]) for f in fields)
        if table and good:
            good = all(isinstance(table.get(f, {}), dict) for f in OPTIONAL)
        check = table.pop("check", None) if table and good else None
        if not good or (check is not None and check != fingerprint(table)):
            raise UserError(f"{path}: damaged; delete the folder {self.path} and run again")
        return table


def unique_suffix() -> str:
    """A suffix for `write_atomic(by=...)` that differs between all processes of all machines."""
    return f".{platform.node()}.{os.getpid()}"


def write_atomic(path: Path | str, content: str | bytes, by: str = "") -> None:
    """Writes a file whole or not at all; `by` tells apart writers that may write it at the same time.

    Raises Unwritable where it cannot.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.name}{by}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a crash could leave the new name with no content
        os.replace(unfinished, path)
    except OSError as error:
        raise Unwritable(
            f"{path}: cannot write ({error.strerror}); free the space or choose another directory"
        ) from None


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as JSON lines, whole or not at all. Raises Unwritable where it cannot."""
    write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


@functools.cache
def provenance() -> dict[str, Any]:
    """What computes a result now: the versions of the packages, the commit, the machine."""
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
