"""Memory that a step frees is kept for the next one, where the C library is glibc.

XLA on CPU takes the temporaries of a step anew at every call. glibc gives blocks of that size back
to the system as they are freed, so the system zeroes every page of them again, which costs a fifth
of a step of a small model. The price of keeping them: the process stays as large as it ever was.
"""

import ctypes
import functools

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc never to return memory; False where the C library has no such option.

    One arena, because others cannot grow beyond 64 MB and would hand large blocks back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
