"""What a test registers is gone after it: other tests ask for all rows."""

import pytest

from jprm.rl import row


@pytest.fixture(autouse=True)
def rows_of_the_package(monkeypatch):
    """The registry as it was."""
    list(row)
    for name in ("_entries", "_origins", "_digests"):
        monkeypatch.setattr(row, name, dict(getattr(row, name)))
