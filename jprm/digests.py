"""Digests of files by their content, every byte of it: what tells a result's inputs from others of the same name.

A file is read once. It is known again by its place, inode, size and times, those of large files in later processes
too: their digests lie in `$XDG_CACHE_HOME/jprm/digests` (`~/.cache` where that is not set), a small file each, which
may be deleted at any time. SHA-256 is what processors have instructions for: 1.4 GB/s a core, BLAKE2b .7, and
`sha256sum` prints the same.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import hashlib
import io
import os
import re
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from jprm.errors import UserError

KEPT_BYTES = 1 << 26  # a smaller file is hashed in the time that it takes to look it up
TOLD_BYTES = 2 << 30  # hashing takes seconds from here on
SETTLED_NS = 2_000_000_000  # file systems count time in steps of up to 2 s
_seen: dict[str, str] = {}  # digests by signature


def sha256(path: Path) -> str:
    """64 hex digits over a file's bytes. Raises UserError where it cannot be read, or changes meanwhile."""
    try:
        now, signature = time.time_ns(), _signature(path)
        if found := _seen.get(signature) or _kept(signature):
            return found
        with open(path, "rb", buffering=0) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        about = os.stat(path)
        if _signature(path) != signature:
            raise UserError(
                f"{path}: changed while it was read; wait until it is written, and run again"
            )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    # one more write within the same step of the clock would leave the same signature
    if max(about.st_mtime_ns, about.st_ctime_ns) < now - SETTLED_NS:
        _seen[signature] = found
        if about.st_size >= KEPT_BYTES:
            _keep(signature, found)
    return found


def file_digest(path: Path) -> str:
    """16 hex digits over a file's bytes. Raises UserError as `sha256`."""
    return sha256(path)[:16]


def content_digest(path: Path) -> str:
    """As `file_digest`, of what is packed where the name ends in .gz: packing it again changes nothing."""
    if path.suffix != ".gz":
        return file_digest(path)
    try:
        with gzip.open(path, "rb") as file:
            unpacked: io.BufferedIOBase = file
            return hashlib.file_digest(unpacked, "sha256").hexdigest()[:16]
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def files_digest(paths: Iterable[Path]) -> str:
    """16 hex digits over names and contents of files, in any order. Raises UserError as `sha256`."""
    files = sorted(paths, key=lambda path: path.name)
    _tell(files)
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        digests = list(threads.map(sha256, files))
    lines = "".join(f"{d}  {file.name}\n" for d, file in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _tell(files: list[Path]) -> None:
    """Says on screen what takes seconds; missing files are told of by `sha256`."""
    new = 0
    for path in files:
        with contextlib.suppress(OSError):
            signature = _signature(path)
            if not (_seen.get(signature) or _kept(signature)):
                new += path.stat().st_size
    if new >= TOLD_BYTES:
        print(
            f"{files[0].parent}: reading {new / 1e9:.1f} GB, to know these files again",
            file=sys.stderr,
            flush=True,
        )


def _signature(path: Path) -> str:
    """What changes with the file; the change time (ctime) does even where a copy keeps the other one."""
    about = os.stat(path)
    parts = (
        os.path.realpath(path),
        about.st_ino,
        about.st_size,
        about.st_mtime_ns,
        about.st_ctime_ns,
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "jprm" / "digests"


def _kept(signature: str) -> str | None:
    try:
        text = (_cache() / signature).read_text()
    except (OSError, ValueError):
        return None
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else None


def _keep(signature: str, digest: str) -> None:
    unfinished = _cache() / f".{signature}.{os.getpid()}"
    with contextlib.suppress(
        OSError
    ):  # a home that cannot be written to: the file is hashed again the next time
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(digest)
        os.replace(unfinished, _cache() / signature)
