"""Leases on stage folders: several workers, on one machine or on many, do each stage of a run once.

A stage `S` that somebody works on is a folder `S@<generation>`, and every hand-over is one rename, which a file server
does for one client only:

    nothing  --claim-->  S@0  --take over-->  S@1  --publish-->  S

So a worker that was given up cannot harm its successor: the path that it writes to is gone, and what it did until then
went with the folder. Only the holder can publish, and only onto a name that is not taken, so a stage is finished once.
What a process alone left unfinished under the name S is moved into the folder by who has claimed it: S itself is never
renamed on the strength of what was seen before, for it may be finished by then.

A holder shows that it lives by counting in `owner.json`. Whoever waits watches that file: content that did not change
for `expiry_s` seconds of the watcher's own clock is a dead holder's. Clocks of machines are never compared. On the
same machine a process that is gone is seen at once.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWNER = "owner.json"
_LEASED = re.compile(r"[^.].*@\d+")
HEARTBEATS_PER_EXPIRY = 6  # a holder whose file server stalls for half the expiry is still alive


class LeaseLost(Exception):
    """Another worker has taken this one's stage over, which it had to think dead."""


class Lease:
    """A claimed stage: `path` is the folder to work in. A thread keeps it alive until it ends."""

    def __init__(self, home: Path, path: Path, expiry_s: float, tell: Callable[[], str]):
        """`tell` says what the holder is doing, for others to read."""
        self.home = home
        self.path = path
        self.lost = False
        self._tell = tell
        self._heartbeats = 0
        self._ended = threading.Event()
        self._interval_s = expiry_s / HEARTBEATS_PER_EXPIRY
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LeaseLost when the stage is no longer this worker's."""
        self.lost = self.lost or not (self.path / OWNER).exists()
        if self.lost:
            raise LeaseLost(f"{self.home.name} was taken over")

    def publish(self) -> None:
        """Gives the folder the stage's own name. Raises LeaseLost when it is no longer there."""
        self._end()
        try:
            os.rename(self.path, self.home)
        except OSError as error:
            raise LeaseLost(f"{self.home.name} was taken over ({error.strerror})") from None

    def release(self) -> None:
        """Leaves the stage, unfinished, to whoever wants it."""
        self._end()
        _write_owner(self.path, {"free": True})

    def discard(self) -> None:
        """Gives the stage up and removes its folder."""
        self._end()
        shutil.rmtree(self.path, ignore_errors=True)

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._heartbeats += 1
            if not _write_owner(self.path, _self() | {"heartbeats": self._heartbeats, "doing": self._tell()}):
                self.lost = True
                return


class Leases:
    """Claims stages for one worker, and watches those of others."""

    def __init__(self, expiry_s: float, tell: Callable[[], str] = str):
        self.expiry_s = expiry_s
        self._tell = tell
        self._seen: dict[Path, tuple[bytes | None, float]] = {}

    def claim(self, home: Path) -> Lease | None:
        """The stage `home` for this worker; None while another holds it, and where it is finished."""
        if (home / "DONE").exists():
            return None
        current = holder(home)
        if current is not None and not self._is_free(current):
            return None
        number = 0 if current is None else _generation(current) + 1
        path = home.with_name(f"{home.name}@{number}")
        try:
            if current is not None:
                os.rename(current, path)
            else:
                _create(path)
        except OSError:
            return None  # another was faster
        if not _write_owner(path, _self(), create=True):
            return None
        # In this order: whoever could still have finished the stage when there was no other holder had done so.
        if holder(home) != path or (home / "DONE").exists():
            shutil.rmtree(path, ignore_errors=True)  # what was seen at first is long past
            return None
        if not _move_in(home, path):
            _write_owner(path, {"free": True})
            return None
        self._seen.pop(current or path, None)
        return Lease(home, path, self.expiry_s, self._tell)

    def _is_free(self, path: Path) -> bool:
        """Whether the holder left the stage, is known to be dead, or gave no sign for long enough."""
        content = _owner_bytes(path)
        owner = _parsed(content)
        if owner.get("free") or _is_gone(owner):
            return True
        seen, since = self._seen.get(path, (b"", 0.0))
        now = time.monotonic()
        if path not in self._seen or seen != content:
            self._seen[path] = content, now
            return False
        return now - since > self.expiry_s


