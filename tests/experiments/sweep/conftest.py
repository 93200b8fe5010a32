import pytest

from jprm.cli import sweep_main
from tests.experiments.sweep.tiny_sweep import TINY, table


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished tiny sweep: (directory, its table). Copy it before changing anything in it."""
    directory = tmp_path_factory.mktemp("runs")
    assert sweep_main([f"directory={directory}", *TINY]) == 0
    return directory, table(directory)
