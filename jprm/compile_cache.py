"""Keeps compiled programs between runs, in the user's cache folder, unless the user says otherwise.

Compiling is most of the first minutes of every command, and the same programs come again in every later run. JAX can
keep them in a folder; this module chooses the folder and bounds its size. What is computed stays the same to the bit.

JAX takes the least recently used programs away when the folder is full. Processes may share it: each
reads and writes under the folder's lock file. But JAX (before its issue 39880 was mended) refuses every
write as long as a program lacks the file with the time of its last use, and a process that was killed
while it wrote leaves such a program, which may be cut off as well. So those are removed at every start.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jprm.terminal import say

MOST_BYTES = 2 << 30  # of all programs that are kept
LEAST_COMPILE_S = 0.1  # what compiles faster is not worth reading a file for
LOCK_WAIT_S = 5.0
JAX_FOLDER = "JAX_COMPILATION_CACHE_DIR"


@dataclass(frozen=True)
class CompileCache:
    """Where compiled programs are kept; `folder` None: they are not.

    why: who chose the folder, or why there is none; "" for the default folder.
    ours: whether JAX is to be told of the folder and of the bound of its size.
    """

    folder: Path | None
    why: str = ""
    ours: bool = True

    @property
    def writable(self) -> bool:
        """Whether the folder can be written, or made."""
        if self.folder is None:
            return False
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return there.is_dir() and os.access(there, os.W_OK)

    @property
    def bytes_used(self) -> int:
        """The bytes of the programs in the folder."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        return sum(path.stat().st_size for path in self.folder.glob("*-cache"))


def find_compile_cache(environment: Mapping[str, str] = os.environ) -> CompileCache:
    """Returns the cache that an environment asks for; nothing is written, and JAX is not loaded.

    JPRM_CACHE is a folder or `off`; JAX_COMPILATION_CACHE_DIR, where it is set, wins. Otherwise the
    folder is jprm/xla in XDG_CACHE_HOME, or in ~/.cache.
    """
    asked = environment.get("JPRM_CACHE", "")
    home = environment.get("HOME") or os.path.expanduser("~")
    base = environment.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    folder = Path(os.path.expanduser(asked) or os.path.join(base, "jprm", "xla")).absolute()
    given = environment.get(JAX_FOLDER)
    if given and (Path(given) != folder or asked == "off"):
        return CompileCache(Path(given), JAX_FOLDER, ours=False)
    if asked == "off":
        return CompileCache(None, "JPRM_CACHE=off")
    if not asked and base.startswith("~"):
        return CompileCache(None, "this user has no home folder")
    return CompileCache(folder, "JPRM_CACHE" if asked else "")


def use_compile_cache() -> CompileCache:
    """Has JAX keep compiled programs; call it once, before the first program is compiled.

    JAX is told by its environment variables, which child processes inherit. A folder that cannot be
    written is told in one line on standard error, and the run goes on without it.
    """
    cache = find_compile_cache()
    if cache.folder is None or not cache.ours:
        return cache
    try:
        _prepare(cache.folder)
    except (OSError, NotImplementedError) as error:  # the second of a file system without locks
        why = f"{cache.folder}: {getattr(error, 'strerror', None) or error}"
        say(f"compiled programs are not kept ({why}); set JPRM_CACHE to another folder, or to off", sys.stderr)
        return CompileCache(None, why)
    settings = {
        JAX_FOLDER: str(cache.folder),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(MOST_BYTES),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(LEAST_COMPILE_S),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if "jax" in sys.modules:  # it has read its variables already
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ[JAX_FOLDER])
        jax.config.update("jax_compilation_cache_max_size", int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]))
        least = os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]
        jax.config.update("jax_persistent_cache_min_compile_time_secs", float(least))
    return cache


def _prepare(folder: Path) -> None:
    """Makes the folder, for nobody else: JAX runs what lies there. Removes programs that a killed process left.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "cannot be written to")
    if not _unfinished(folder):
        return
    import filelock

    with contextlib.suppress(filelock.Timeout):  # another process is at work there, and as careful as this one
        with filelock.FileLock(folder / ".lockfile", timeout=LOCK_WAIT_S):
            for name in _unfinished(folder):
                (folder / name).unlink(missing_ok=True)


def _unfinished(folder: Path) -> list[str]:
    """Returns the programs without a file with the time of their last use: of processes that write, or were killed."""
    names = set(os.listdir(folder))
    programs = (name for name in names if name.endswith("-cache"))
    return [name for name in programs if name.removesuffix("-cache") + "-atime" not in names]
