"""The filter that leaves a process nothing but computation.

An allow-list of system calls: memory, clocks, its own signals and timers, and the descriptors that
are already open. Everything else is refused with an errno and never by a signal, because libraries
probe for calls and go on without them: ENOSYS for the calls that glibc tries before older ones,
EPERM for the rest. No file can be opened, no process or thread made, no signal sent abroad, no
socket made, so one kill always cleans up.

libseccomp knows the numbers of the calls on each architecture and compiles the list; the program
is compiled once and installed by every session.
"""

from __future__ import annotations

import ctypes
import errno
import functools

from jprm.execute.kernel import memory_file

LIBRARY = "libseccomp.so.2"

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
# Sub-commands of fcntl that change nothing outside: F_DUPFD, F_GETFD, F_SETFD, F_GETFL and
# F_DUPFD_CLOEXEC.
ALLOWED_FCNTL = (0, 1, 2, 3, 1030)
ABSENT = ("clone3", "openat2", "statx")

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp.h: SCMP_ACT_*
_EQUAL = 4  # SCMP_CMP_EQ
_FOREIGN_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    ]


@functools.cache
def compile_filter() -> bytes:
    """The filter as BPF instructions of this machine's architecture.

    Raises OSError if libseccomp is missing or refuses a rule.
    """
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
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