def holder(home: Path) -> Path | None:
    """The folder in which a stage is worked on, or was when its worker died; None where there is none."""
    return holders(home.parent).get(home.name)


def work_folder(home: Path) -> Path:
    """Where the files of a stage are: under its own name or, while a worker has it, in the folder of its holder."""
    return home if home.exists() else holder(home) or home


def holders(stages: Path) -> dict[str, Path]:
    """The holders of all stages in a folder, by the names of the stages."""
    found: dict[str, Path] = {}
    try:
        with os.scandir(stages) as entries:
            paths = [Path(entry.path) for entry in entries if _LEASED.fullmatch(entry.name)]
    except FileNotFoundError:
        return {}
    for path in sorted(paths, key=_generation):
        found[path.name.rpartition("@")[0]] = path
    return found


def adopt(home: Path) -> None:
    """Moves what workers left of a stage back under its own name. Only who holds the run directory alone may do so."""
    if not home.exists() and (left := holder(home)) is not None:
        os.rename(left, home)


def remove_stale(home: Path) -> None:
    """Removes what workers that were given up left behind of a finished stage."""
    while (home / "DONE").exists() and (left := holder(home)) is not None:
        shutil.rmtree(left, ignore_errors=True)
        if left.exists():
            return


def doing(home: Path) -> dict[str, Any] | None:
    """Who works on a stage, and on what; None where nobody does."""
    path = holder(home)
    owner = _parsed(_owner_bytes(path)) if path else {}
    return owner if owner and not owner.get("free") and not _is_gone(owner) else None


def _generation(path: Path) -> int:
    return int(path.name.rpartition("@")[2])


def _create(path: Path) -> None:
    """Makes the folder with its owner in it: a name can be given to a folder once, unless that is empty."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    fresh.mkdir(parents=True)
    _write_owner(fresh, _self(), create=True)
    try:
        os.rename(fresh, path)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _move_in(home: Path, path: Path) -> bool:
    """Moves the unfinished work under the stage's own name into the folder of its holder.

    Returns False if this worker is no longer the holder, or if the stage turns out to be finished. The work goes by way
    of a folder that only this claim has made, so a worker that was given up, however long it slept, cannot move it.
    """
    if home.exists():
        room = path / f".{secrets.token_hex(6)}"
        try:
            room.mkdir()
            os.rename(home, room / "left")
            if (room / "left" / "DONE").exists():
                os.rename(room / "left", home)
                return False
        except OSError:
            return False
    try:
        for left in path.glob(".*/left"):  # also what a holder that died here had begun to move
            for entry in list(left.iterdir()):
                if entry.is_dir():
                    shutil.rmtree(path / entry.name, ignore_errors=True)
                if entry.name != OWNER:
                    os.rename(entry, path / entry.name)
            shutil.rmtree(left.parent)
    except OSError:
        return False
    return True


def _write_owner(folder: Path, owner: dict[str, Any], create: bool = False) -> bool:
    """Writes who holds a stage; returns False where the file is gone, since a lost holder must not bring it back."""
    flags = os.O_WRONLY | (os.O_CREAT if create else 0)
    data = json.dumps(owner).encode()
    try:
        file = os.open(folder / OWNER, flags, 0o644)
        try:
            os.write(file, data)
            os.ftruncate(file, len(data))
        finally:
            os.close(file)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # a full disk or a stalled server: a heartbeat is missed, and another may come in time
    return True


def _owner_bytes(folder: Path) -> bytes | None:
    try:
        return (folder / OWNER).read_bytes()
    except OSError:
        return None


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        owner = json.loads(content or b"")
    except (ValueError, RecursionError):  # read in the middle of a write, or not ours
        return {}
    return owner if isinstance(owner, dict) else {}


def _self() -> dict[str, Any]:
    pid = os.getpid()
    return _machine() | {"pid": pid, "started": _started(pid)}


def _machine() -> dict[str, Any]:
    """What makes process ids comparable: the host since its start, and the container on it."""
    boot = namespace = None
    with contextlib.suppress(OSError):  # not on macOS
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "namespace": namespace}


def _started(pid: int) -> str | None:
    """When a process began, in ticks since boot: process ids are used again. None for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # dead, though nobody has asked how it ended


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine and does no more; False where that cannot be known."""
    machine = _machine()
    if machine["boot"] is None or any(owner.get(key) != machine[key] for key in machine):
        return False
    return _started(owner.get("pid", -1)) != owner.get("started")
