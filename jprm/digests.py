"""Digests over every byte of files, by which the inputs of a result are told from others of the same name.

A file is read once. It is known again by its place, inode, size and times, those of large files in later processes
too: their digests lie in `$XDG_CACHE_HOME/jprm/digests` (`~/.cache` where that is not set), a small file each, which
may be deleted at any time. SHA-256 is what processors have instructions for: 1.4 GB/s a core, BLAKE2b .7, and
`sha256sum` prints the same.
"""

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
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from jprm.errors import UserError, printable

KEPT_BYTES = 1 << 26  # a smaller file is hashed in the time that it takes to look it up
TOLD_BYTES = 2 << 30  # hashing takes seconds from here on
SETTLED_NS = 2_000_000_000  # file systems count time in steps of up to 2 s
SUMS = "SHA256SUMS"
_seen: dict[str, str] = {}  # digests by signature


def sha256(path: Path) -> str:
    """Returns 64 hex digits over a file's bytes. Raises UserError where it cannot be read, or changes meanwhile."""
    try:
        now, signature = time.time_ns(), _signature(path)
        if found := _seen.get(signature) or _kept(signature):
            return found
        found = _hashed(path)
        about = os.stat(path)
        if _signature(path) != signature:
            raise UserError(f"{path}: changed while it was read; wait until it is written, and run again")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    # one more write within the same step of the clock would leave the same signature
    if max(about.st_mtime_ns, about.st_ctime_ns) < now - SETTLED_NS:
        _seen[signature] = found
        if about.st_size >= KEPT_BYTES:
            _keep(signature, found)
    return found


def file_digest(path: Path) -> str:
    """Returns 16 hex digits over a file's bytes. Raises UserError as `sha256` does."""
    return sha256(path)[:16]


def inventory(folder: Path, without: Collection[str] = ()) -> dict[str, str]:
    """Maps the relative path of every file below a folder to its SHA-256; names of `without` at the top are left out.

    Nothing is taken from memory: bits that change on a disk leave size and times as they are. Raises OSError.
    """
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = [f for f in found if f.relative_to(folder).parts[0] not in without]
    digests = _in_threads(_hashed, files)
    return {f.relative_to(folder).as_posix(): d for f, d in zip(files, digests, strict=True)}


def damage(folder: Path, wanted: Mapping[str, str]) -> str:
    """Says what is wrong with the files of an `inventory`, as "weights: changed since it was written", or ""."""
    if not isinstance(wanted, Mapping):
        return "digests of its files: damaged"
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        return f"{missing[0]}: missing"
    try:
        digests = _in_threads(_hashed, [folder / name for name in wanted])
    except OSError as error:
        return str(error)
    changed = [name for name, digest in zip(wanted, digests, strict=True) if digest != wanted[name]]
    return f"{changed[0]}: changed since it was written" if changed else ""


def content_digest(path: Path) -> str:
    """Returns 16 hex digits over a file's bytes, unpacked where the name ends in .gz: packing again changes nothing."""
    if path.suffix != ".gz":
        return file_digest(path)
    try:
        with gzip.open(path, "rb") as file:
            unpacked: io.BufferedIOBase = file
            return hashlib.file_digest(unpacked, "sha256").hexdigest()[:16]
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def files_digest(paths: Iterable[Path]) -> str:
    """Returns 16 hex digits over names and contents of files, in any order.

    Raises UserError as `sha256` does, and where a SHA256SUMS beside a file says otherwise.
    """
    files = sorted(paths, key=lambda path: path.name)
    _tell(files)
    digests = _in_threads(sha256, files)
    told = {name: digest for folder in {f.parent for f in files} for digest, name in _sums(folder)}
    if changed := [f for f, d in zip(files, digests, strict=True) if told.get(f.name, d) != d]:
        raise UserError(
            f"{changed[0]}: changed since {SUMS} beside it was written; fetch or export it again, or delete "
            f"{SUMS} where the change is meant"
        )
    lines = "".join(f"{d}  {file.name}\n" for d, file in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def write_sums(folder: Path, files: Iterable[Path]) -> None:
    """Writes SHA256SUMS, which `sha256sum -c` reads, for files in a folder. Raises OSError."""
    lines = (f"{_hashed(file)}  {file.name}\n" for file in sorted(files))
    (folder / SUMS).write_text("".join(lines))


def _sums(folder: Path) -> list[tuple[str, str]]:
    try:
        text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return re.findall(r"^([0-9a-f]{64}) [ *](.+)$", text, re.MULTILINE)


def _hashed(path: Path) -> str:
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_threads(digest: Callable[[Path], str], files: list[Path]) -> list[str]:
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(digest, files))


def _tell(files: list[Path]) -> None:
    """Tells the user when hashing will take seconds. Missing files are left to `sha256` to report."""
    new = 0
    for path in files:
        with contextlib.suppress(OSError):
            signature = _signature(path)
            if not (_seen.get(signature) or _kept(signature)):
                new += path.stat().st_size
    if new >= TOLD_BYTES:
        line = f"{files[0].parent}: reading {new / 1e9:.1f} GB, to know these files again"
        print(printable(line), file=sys.stderr, flush=True)


def _signature(path: Path) -> str:
    """Hashes what changes whenever the file does. The ctime does so even where a copy keeps the mtime."""
    about = os.stat(path)
    parts = (os.path.realpath(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
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
    with contextlib.suppress(OSError):  # without a writable home it is hashed again next time
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(digest)
        os.replace(unfinished, _cache() / signature)
