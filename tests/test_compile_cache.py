"""Compiled programs are kept where the user wants them, by many processes at once, and change no number."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jprm.compile_cache import CompileCache, find_compile_cache, use_compile_cache

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from jprm import compile_cache
compile_cache.LEAST_COMPILE_S = 0.0
compile_cache.MOST_BYTES = int(sys.argv[1])
cache = compile_cache.use_compile_cache()
import jax, jax.numpy as jnp
seen = []
jax.monitoring.register_event_listener(lambda name, **_: seen.append(name))
for power in range(3, 7):
    total = jax.jit(lambda x: jnp.tanh(x @ x.T) ** power)(jnp.arange(12.0).reshape(4, 3)).sum()
    print(float(total).hex())
print("hits", seen.count("/jax/compilation_cache/cache_hits"), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, CompileCache(Path("/home/me/.cache/jprm/xla"))),
        ({"XDG_CACHE_HOME": "/fast"}, CompileCache(Path("/fast/jprm/xla"))),
        ({"JPRM_CACHE": "/mine"}, CompileCache(Path("/mine"), "JPRM_CACHE")),
        ({"JPRM_CACHE": "off"}, CompileCache(None, "JPRM_CACHE=off")),
        (
            {"JPRM_CACHE": "/mine", "JAX_COMPILATION_CACHE_DIR": "/given"},
            CompileCache(Path("/given"), "JAX_COMPILATION_CACHE_DIR", ours=False),
        ),
        # what a parent that keeps its programs in the default folder hands down
        ({"JAX_COMPILATION_CACHE_DIR": "/home/me/.cache/jprm/xla"}, CompileCache(Path("/home/me/.cache/jprm/xla"))),
    ],
    ids=str,
)
def test_the_user_says_where(environment, found):
    assert find_compile_cache({"HOME": "/home/me"} | environment) == found


def started(folder, most_bytes=1 << 30):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    environment |= {"JPRM_CACHE": str(folder), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(most_bytes)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process):
    """(what it computed, how many of its programs were found in the cache)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = err.strip().splitlines()
    return out, int(lines[-1].removeprefix("hits "))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder that a first run has filled, and what that run computed."""
    folder = tmp_path_factory.mktemp("programs") / "kept"
    return folder, ended(started(folder))[0]


def test_the_second_run_compiles_nothing_and_computes_the_same_bits(kept):
    folder, first = kept
    names = {path.name for path in folder.iterdir()}
    (second, hits), (without, none) = map(ended, [started(folder), started("off")])
    assert first == second == without and none == 0
    assert hits >= 4 and {path.name for path in folder.iterdir()} == names
    assert folder.stat().st_mode & 0o077 == 0


def test_processes_share_a_small_folder_in_which_one_was_killed(kept, tmp_path):
    """None of them warns, though two programs at most have room, and what was cut off is gone."""
    shutil.copytree(kept[0], tmp_path, dirs_exist_ok=True)
    largest = max(path.stat().st_size for path in tmp_path.glob("*-cache"))
    cut = next(tmp_path.glob("*-cache"))
    cut.write_bytes(cut.read_bytes()[:10])
    cut.with_name(cut.name.removesuffix("-cache") + "-atime").unlink()
    bound = 2 * largest
    results = [ended(process)[0] for process in [started(tmp_path, bound) for _ in range(3)]]
    assert set(results) == {kept[1]}
    assert sum(path.stat().st_size for path in tmp_path.glob("*-cache")) <= bound
    assert not cut.exists() or cut.stat().st_size > 10


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "JPRM_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_folder_that_cannot_be_written_is_one_line(plain_environment, tmp_path, capsys):
    (tmp_path / "file").touch()
    plain_environment.setenv("JPRM_CACHE", str(tmp_path / "file" / "cache"))
    assert not find_compile_cache().writable and use_compile_cache().folder is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"compiled programs are not kept ({tmp_path}/file/cache: Not a directory")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_folder_of_the_user_s_for_jax_is_left_to_jax(plain_environment, tmp_path):
    plain_environment.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert use_compile_cache().folder == tmp_path and not list(tmp_path.iterdir())
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ
