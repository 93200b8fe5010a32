"""The layers that a session process puts on before it runs anything from outside.

Each stands alone and may be missing on a host; `probe.survey` finds out by trying. From the inside out:

    limits    resource limits: memory, no files written, no core, few descriptors; not traceable
    user      a superuser becomes a user id that nobody has
    landlock  the kernel's own sandbox: no file, no TCP, no signals outside (what its version has)
    seccomp   only system calls that compute; the layer to depend on
    bwrap     bubblewrap around the whole fork server: its own users, processes, network and files

Invariant: a layer that was asked for and cannot be put on raises OSError; it is never left out.

The filter of seccomp is a list of allowed system calls: memory, clocks, the process's own signals and
timers, and the descriptors that are already open. Everything else is refused with an errno and never by
a signal, because libraries probe for calls and go on without them: ENOSYS for the calls that glibc tries
before older ones, EPERM for the rest. No file can be opened, no process or thread made, no signal sent
abroad, no socket made, so one kill always cleans up. libseccomp knows the numbers of the calls on each
architecture and compiles the list; that is done once, and every session installs the program.
"""

import ctypes
import errno
import functools
import os
import resource
import signal
import struct
import tempfile
from collections.abc import Collection
from typing import IO

LAYERS = ("limits", "user", "landlock", "seccomp", "bwrap")
SPARE_USER_ID = 65_333  # Debian's policy gives 65000-65533 to nobody
DESCRIPTORS = 32
HUGE_PAGE_BYTES = 2 << 20

ALLOWED = """
    read write readv writev close lseek fstat dup dup2 dup3 pipe2 poll ppoll select pselect6 getcwd
    mmap munmap mprotect mremap madvise brk
    futex futex_waitv set_robust_list get_robust_list rseq membarrier
    sched_yield sched_getaffinity getcpu
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack
    alarm setitimer getitimer pause restart_syscall
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage
    getpid gettid getppid getuid geteuid getgid getegid getpgrp getpgid getsid
    getresuid getresgid getgroups uname sysinfo getrlimit getrandom
    exit exit_group
""".split()
# Sub-commands of fcntl that change nothing outside: F_DUPFD, F_GETFD, F_SETFD, F_GETFL and F_DUPFD_CLOEXEC.
ALLOWED_FCNTL = (0, 1, 2, 3, 1030)
ABSENT = ("clone3", "openat2", "statx")

# Access rights that each version of Landlock added (linux/landlock.h), as numbers of bits.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
_LANDLOCK_VERSION = 1  # flag of create_ruleset
_COLLAPSE = 25  # MADV_COLLAPSE
_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38  # linux/prctl.h
_FILTER_MODE = 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_*
_EQUAL = 4  # SCMP_CMP_EQ
_FOREIGN_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH

_libc = ctypes.CDLL(None, use_errno=True)


class Jail:
    """The layers of one fork server, prepared once and entered by each of its sessions.

    layers: some of LAYERS; "bwrap" is the business of whoever starts the server.
    ruleset: descriptor of the Landlock rules, to be kept open until `enter`; -1 if there are none.
    """

    def __init__(self, layers: Collection[str]):
        self.layers = frozenset(layers)
        self._filter = compile_filter() if "seccomp" in self.layers else b""
        self.ruleset = _landlock_ruleset() if "landlock" in self.layers else -1

    def enter(self, address_space_bytes: int) -> None:
        """Puts the layers on this process, with a limit of its memory, and ties its life to its
        parent's. There is no way back. Raises OSError.
        """
        # 1. Give up the superuser's rights, and the means to get others.
        if "user" in self.layers:
            os.setgroups([])
            os.setresgid(SPARE_USER_ID, SPARE_USER_ID, SPARE_USER_ID)
            os.setresuid(SPARE_USER_ID, SPARE_USER_ID, SPARE_USER_ID)
        end_with_parent()  # a change of user id would have cleared it
        _prctl(_NO_NEW_PRIVS, 1)
        # 2. Lose all files, ports and foreign processes.
        if "landlock" in self.layers:
            _syscall(_LANDLOCK_RESTRICT_SELF, self.ruleset, 0)
            os.close(self.ruleset)
        # 3. Bound the resources, and keep processes of the same user from tracing this one.
        if "limits" in self.layers:
            _limit(address_space_bytes)
            _prctl(_DUMPABLE, 0)
        # 4. Last, since it forbids all of the above: let the filter decide every further system call.
        if "seccomp" in self.layers:
            buffer = ctypes.create_string_buffer(self._filter, len(self._filter))
            program = _Program(len(self._filter) // 8, ctypes.addressof(buffer))
            _prctl(_SECCOMP, _FILTER_MODE, ctypes.addressof(program))


def landlock_version() -> int:
    """Returns the version of Landlock here; raises OSError where there is none."""
    return _syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))


def _landlock_ruleset() -> int:
    """A descriptor of rules that grant nothing at all: not one file, port or foreign process."""
    version = landlock_version()
    file_bits = max(bits for since, bits in _FILE_RIGHTS.items() if since <= version)
    tcp_rights = 0b11 if version >= _TCP_SINCE else 0
    scopes = 0b11 if version >= _SCOPES_SINCE else 0
    # Older kernels refuse a structure that is longer than theirs, unless the rest is zero.
    handled = struct.pack("QQQ", (1 << file_bits) - 1, tcp_rights, scopes)
    return _syscall(_LANDLOCK_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0))


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


@functools.cache
def compile_filter() -> bytes:
    """Returns seccomp's filter as BPF instructions of this machine's architecture.

    Raises OSError if libseccomp is missing or refuses a rule.
    """
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(_Comparison),
    ]
    context = library.seccomp_init(_ERRNO | errno.EPERM)
    if not context:
        raise OSError("libseccomp could not begin a filter")

    def rule(action: int, name: str, *comparisons: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # this architecture has no such call, so nobody can make it
        array = (_Comparison * len(comparisons))(*comparisons)
        code = library.seccomp_rule_add_array(context, action, number, len(comparisons), array)
        if code:
            raise OSError(-code, f"libseccomp refused the rule for {name}")

    try:
        library.seccomp_attr_set(context, _FOREIGN_ARCHITECTURE, _ERRNO | errno.ENOSYS)
        for name in ALLOWED:
            rule(_ALLOW, name)
        for command in ALLOWED_FCNTL:
            rule(_ALLOW, "fcntl", _Comparison(1, _EQUAL, command))
        # Reading a limit (no new value given) of this process itself.
        rule(_ALLOW, "prlimit64", _Comparison(0, _EQUAL, 0), _Comparison(2, _EQUAL, 0))
        for name in ABSENT:
            rule(_ERRNO | errno.ENOSYS, name)
        with memory_file() as file:
            if code := library.seccomp_export_bpf(context, file.fileno()):
                raise OSError(-code, "libseccomp could not compile the filter")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    ]


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


# Calls of the kernel that Python's standard library does not offer.


def end_with_parent() -> None:
    """Has this process killed when the thread that started it ends, even inside C code. Raises OSError."""
    _prctl(_PDEATHSIG, signal.SIGKILL)


def memory_file() -> IO[bytes]:
    """Opens a file without a name in memory, since the disk may be full; on disk where the kernel has no such files."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile()
    return open(os.memfd_create("jprm"), "w+b")


def use_huge_pages() -> None:
    """Gathers this process's private memory in pages of 2 MiB, where the kernel can (Linux 6.1).

    A fork then copies one entry for 512: a fork server with sympy forks and reaps a child in 3.0 ms
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


def _syscall(number: int, *arguments: object) -> int:
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
