"""The pool that most tests of execution share."""

import pytest

from tests.execute.pools import GRACE_S, LIMIT_S, plain_pool


@pytest.fixture(scope="module")
def pool():
    """One pool for all tests that do not look at its counts: short limits, two workers."""
    with plain_pool(timeout_s=LIMIT_S, grace_s=GRACE_S, output_chars=200) as pool:
        yield pool
