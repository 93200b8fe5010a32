import os

import pytest
from filelock import FileLock

from jprm.cli import sweep_main
from tests.experiments.conftest import one_device
from tests.experiments.sweep.tiny_sweep import TINY, table


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished tiny sweep: (directory, its table). Copy it before changing anything in it.

    The first of pytest's workers that asks for it computes it; the others read it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory, done = shared / "finished-sweep", shared / "finished-sweep.done"
    with FileLock(shared / "finished-sweep.lock"):
        if not done.exists():
            with one_device():
                assert sweep_main([f"directory={directory}", *TINY]) == 0
            done.touch()
    return directory, table(directory)
