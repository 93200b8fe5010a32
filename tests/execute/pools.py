"""Pools that start fast, and what the tests ask them."""

from jprm.execute import Pool, Tier

LIMIT_S, GRACE_S = 0.5, 0.4
FOREVER_IN_C = "sum(range(10**13))"


def plain_pool(**options):
    """A pool that starts in a blink: sympy and scipy are loaded when a snippet names them."""
    return Pool(**{"workers": 2, "warm": Tier.PLAIN} | options)


def outcomes(pool, *codes):
    """(kind, text) of each snippet, run in one session."""
    session = pool.session()
    results = [session.run(code) for code in codes]
    session.close()
    return [(outcome.kind, outcome.text) for outcome in results]


def is_running(process_id):
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0] != "Z"  # dead, if not yet fetched by its heir
    except (FileNotFoundError, ProcessLookupError):
        return False
