"""What could be seen: closed forms against simulation and enumeration."""

import itertools
import math

import numpy as np
import pytest

from jprm.errors import UserError
from jprm.evaluate import (
    Resamples,
    clustered_standard_error,
    mcnemar,
    mcnemar_power,
    minimum_detectable_effect,
    problems_needed,
)


def test_clustered_standard_error():
    rng = np.random.default_rng(0)
    values = rng.random(200)
    alone = clustered_standard_error(values, range(200))
    assert alone == pytest.approx(values.std(ddof=1) / math.sqrt(200))
    # copies are no new evidence
    copies = clustered_standard_error(np.repeat(values, 5), [i // 5 for i in range(1000)])
    assert copies == pytest.approx(alone)
    ids = rng.integers(0, 60, 200).tolist()
    sums = Resamples.of(ids, resamples=4000).sums(np.stack([values, np.ones(200)], axis=1))
    bootstrap = (sums[:, 0] / sums[:, 1]).std()
    assert clustered_standard_error(values, ids) == pytest.approx(bootstrap, rel=0.06)
    assert math.isnan(clustered_standard_error([1.0, 0.0], "aa"))


def test_the_detectable_effect_is_detected_four_times_in_five():
    rng, effect = np.random.default_rng(1), minimum_detectable_effect(0.1)
    assert effect == pytest.approx(0.280, abs=5e-4)
    z = (effect + 0.1 * rng.normal(size=100_000)) / 0.1
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.005)
    stricter = minimum_detectable_effect(0.1, power=0.9, level=0.99)
    z = (stricter + 0.1 * rng.normal(size=100_000)) / 0.1
    assert (np.abs(z) > 2.575829).mean() == pytest.approx(0.9, abs=0.005)


def test_problems_needed_is_the_inverse():
    gaps = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], 100, p=[0.1, 0.7, 0.2])
    here = minimum_detectable_effect(clustered_standard_error(gaps, range(100)))
    assert problems_needed(here, gaps, range(100)) == 100
    assert problems_needed(here / 2, gaps, range(100)) == 400
    with pytest.raises(UserError, match="above 0"):
        problems_needed(0.0, gaps, range(100))
    with pytest.raises(UserError, match="at least 2"):
        problems_needed(0.1, [1.0], "a")


@pytest.mark.parametrize(("n", "b", "c"), [(6, 0.3, 0.5), (7, 0.1, 0.2), (8, 0.0, 0.9)])
def test_power_of_mcnemar_equals_enumeration(n, b, c):
    total = 0.0
    for kinds in itertools.product((0, 1, 2), repeat=n):
        chance = math.prod((1 - b - c, b, c)[kind] for kind in kinds)
        first, second = [float(k == 1) for k in kinds], [float(k == 2) for k in kinds]
        total += chance * (mcnemar(first, second).p <= 0.05)
    assert mcnemar_power(n, b, c) == pytest.approx(total)


def test_power_grows_with_problems_and_is_refused_for_no_probability():
    assert mcnemar_power(10, 0, 0) == 0.0
    assert mcnemar_power(100, 0.1, 0.2) < mcnemar_power(400, 0.1, 0.2) < 1
    with pytest.raises(UserError):
        mcnemar_power(10, 0.7, 0.7)
    with pytest.raises(UserError):
        minimum_detectable_effect(0.1, power=1.0)
