"""Run directories: content-addressed stages that are computed once, and what computed them.

A stage lives in `<run>/stages/<name>-<key>/`, where the key is the fingerprint of everything that
its result depends on. It is finished when its `DONE` file is there, which is written last and
atomically; until then a later sitting finds whatever the earlier one left and goes on from that.

Invariant: one process at a time holds a run directory, or any number of workers do, which lease its
stages from one another (`jprm.leases`). The file lock between the two is released by the kernel
however a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from jprm.config import fingerprint, plain
from jprm.digests import damage, inventory
from jprm.errors import Unwritable, UserError

PACKAGES = ("jprm", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tokenizers")


# In the folder of a stage, but no part of its result.
UNRECORDED = ("checkpoints", "inputs.json", "seconds.json", "failure.json", "owner.json", "DONE")
OPTIONAL = ("files", "provenance")  # objects in DONE


class HeldDirectory:
    """A directory that one process at a time may write to, locked for the life of this object.

    Raises UserError where it cannot be made or written to, or when another process holds it; the
    message ends with what `place` says of another place, and `other` of a second run.
    """

    def __init__(self, path: Path | str, place: str, other: str, shared: bool = False):
        """`shared`: others may hold it so, too; then a file system without locks will do."""
        self.path = Path(path)
        self._place, self._other = place, other
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / "lock", "a+", errors="replace")  # noqa: SIM115 - until close()
        except OSError as error:
            raise self.unwritable(error) from None
        try:
            self._hold(shared)
        except BaseException:
            self._lock.close()
            raise

    def _hold(self, shared: bool) -> None:
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: in use by {self._holder()}; wait for it, or {self._other}") from None
        except OSError as error:  # some network file systems have no locks
            if shared:
                return  # leases need none; nobody else can hold the directory alone either
            raise UserError(f"{self.path}: cannot lock the run directory ({error.strerror}); {self._place}") from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _holder(self) -> str:
        """Who holds the lock, as far as is known: of several who share it only the last wrote its number."""
        self._lock.seek(0)
        number = self._lock.read(20).strip()
        alive = number.isdecimal() and Path(f"/proc/{number}").exists()
        return f"process {number}" if alive else "another process, perhaps of another machine"

    def unwritable(self, error: OSError) -> UserError:
        """What to say where the directory cannot be written to."""
        return UserError(f"{self.path}: cannot write the run directory ({error.strerror}); {self._place}")

    def close(self) -> None:
        """Releases the directory; the number of a process that is gone would mislead."""
        with contextlib.suppress(OSError):
            self._lock.truncate(0)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NamedDirectory(HeldDirectory):
    """One that is `<directory>/<name>` of a configuration. Raises UserError as above."""

    def __init__(self, path: Path | str, shared: bool = False):
        place = "set directory=PATH to another place, on a local disk"
        super().__init__(path, place, "set name=OTHER for a second run", shared)


class RunDirectory(NamedDirectory):
    """A directory of stages; counts what was done in it. Raises UserError as above."""

    def __init__(self, path: Path | str, shared: bool = False):
        """`shared`: together with other workers, which lease the stages."""
        super().__init__(path, shared)
        self.computed = 0
        self.reused = 0
        try:
            (self.path / "stages").mkdir(exist_ok=True)
        except OSError as error:
            self.close()
            raise self.unwritable(error) from None


class Stage:
    """One unit of work with its folder; `done` once its result is complete.

    Opening one reads but writes nothing. Raises UserError when its `DONE` file is damaged.
    """

    def __init__(self, name: str, inputs: dict[str, Any], root: Path):
        """Stage `name` of the run directory `root`, of which `inputs` decide the result."""
        self.name = name
        self.inputs = inputs
        self.key = fingerprint({"stage": name, "inputs": inputs})[:12]
        self.path = root / "stages" / f"{name}-{self.key}"
        self._intact: set[str] = set()  # files that were compared with what `finish` recorded
        self._result: dict[str, Any] | None = None
        self._result = self._read("DONE", {"summary": dict, "seconds": float})

    @property
    def done(self) -> bool:
        """Whether the stage is finished."""
        return self._result is not None

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was told."""
        assert self._result is not None, f"{self.name} is not finished"
        return self._result["summary"]

    @contextlib.contextmanager
    def inside(self, path: Path) -> Iterator[Stage]:
        """Works in another folder, which then becomes the stage's, or not: the stage is looked at anew."""
        home, self.path = self.path, path
        try:
            yield self
        finally:
            self.path, self._result = home, None
            self.look()

    def look(self) -> bool:
        """Whether the stage is finished by now, by whomever. Raises UserError as opening it does."""
        if self._result is None:
            self._result = self._read("DONE", {"summary": dict, "seconds": float})
        return self.done

    @property
    def versions(self) -> dict[str, str]:
        """The packages that computed the result, as far as it says."""
        assert self._result is not None, f"{self.name} is not finished"
        return self._result.get("provenance", {}).get("packages", {})

    def record_failure(self, why: dict[str, Any]) -> None:
        """Leaves the reason why there is no result beside what there is."""
        write_atomic(self.file("failure.json"), json.dumps(why | {"at": time.time()}, indent=1))

    @property
    def seconds(self) -> float:
        """Seconds of work so far; a sitting that was killed outright is not among them."""
        result = self._result or self._read("seconds.json", {"seconds": float})
        return result["seconds"] if result else 0.0

    def file(self, name: str) -> Path:
        """A file of this stage, or a folder.

        What a finished stage was left with is compared, once, with what lies there now. Raises UserError where
        it is truncated or changed.
        """
        files = (self._result or {}).get("files", {})
        asked = {f: d for f, d in files.items() if f == name or f.startswith(f"{name}/")}
        unread = {f: d for f, d in asked.items() if f not in self._intact}
        if unread and (wrong := damage(self.path, unread)):
            raise UserError(f"{self.path}/{wrong}; delete the folder {self.path} and run again")
        self._intact |= unread.keys()
        return self.path / name

    @contextlib.contextmanager
    def sitting(self) -> Iterator[Stage]:
        """Makes the folder for work and keeps the time that it takes, also on an exception."""
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
        """Marks the stage as complete; `seconds` is what it cost, all sittings together.

        Only what JSON keeps of the summary is ever seen, whether the stage was computed or reused.
        """
        result = {"summary": summary, "seconds": float(seconds), "provenance": provenance()}
        try:
            result["files"] = inventory(self.path, UNRECORDED)
        except OSError as error:
            raise UserError(f"{self.path}: cannot read what was written ({error})") from None
        result = json.loads(json.dumps(result))
        write_atomic(self.file("DONE"), json.dumps(result | {"check": fingerprint(result)}))
        self._result = result

    def _read(self, name: str, fields: dict[str, type]) -> dict[str, Any] | None:
        """The JSON object in a file of this stage; None where there is no file."""
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
    """For `write_atomic(by=...)`: another one in every process of every machine."""
    return f".{platform.node()}.{os.getpid()}"


def write_atomic(path: Path | str, content: str | bytes, by: str = "") -> None:
    """Writes a file whole or not at all; `by` tells writers apart that may write it at once.

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


@functools.cache
def provenance() -> dict[str, Any]:
    """What computed a result: versions, commit, machine."""
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
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
