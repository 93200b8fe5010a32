"""What all tests share: eight virtual devices, and the real data where it lies."""

import os
from pathlib import Path

import hypothesis
import pytest

# read once, when JAX starts: sharded code is tested against one device on any machine
_flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

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
