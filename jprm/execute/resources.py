"""What the machine has left: memory for the sessions of a pool, and words for what runs out.

A container's limit counts for the engine and its sessions together. Beyond it the kernel kills a
process of its choice, so sessions offer themselves first (`offer_to_be_killed`), and a pool stops
before that: `MemoryBudget` tells how much more its sessions may take. Standard library only.
"""

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from jprm.errors import UserError

NO_LIMIT_BYTES = 1 << 60  # version 1 of control groups writes "none" as a number near 2^63
LEAST_OPEN_FILES = 64  # with fewer no pool works: each session takes two, each fork server three
SERVER_OFFER, SESSION_OFFER = 900, 1000  # 1000: before all others, whatever its size

# What the machine lacks for a moment, or by a limit that its user can raise: never a reason to think
# that a layer of the jail does not work here.
SHORTAGES = {
    errno.EMFILE: "too many open files in one process; raise the limit (ulimit -n 4096)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOMEM: "there is no memory left",
    errno.ENOBUFS: "there is no memory left for another connection",
    errno.EAGAIN: "no more processes can be started; see the limit of processes (ulimit -u)",
    errno.ENOSPC: "the disk is full; make room, or name another in TMPDIR",
    errno.EDQUOT: "the disk quota is used up; make room, or name another disk in TMPDIR",
    errno.ETOOMANYREFS: "too many open files are on their way; raise the limit (ulimit -n 4096)",
}


def in_words(error: BaseException) -> str:
    """Says what to do where the machine lacks something; else returns the error's own text."""
    return SHORTAGES.get(getattr(error, "errno", None) or 0) or f"{type(error).__name__}: {error}"


def is_shortage(error: BaseException | str) -> bool:
    """Whether the machine lacked something; the text of another program's error tells it, too."""
    if isinstance(error, OSError) and error.errno in SHORTAGES:
        return True
    return any(f"[Errno {number}]" in str(error) for number in SHORTAGES)


def open_files_limit() -> int:
    """Returns how many files this process may have open; raises its soft limit to the hard one.

    Raises UserError if they are too few for any pool.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return 1 << 20
    if hard < LEAST_OPEN_FILES:
        raise UserError(
            f"only {hard} files may be open in one process here, and running generated code needs "
            f"{LEAST_OPEN_FILES}; raise the limit (ulimit -n 4096)"
        )
    return hard


def offer_to_be_killed(points: int) -> None:
    """Has the kernel end this process before those with fewer points when memory runs out.

    Anybody may raise the number and nobody here can lower it again. Without /proc it stays.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(points))


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A control group above this process, of either version of the kernel's interface.

    limits, usage: names of its files. reclaimable: fields of memory.stat that the kernel drops before it kills.
    """

    folder: Path
    limits: tuple[str, ...]
    usage: str
    reclaimable: tuple[str, ...]

    def limit_bytes(self) -> int | None:
        """Returns the least of its limits; None if there is none."""
        found = [_number(self.folder / name) for name in self.limits]
        return min((n for n in found if n is not None and n < NO_LIMIT_BYTES), default=None)

    def free_bytes(self) -> int | None:
        """Returns what its processes can still take together; None where nothing limits them."""
        limit, used = self.limit_bytes(), _number(self.folder / self.usage)
        if limit is None or used is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            lines = (self.folder / "memory.stat").read_text().splitlines()
            fields = dict(line.split(" ", 1) for line in lines)
            used -= sum(int(fields.get(name, 0)) for name in self.reclaimable)
        return max(0, limit - used)


def control_groups(root: Path = Path("/")) -> list[ControlGroup]:
    """Returns the groups that this process is in, and those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            tree, limits, usage, prefix = "sys/fs/cgroup", ("memory.max", "memory.high"), "memory.current", ""
        elif "memory" in controllers.split(","):
            tree, limits = "sys/fs/cgroup/memory", ("memory.limit_in_bytes",)
            usage, prefix = "memory.usage_in_bytes", "total_"
        else:
            continue
        reclaimable = (f"{prefix}active_file", f"{prefix}inactive_file")
        group = root / tree / path.lstrip("/")
        folders = [folder for folder in (group, *group.parents) if folder.is_relative_to(root / tree)]
        groups += [ControlGroup(folder, limits, usage, reclaimable) for folder in folders]
    return groups


def memory_limit(root: Path = Path("/")) -> int | None:
    """Returns the least memory limit among this process's control groups and those above them, in bytes."""
    limits = [group.limit_bytes() for group in control_groups(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def available_memory(root: Path = Path("/")) -> int | None:
    """Returns what the kernel would still give on the whole machine, in bytes."""
    return _of_the_machine("MemAvailable", root)


class MemoryBudget:
    """How much more memory the sessions of a pool may take, all together.

    given_bytes: what they may hold at most; None: what the machine and its control groups have free.
    reserve_bytes: of that, what stays for the engine, and for what is taken between two looks.
    spare_bytes: with less than that left, nothing new is begun.
    """

    def __init__(self, given_bytes: int | None = None, root: Path = Path("/")):
        self.given_bytes = given_bytes
        self._root = root
        self._groups = [g for g in control_groups(root) if g.limit_bytes() is not None]
        total = _of_the_machine("MemTotal", root) or NO_LIMIT_BYTES
        total_bytes = min([total, *(group.limit_bytes() or total for group in self._groups)])
        self.reserve_bytes = min(max(total_bytes // 16, 64 << 20), 512 << 20)
        self.spare_bytes = min(max(self.left_bytes(0) // 8, 16 << 20), 256 << 20)

    def left_bytes(self, held_bytes: int) -> int:
        """Returns what is left beside what the sessions hold; negative if they hold too much."""
        free = [available_memory(self._root), *(group.free_bytes() for group in self._groups)]
        known = [size - self.reserve_bytes for size in free if size is not None]
        if self.given_bytes is not None:
            known.append(self.given_bytes - held_bytes)
        return min(known, default=NO_LIMIT_BYTES)


def anonymous_bytes(process_id: int) -> int:
    """Returns what a process has in memory apart from files, pages shared with its parent included."""
    try:
        with open(f"/proc/{process_id}/statm") as file:
            _, resident, files, *_ = file.read().split()
    except (OSError, ValueError):
        return 0  # it has ended, or there is no /proc
    return (int(resident) - int(files)) * os.sysconf("SC_PAGE_SIZE")


def _of_the_machine(field: str, root: Path) -> int | None:
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return None
    match = re.search(rf"^{field}: *(\d+) kB", text, re.MULTILINE)
    return int(match[1]) << 10 if match else None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
