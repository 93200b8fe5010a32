"""Every byte of a file counts, a file is read once, and damage or a lost memory of it changes no digest."""

import builtins
import gzip
import hashlib
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm import digests
from jprm.digests import content_digest, file_digest, files_digest, sha256
from jprm.errors import UserError

LONG_AGO_NS = time.time_ns() - 10**12


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """An empty memory, on disk and in the process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_seen", {})


@pytest.fixture
def reads(monkeypatch):
    """The files that are opened to be hashed, in order."""
    opened = []

    def noted(path, *more, **named):
        opened.append(str(path))
        return builtins.open(path, *more, **named)

    monkeypatch.setattr(digests, "open", noted, raising=False)
    return opened


@pytest.fixture
def settled(monkeypatch):
    """Files count as written long ago, though their ctime is now."""
    monkeypatch.setattr(digests, "SETTLED_NS", -(10**12))


def test_it_is_what_sha256sum_prints(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()
    assert sha256(tmp_path / "a").startswith(file_digest(tmp_path / "a"))


@given(st.binary(min_size=1, max_size=300), st.integers(0, 2399))
def test_every_bit_counts(content, bit):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "a", Path(folder) / "b" / "a"
        other.parent.mkdir()
        path.write_bytes(content)
        other.write_bytes(content)
        assert files_digest([path]) == files_digest([other]), "the folder does not count"
        flipped = bytearray(content)
        flipped[bit // 8 % len(content)] ^= 1 << bit % 8
        other.write_bytes(flipped)
        assert files_digest([path]) != files_digest([other])


def test_a_file_that_was_just_written_is_read_again(tmp_path):
    """Two writes within one step of the clock leave the same size and times."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_digest(path)
    path.write_bytes(b"two")
    assert file_digest(path) != first


def test_a_settled_file_is_read_once(tmp_path, reads, settled):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert file_digest(path) == file_digest(path) and reads == [str(path)]
    path.write_bytes(b"other")
    file_digest(path)
    assert reads == [str(path)] * 2


def test_a_copied_mtime_hides_nothing(tmp_path, settled):
    """As `rsync --times` and `touch -r` leave it: other content of the same size and mtime."""
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    first = file_digest(path)
    time.sleep(0.02)  # the change time moves on by a step of the clock
    path.write_bytes(b"two")
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert file_digest(path) != first


def test_other_processes_know_large_files(tmp_path, reads, settled, monkeypatch):
    monkeypatch.setattr(digests, "KEPT_BYTES", 3)
    path, small = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    small.write_bytes(b"1")
    found = sha256(path), sha256(small)
    monkeypatch.setattr(digests, "_seen", {})
    assert (sha256(path), sha256(small)) == found and reads == [str(path), str(small), str(small)]


@pytest.mark.parametrize("damage", ["", "xyz", "0" * 63, "\udcff"])
def test_a_damaged_memory_is_not_believed(tmp_path, settled, monkeypatch, damage):
    monkeypatch.setattr(digests, "KEPT_BYTES", 1)
    path = tmp_path / "a"
    path.write_bytes(b"one")
    found = sha256(path)
    [kept] = (tmp_path / "cache" / "jprm" / "digests").iterdir()
    kept.write_text(damage, errors="surrogateescape")
    monkeypatch.setattr(digests, "_seen", {})
    assert sha256(path) == found


def test_a_home_that_cannot_be_written_costs_time_only(tmp_path, settled, monkeypatch):
    monkeypatch.setattr(digests, "KEPT_BYTES", 1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "a").write_bytes(b"one")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()


def test_what_takes_seconds_is_told(tmp_path, capsys, monkeypatch, settled):
    monkeypatch.setattr(digests, "TOLD_BYTES", 6)
    for name in "ab":
        (tmp_path / name).write_bytes(b"one")
    files_digest([tmp_path / "b", tmp_path / "a"])
    assert "reading" in capsys.readouterr().err
    files_digest([tmp_path / "a", tmp_path / "b"])
    assert capsys.readouterr().err == "", "known by now"


def test_the_order_of_files_does_not_count_and_their_names_do(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"one" if name == "a" else b"two")
    a, b, c = (tmp_path / name for name in "abc")
    assert files_digest([a, b]) == files_digest([b, a]) != files_digest([a, c])


def test_packing_again_changes_nothing(tmp_path):
    paths = [tmp_path / name for name in ("a.gz", "b.gz", "a")]
    for path, seconds in zip(paths[:2], (1, 2), strict=True):
        path.write_bytes(gzip.compress(b"rows", mtime=seconds))
    paths[2].write_bytes(b"rows")
    assert len({content_digest(path) for path in paths}) == 1
    paths[0].write_bytes(gzip.compress(b"rows")[:-3])
    with pytest.raises(UserError, match=r"a\.gz: cannot be read"):
        content_digest(paths[0])


def test_a_file_that_is_not_there_or_still_written_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="No such file"):
        sha256(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be read"):
        sha256(tmp_path)
    (tmp_path / "a").write_bytes(b"one")
    signatures = iter(["before", "after"])
    monkeypatch.setattr(digests, "_signature", lambda path: next(signatures))
    with pytest.raises(UserError, match="changed while it was read"):
        sha256(tmp_path / "a")
