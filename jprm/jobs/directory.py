"""A directory that a run writes to: who holds it, and whose results it has.

One process holds it alone, or several workers share it. The lock between the two is a file lock, which the kernel
releases however a process dies. The identity of a run is a file of keys and values beside its results, so that a run
with other settings does not replace them in silence.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Self

from jprm.errors import UserError
from jprm.jobs.stage import unique_suffix, write_atomic
from jprm.strict_json import read_object

PLACE = "set directory=PATH to another place, on a local disk"
OTHER = "set name=OTHER for a second run"


class HeldDirectory:
    """A directory that is locked for the life of this object. Use it as a context manager.

    Raises UserError where it cannot be made or written to, or when another process holds it.
    """

    def __init__(self, path: Path | str, shared: bool = False, place: str = PLACE, other: str = OTHER):
        """`shared`: others may hold it in this way, too. `place` and `other` end the messages: what the user can do."""
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
        """Says who holds the lock, as far as is known: of several who share it only the last wrote its number."""
        self._lock.seek(0)
        number = self._lock.read(20).strip()
        alive = number.isdecimal() and Path(f"/proc/{number}").exists()
        return f"process {number}" if alive else "another process, perhaps of another machine"

    def unwritable(self, error: OSError) -> UserError:
        """Returns the error to raise where the directory cannot be written to."""
        return UserError(f"{self.path}: cannot write the run directory ({error.strerror}); {self._place}")

    def close(self) -> None:
        """Releases the directory and erases the process number, which would mislead when the process is gone."""
        with contextlib.suppress(OSError):
            self._lock.truncate(0)
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunDirectory(HeldDirectory):
    """A held directory with a folder for stages. Raises UserError as `HeldDirectory`."""

    def __init__(self, path: Path | str, shared: bool = False, place: str = PLACE, other: str = OTHER):
        """`shared`: several workers hold it together and lease its stages from one another."""
        super().__init__(path, shared, place, other)
        try:
            (self.path / "stages").mkdir(exist_ok=True)
        except OSError as error:
            self.close()
            raise self.unwritable(error) from None


def check_writable(path: Path, place: str = PLACE) -> None:
    """Raises UserError where a run directory could not be made or written to; makes nothing."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    if not existing.is_dir():
        raise UserError(f"{path}: cannot write the run directory ({existing} is a file); {place}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot write the run directory (no permission in {existing}); {place}")


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
    completed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Writes the identity of a new run to the file `path`, or compares it with the identity that is there.

    free: keys (and sections) that decide no result and may differ. replace: whatever is there is replaced. completed:
    gives an identity that an earlier version wrote the keys that it lacks.
    Raises UserError naming the keys that differ; it ends with `advice`.
    """
    wanted = json.loads(json.dumps(identity))
    found = None if replace else read_identity(path, advice)
    if found is not None:
        there, now = (_without(flattened(table), free) for table in (completed(found), wanted))
        if differing := differing_keys(there, now):
            raise UserError(f"{path.parent}: {holds}; it differs in {', '.join(differing)}; {advice}")
    if found != wanted:
        write_atomic(path, json.dumps(wanted, indent=1) + "\n", unique_suffix())


def _without(flat: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in flat.items() if not any(f"{k}.".startswith(f"{key}.") for key in free)}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
