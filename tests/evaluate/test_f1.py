"""First-error F1 by hand, and the closed forms of predictors that read nothing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jprm.errors import UserError
from jprm.evaluate import first_error_f1, harmonic_mean, score, trivial_baselines

LABELS = [-1, -1, -1, -1, 0, 2, 1, 0, 3, 1]


def test_accuracies_by_hand():
    result = first_error_f1(LABELS, [-1, -1, -1, 0, 0, 2, 0, -1, 3, None])
    assert result.error_acc == pytest.approx(3 / 6)
    assert result.correct_acc == pytest.approx(3 / 4)
    assert result.f1 == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert (result.n_error, result.n_correct) == (6, 4)


def test_perfect_and_hopeless():
    assert first_error_f1(LABELS, LABELS).f1 == 1.0
    assert first_error_f1(LABELS, [None] * 10).f1 == 0.0
    assert first_error_f1(LABELS, [-1] * 10).f1 == 0.0  # never the accuracy of .4


def test_no_judgement_is_wrong_also_on_a_correct_solution():
    assert first_error_f1([-1, 0], [None, 0]).correct_acc == 0.0


def test_an_empty_class_has_no_accuracy():
    result = first_error_f1([0, 1], [0, 1])
    assert result.error_acc == 1.0 and math.isnan(result.correct_acc) and math.isnan(result.f1)


def test_numpy_input():
    assert first_error_f1(np.array([-1, 2]), np.array([-1, 2])).f1 == 1.0


@pytest.mark.parametrize(
    ("labels", "predictions"), [([], []), ([0, 1], [0]), ([-2], [0]), ([0], [-2]), ([0.5], [0]), ([0], [0.5])]
)
def test_bad_input_is_refused(labels, predictions):
    with pytest.raises(UserError):
        first_error_f1(labels, predictions)


rates = st.floats(0, 1)


@given(rates, rates)
def test_harmonic_mean_lies_between_zero_and_twice_the_smaller(a, b):
    mean = float(harmonic_mean(a, b))
    assert 0.0 <= mean <= min(max(a, b), 2 * min(a, b)) * (1 + 1e-12)
    assert mean == harmonic_mean(b, a)


def test_random_baseline_is_the_best_random_predictor():
    labels, steps = np.array([-1, 0, 3, 1, -1]), np.array([3, 2, 5, 4, 6])
    best = trivial_baselines(labels, steps)["random"].f1
    erroneous = labels >= 0

    def f1(p):
        return score(labels, np.where(erroneous, (1 - p) / steps, p)).f1

    assert best == pytest.approx(max(f1(p) for p in np.linspace(0, 1, 2001)), abs=1e-6)
    m = (1 / steps[erroneous]).mean()
    assert best == pytest.approx(2 * m / (1 + math.sqrt(m)) ** 2)
    # Simulated: the accuracies of many random predictions reach the closed form.
    rng, p = np.random.default_rng(0), math.sqrt(m) / (1 + math.sqrt(m))
    says_fine = rng.random((20_000, 5)) < p
    guess = np.where(says_fine, -1, (rng.random((20_000, 5)) * steps).astype(int))
    assert score(labels, (guess == labels).mean(0)).f1 == pytest.approx(best, abs=0.01)


def test_constant_baselines():
    found = trivial_baselines(LABELS, [4] * 10)
    assert found["always correct"].correct_acc == 1.0 and found["always correct"].f1 == 0.0
    assert found["always the first step"].error_acc == pytest.approx(2 / 6)
    assert found["always the last step"].error_acc == pytest.approx(1 / 6)


def test_a_label_beyond_the_solution_is_refused():
    with pytest.raises(UserError, match="item 1"):
        trivial_baselines([-1, 4], [4, 4])
