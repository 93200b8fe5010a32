"""The few calls of the Linux kernel that Python's standard library does not offer.

Every function raises OSError with the kernel's reason, or where there is no such call.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from typing import IO

LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
LANDLOCK_VERSION = 1  # flag of create_ruleset

HUGE_PAGE_BYTES = 2 << 20

_COLLAPSE = 25  # MADV_COLLAPSE
_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38  # linux/prctl.h
_FILTER_MODE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def end_with_parent(signal_number: int) -> None:
    """Have this process get a signal when the thread that started it ends, even inside C code."""
    _prctl(_PDEATHSIG, signal_number)


def hide_from_equals() -> None:
    """Forbid processes of the same user to trace this one or to read its memory."""
    _prctl(_DUMPABLE, 0)


def no_new_privileges() -> None:
    """Give up set-user-id programs for good; filters may be installed from here on."""
    _prctl(_NO_NEW_PRIVS, 1)


def install_filter(instructions: bytes) -> None:
    """Let a BPF program decide every further system call; `no_new_privileges` comes first."""
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(buffer))
    _prctl(_SECCOMP, _FILTER_MODE, ctypes.addressof(program))


def memory_file() -> IO[bytes]:
    """Opens a file without a name in memory, since the disk may be full; on disk where the kernel has no such files."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return open(os.memfd_create("jprm"), "w+b")


def use_huge_pages() -> None:
    """Gather this process's private memory in pages of 2 MiB, where the kernel can (Linux 6.1).

    A fork then copies one entry for 512: a fork server with sympy forks and buries a child in 3.0 ms
    instead of 5.0. What a child writes to is still copied by single pages.
    """
    try:
        with open("/proc/self/maps") as maps:
            lines = [line.split() for line in maps]
    except FileNotFoundError:
        return  # no /proc in this container
    for bounds, rights, _, _, _, *name in lines:
        if rights == "rw-p" and name in ([], ["[heap]"]):
            first, last = (int(bound, 16) for bound in bounds.split("-"))
            first = -(-first // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
            size = last // HUGE_PAGE_BYTES * HUGE_PAGE_BYTES - first
            if size > 0:  # a refusal changes nothing but the speed
                _libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), _COLLAPSE)


def syscall(number: int, *arguments: object) -> int:
    """A system call by number; its result."""
    if not hasattr(_libc, "syscall"):
        raise OSError("this system has no syscall()")
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, *arguments: int) -> None:
    if not hasattr(_libc, "prctl"):
        raise OSError("this system has no prctl()")
    padded = (*arguments, 0, 0, 0, 0)[:4]
    if _libc.prctl(option, *map(ctypes.c_ulong, padded)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
