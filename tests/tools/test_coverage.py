"""Coverage of the intervals: a few data sets always, enough for a verdict under `-m slow`."""

import numpy as np
import pytest

from tools import coverage

# row of the tool -> data sets; together about two minutes on one core
SETS = {
    "cluster_bootstrap": 200,
    "tests": 40,
    "seeds": 200,
    "vote_curve_fit": 60,
    "vote_law": 200,
    "isoflop": 200,
    "chinchilla": 40,
    "projection": 40,
    "envelope": 200,
    "power_law": 200,
    "joint": 30,
    "prediction": 60,
    "adaptive": 40,
}
# of those that take half a minute and more a quarter, whose bound is wider, and all of them before a release
LONG = ("chinchilla", "projection", "joint", "prediction")
LENGTHS = [
    *((name, sets // 4 if name in LONG else sets) for name, sets in SETS.items()),
    *(pytest.param(name, SETS[name], marks=pytest.mark.release) for name in LONG),
]


@pytest.mark.parametrize(
    "name", ["cluster_bootstrap", "seeds", "vote_law", "isoflop", "envelope", "power_law", "prediction"]
)
def test_a_row_is_a_share_of_data_sets(name):
    shares = coverage.measure(name, sets=2)
    assert shares and set(shares.values()) <= {0.0, 0.5, 1.0}
    assert shares == coverage.measure(name, sets=2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sets"), LENGTHS)
def test_intervals_cover(name, sets):
    """No share lies further below 95 % than chance takes it (3.5 standard errors and 2 %)."""
    for row, share in coverage.measure(name, sets, seed=7).items():
        nominal = 0.2 if "MDE" in row else 0.95
        error = np.sqrt(nominal * (1 - nominal) / sets)
        assert share > nominal - 0.02 - 3.5 * error, row
        if "MDE" in row:
            assert share < nominal + 0.02 + 3.5 * error, row


def test_an_interval_that_is_too_short_would_be_seen(monkeypatch):
    """Half as wide, a 95 % interval covers some 67 %: the bound of the slow test lies above."""
    from jprm.evaluate import Interval, mean_interval

    def halved(values, draws):
        whole = mean_interval(values, draws)
        low, high = ((whole.value + end) / 2 for end in (whole.low, whole.high))
        return Interval(whole.value, low, high)

    monkeypatch.setattr(coverage, "mean_interval", halved)
    shares = coverage.measure("cluster_bootstrap", 60)
    assert shares["mean, 200 problems x 2"] < 0.95 - 0.02 - 3.5 * np.sqrt(0.95 * 0.05 / 60)
