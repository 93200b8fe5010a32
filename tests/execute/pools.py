"""Pools that start fast, and what the tests ask them."""

import time

from jprm.execute import Pool, PreloadLevel

LIMIT_S, GRACE_S = 0.5, 0.4
FOREVER_IN_C = "sum(range(10**13))"


def plain_pool(**options):
    """A pool that starts in a blink: sympy and scipy are loaded when a snippet names them."""
    return Pool(**{"workers": 2, "warm": PreloadLevel.PLAIN} | options)


def outcomes(pool, *codes):
    """(kind, text) of each snippet, run in one session."""
    session = pool.session()
    results = [session.run(code) for code in codes]
    session.close()
    return [(outcome.kind, outcome.text) for outcome in results]


def eventually(holds):
    """Whether something becomes true, with all the patience that a busy machine asks for."""
    deadline = time.monotonic() + 60
    while not (true := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return true


def is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0] != "Z"  # dead, if not yet fetched by its heir
    except (FileNotFoundError, ProcessLookupError):
        return False
