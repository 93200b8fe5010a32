"""The layers that a session process puts on before it runs anything from outside.

Each stands alone and may be missing on a host; `survey` finds out by trying. From the inside out:

    limits    resource limits: memory, no files written, no core, few descriptors; not traceable
    user      a superuser becomes a user id that nobody has
    landlock  the kernel's own sandbox: no file, no TCP, no signals outside (what its version has)
    seccomp   only system calls that compute (`seccomp`); the layer to depend on
    bwrap     bubblewrap around the whole fork server: its own users, processes, network and files

Invariant: a layer that was asked for and cannot be put on raises OSError; it is never left out.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Collection

from jprm.execute import kernel, seccomp

LAYERS = ("limits", "user", "landlock", "seccomp", "bwrap")
SPARE_USER_ID = 65_333  # Debian's policy gives 65000-65533 to nobody
DESCRIPTORS = 32

# Access rights that each version of Landlock added (linux/landlock.h), as numbers of bits.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_SINCE, _SCOPES_SINCE = 4, 6


class Jail:
    """The layers of one fork server, prepared once and entered by each of its sessions.

    layers: some of LAYERS; "bwrap" is the business of whoever starts the server.
    ruleset: descriptor of the Landlock rules, to be kept open until `enter`; -1 if there are none.
    """

    def __init__(self, layers: Collection[str]):
        self.layers = frozenset(layers)
        self._filter = seccomp.compile_filter() if "seccomp" in self.layers else b""
        self.ruleset = _landlock_ruleset() if "landlock" in self.layers else -1

    def enter(self, address_space_bytes: int) -> None:
        """Put the layers on this process, with a limit of its memory, and tie its life to its
        parent's. Irrevocable. Raises OSError.
        """
        if "user" in self.layers:
            os.setgroups([])
            os.setresgid(SPARE_USER_ID, SPARE_USER_ID, SPARE_USER_ID)
            os.setresuid(SPARE_USER_ID, SPARE_USER_ID, SPARE_USER_ID)
        kernel.end_with_parent(signal.SIGKILL)  # a change of user id would have cleared it
        kernel.no_new_privileges()
        if "landlock" in self.layers:
            kernel.syscall(kernel.LANDLOCK_RESTRICT_SELF, self.ruleset, 0)
            os.close(self.ruleset)
        if "limits" in self.layers:
            _limit(address_space_bytes)
            kernel.hide_from_equals()
        if "seccomp" in self.layers:
            kernel.install_filter(self._filter)


def landlock_version() -> int:
    """The version of Landlock here; raises OSError where there is none."""
    empty = (None, ctypes.c_size_t(0), ctypes.c_uint32(kernel.LANDLOCK_VERSION))
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, *empty)


def _landlock_ruleset() -> int:
    """A descriptor of rules that grant nothing at all: not one file, port or foreign process."""
    version = landlock_version()
    file_bits = max(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    tcp_rights = 0b11 if version >= _TCP_SINCE else 0
    scopes = 0b11 if version >= _SCOPES_SINCE else 0
    # Older kernels refuse a structure that is longer than theirs, unless the rest is zero.
    handled = struct.pack("QQQ", (1 << file_bits) - 1, tcp_rights, scopes)
    size = ctypes.c_size_t(len(handled))
    return kernel.syscall(kernel.LANDLOCK_CREATE_RULESET, handled, size, ctypes.c_uint32(0))


def _limit(address_space_bytes: int) -> None:
    for limit, value in {
        resource.RLIMIT_AS: address_space_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }.items():
        _, hard = resource.getrlimit(limit)
        if hard != resource.RLIM_INFINITY:  # a host may be stricter, and to raise a limit is refused
            value = min(value, hard)
        resource.setrlimit(limit, (value, value))
