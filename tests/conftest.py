"""What all tests share: eight virtual devices, a folder of compiled programs, and the real data where it lies."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Read once, when JAX starts. Sharded code is tested against one device on any machine; and XLA, which takes most of
# the time of a first run, is asked for less: LLVM's level 0, and the older, plainer way to write a fusion's loops.
# CI runs the rooms that compile once with the programs that users run (see .ci/run).
_FLAGS = {
    "xla_force_host_platform_device_count": "8",
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
}
_flags = os.environ.get("XLA_FLAGS", "")
for _flag, _value in _FLAGS.items():
    if _flag not in _flags:
        _flags += f" --{_flag}={_value}"
os.environ["XLA_FLAGS"] = _flags.strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Workers share the cores among them. OpenBLAS, whose threads wait for one another in a loop, takes five times the time
# for a fit of five numbers with two threads as with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# One folder of compiled programs for all workers of this session. It has no bound on its size: with one, JAX reads
# the age of every program there before it adds another.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="jprm-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# No deadline: a shared two-core machine stalls for longer than any example should take. Before a
# release twice as many examples are looked at, with `--hypothesis-profile=thorough`.
hypothesis.settings.register_profile("jprm", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("jprm")


LONGEST = tuple(f"tests/{room}/" for room in ("experiments", "train", "sample", "search"))


def pytest_collection_modifyitems(items):
    """Files that take long come first: a short one at the end leaves no worker idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data files (gsm8k/, processbench/, ...); the test is skipped without."""
    given = os.environ.get("JPRM_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set JPRM_DATA to the folder that holds gsm8k/")
    return root
