"""What all tests share: eight virtual devices, a folder of compiled programs, and the real data where it lies."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

# read once, when JAX starts: sharded code is tested against one device on any machine
_flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# One folder of compiled programs for all workers of this session; a bound makes JAX lock it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="jprm-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 << 30))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

# no deadline: a shared two-core machine stalls for longer than any example should take
hypothesis.settings.register_profile("jprm", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("jprm")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data files (gsm8k/, processbench/, ...); the test is skipped without."""
    given = os.environ.get("JPRM_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set JPRM_DATA to the folder that holds gsm8k/")
    return root
